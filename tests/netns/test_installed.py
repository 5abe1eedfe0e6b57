"""`dynallow install` and `uninstall` by the real verbs under the real systemd, on a host that never had it.

Needs the lab, root, and cgroups to write to. Invariants: the host looks names up at every moment, a session
that is open stays open, and after `uninstall` no file differs from what it was before `install`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import NOBODY, Lab, Zone
from tests.lab.machine import Machine, require_machine
from tests.lab.needs import require_lab
from tests.lab.topology import NAME_SERVER
from tests.netns.session import Session, doors

PROGRAM = "/opt/dynallow/bin/dynallow"
INSTALL = (PROGRAM, "install")
RESOLV_CONF = (
    f"# a site's own\nsearch corp.example\nnameserver {NAME_SERVER[0]}\noptions timeout:2 attempts:2\n"
)
RULE = 'mode = "enforce"\n[[rule]]\nname = "web"\nnames = ["www.example.org"]\n'
RULE_FILE = "/etc/dynallow/conf.d/50-rules.toml"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 443), 30).close()"
TAKER = """
import socket, time
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind(("127.0.0.1", 53))
print(flush=True)
time.sleep(600)
"""
# What is the tools' own, and changes on any host at any time.
_NOT_OURS = ("/etc/.pwd.lock", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/var/log/")
_ELSEWHERE = ("/var/lib/systemd", "/run", "/tmp", "/opt", "/old")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_machine()
    with Lab() as built:
        built.serve(Zone("example.org").both("www", 10).both("other", 11))
        yield built


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    booted = Machine(lab.host, files={"/etc/resolv.conf": RESOLV_CONF}, enabled=None)
    yield booted
    booted.close()
    lab.host.run(["nft", "flush", "ruleset"])


def tree(machine: Machine) -> dict[str, tuple[object, ...]]:
    """Everything on it that is not as on the machine outside, by path: what it is, mode, owner, content."""
    upper = machine.changes
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(upper):
        here = "/" + os.path.relpath(directory, upper).removeprefix(".")
        if here.startswith(_ELSEWHERE):
            names.clear()
            continue
        for name in files:
            path = Path(directory, name)
            if (shown := f"{here.rstrip('/')}/{name}").startswith(_NOT_OURS):
                continue
            found[shown] = _of(path)
    return found


def _of(path: Path) -> tuple[object, ...]:
    seen = path.lstat()
    if stat.S_ISLNK(seen.st_mode):
        return ("link", os.readlink(path))
    content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
    return (stat.filemode(seen.st_mode), seen.st_uid, seen.st_gid, content)


def as_outside(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without what was written and is the same again: only then the overlay has a copy of it."""
    same = {path for path, value in tree.items() if Path(path).exists() and _of(Path(path)) == value}
    return {path: value for path, value in tree.items() if path not in same}


def looks_up(machine: Machine, name: str) -> bool:
    """By the C library, as any program does."""
    return machine.run("getent", "ahosts", name, check=False).returncode == 0


def reaches(lab: Lab, address: str) -> bool:
    return lab.host.python(CONNECT, address, check=False, user=NOBODY).returncode == 0


def carry(sessions: list[Session]) -> bool:
    return all(session.client_speaks() and session.host_speaks() for session in sessions)


def output_chain(lab: Lab) -> str:
    return lab.host.run(["nft", "list", "chain", "inet", "dynallow", "output"], check=False).stdout


def test_install_serves_the_host_and_uninstall_leaves_no_trace(lab: Lab, machine: Machine) -> None:
    before = as_outside(tree(machine))
    with doors(lab) as opened:
        sessions = [door.connect() for door in opened]
        idle = [door.connect() for door in opened]
        assert looks_up(machine, "www.example.org")

        shown = machine.run(*INSTALL, "--dry-run").stdout
        assert "resolv.conf is ruled by: file" in shown
        assert as_outside(tree(machine)) == before

        machine.run(*INSTALL, "--yes", timeout=200)
        assert machine.path("/etc/resolv.conf").read_text().splitlines()[1:] == [
            "nameserver 127.0.0.1",
            "search corp.example",
            "options timeout:2 attempts:2",
        ]
        assert machine.show("dynallow.service", "StatusText").startswith("mode observe")
        assert looks_up(machine, "other.example.org")  # no rule names it, and nothing is blocked
        assert reaches(lab, "192.0.2.11")
        assert carry(sessions)
        sessions += [door.connect() for door in opened]
        assert "nothing to do" in machine.run(*INSTALL, "--yes").stdout

        machine.path(RULE_FILE).write_text(RULE)
        machine.run(PROGRAM, "reload")
        assert "policy drop" in output_chain(lab)
        assert carry(sessions)
        sessions += [door.connect() for door in opened]
        assert carry(sessions)
        # Not a packet since before conntrack knew of anything, and the host speaks first.
        assert all(session.host_speaks() for session in idle)
        assert looks_up(machine, "www.example.org")
        assert reaches(lab, "192.0.2.10")
        assert not looks_up(machine, "other.example.org")
        assert not reaches(lab, "192.0.2.11")

        machine.systemctl("stop", "dynallow.socket", "dynallow-ipv6.socket", "dynallow.service")
        machine.systemctl("start", "sockets.target", "multi-user.target")
        machine.systemctl("start", "dynallow.service")
        assert looks_up(machine, "www.example.org")

        machine.path(RULE_FILE).unlink()
        shown = machine.run(PROGRAM, "uninstall", "--dry-run").stdout
        assert "nft delete table inet dynallow    # nothing restricts this host any more" in shown
        machine.run(PROGRAM, "uninstall", "--yes", timeout=200)
        assert carry(sessions)
        for session in (*sessions, *idle):
            session.close()
    assert machine.path("/etc/resolv.conf").read_text() == RESOLV_CONF
    assert looks_up(machine, "other.example.org")
    assert reaches(lab, "192.0.2.11")
    assert lab.host.run(["nft", "list", "tables"]).stdout == ""
    assert machine.show("dynallow.service", "LoadState") == "not-found"
    assert machine.run("id", "dynallow", check=False).returncode != 0
    assert not machine.path("/run/dynallow").exists()
    assert as_outside(tree(machine)) == before


def test_install_with_port_53_taken_names_who_has_it_and_does_nothing(lab: Lab, machine: Machine) -> None:
    before = as_outside(tree(machine))
    with lab.host.popen(["python3", "-c", TAKER]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        done = machine.run(*INSTALL, "--yes", check=False)
        process.kill()
    assert done.returncode == 1
    assert "port 53 is taken: " in done.stderr
    assert as_outside(tree(machine)) == before


def test_agent_that_cannot_answer_leaves_resolv_conf_and_a_second_try_goes_on(
    lab: Lab, machine: Machine
) -> None:
    before = as_outside(tree(machine))
    machine.path("/etc/dynallow").mkdir()
    machine.path("/etc/dynallow/dynallow.toml").write_text('mode = "wrong"\n')
    done = machine.run(*INSTALL, "--yes", check=False, timeout=200)
    assert done.returncode == 1
    assert "dynallow.toml:mode: expected" in done.stderr
    assert machine.path("/etc/resolv.conf").read_text() == RESOLV_CONF
    assert looks_up(machine, "www.example.org")
    machine.path("/etc/dynallow/dynallow.toml").write_text('mode = "observe"\n')
    machine.run(*INSTALL, "--yes", timeout=200)
    assert "nameserver 127.0.0.1" in machine.path("/etc/resolv.conf").read_text()
    assert looks_up(machine, "www.example.org")
    machine.run(PROGRAM, "uninstall", "--yes", timeout=200)
    machine.path("/etc/dynallow/dynallow.toml").unlink()
    machine.path("/etc/dynallow").rmdir()
    assert as_outside(tree(machine)) == before
