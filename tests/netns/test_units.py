"""The units under the real systemd: what they confine the agent to, and that it does its work there.

Needs the lab, root, and cgroups to write to. Each machine boots with `systemd/` as it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import UnixConnection
from tests.lab.machine import Machine, require_machine
from tests.lab.needs import ROOT, require_lab
from tests.netns import traffic
from tests.netns.steady import asking

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
"""
OTHER = SETTINGS.replace('name = "web"', 'name = "net"')
BROKEN = SETTINGS.replace("enforce", "enforced")
FILE = "/etc/dynallow/dynallow.toml"
KERNEL = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
KEPT = "/var/lib/dynallow/ruleset.nft"
SOCKETS = ("dynallow.socket", "dynallow-ipv6.socket")
NET_ADMIN = 1 << 12
KERNEL = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
NAMES = tuple(f"n{number}.example.org" for number in range(50))
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 443), 0.5).close()"

Row = tuple[object, ...]

# Asks what is denied and sends where nothing is allowed, from one process, again and again.
SEEKER = """
import ctypes, socket, time
ctypes.CDLL(None).prctl(15, b"seeker", 0, 0, 0)
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.connect(("127.0.0.1", 53))
question = bytes.fromhex("000101000001000000000000") + b"\\6seeker\\7example\\3net\\0\\0\\1\\0\\1"
while True:
    asking.send(question)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as sending:
            sending.settimeout(1)
            try:
                sending.connect(("198.51.100.9", 4321))
                sending.send(b"x")
            except OSError:
                pass
    time.sleep(0.05)
"""

# What a taken-over agent would try, under the restrictions of each service.
ATTEMPTS = """
import ctypes, errno, mmap, os, socket
def tried(name, attempt):
    try:
        attempt()
        print(name, "done")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "")
tried("write-and-execute", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
tried("packet-socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("become-root", lambda: os.setuid(0))
tried("namespace", lambda: call(libc.unshare, 0x10000000))  # CLONE_NEWUSER
tried("write-settings", lambda: open("/etc/dynallow/dynallow.toml", "a"))
tried("write-program", lambda: open("/opt/dynallow/bin/dynallow", "a"))
tried("read-homes", lambda: os.listdir("/root"))
tried("read-disk", lambda: open("/dev/mem", "rb"))
tried("mount", lambda: call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None))
tried("trace", lambda: call(libc.ptrace, 16, 1, 0, 0))
tried("other-processes", lambda: os.listdir("/proc/1/fd"))
tried("keep-file", lambda: open(os.environ["STATE_DIRECTORY"] + "/attempt", "w"))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_machine()
    with Lab() as built:
        built.serve(Zone("example.org", ttl=900).numbered(200).both("www", 10).both("other", 11))
        built.host.resolv_conf("127.0.0.1", "::1")
        yield built


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    booted = Machine(lab.host, files={FILE: SETTINGS})
    yield booted
    booted.close()
    lab.host.run(["nft", "flush", "ruleset"])


@pytest.fixture(autouse=True)
def _runs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test finds the agent running with the first settings, whatever the one before has done."""
    yield
    if "machine" in request.fixturenames:
        machine: Machine = request.getfixturevalue("machine")
        machine.path(FILE).write_text(SETTINGS)
        machine.systemctl("start", *SOCKETS, "dynallow-firewall.service", "dynallow.service")
        machine.systemctl("reload", "dynallow.service")


def status_fields(machine: Machine) -> dict[str, str]:
    text = machine.run("cat", f"/proc/{machine.show('dynallow.service', 'MainPID')}/status").stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def reaches(lab: Lab, address: str) -> bool:
    return lab.host.python(CONNECT, address, check=False, user=NOBODY).returncode == 0


def output_chain(lab: Lab) -> str:
    return lab.host.run(["nft", "list", "chain", "inet", "dynallow", "output"], check=False).stdout


def leaks(lab: Lab) -> list[str]:
    wire = lab.sniffer()
    with traffic.running(lab, "forbidden", traffic.FORBIDDEN):
        lab.host.run(["true"])
    return traffic.to_forbidden(wire.stop())


def test_agent_runs_confined_as_the_unit_says(machine: Machine) -> None:
    fields = status_fields(machine)
    uid = machine.run("id", "-u", "dynallow").stdout.strip()
    assert fields["Uid"].split() == [uid] * 4
    assert int(uid) != 0
    for which in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"):
        assert int(fields[which], 16) == NET_ADMIN, which
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert int(fields["Seccomp_filters"]) > 5
    assert machine.show("dynallow.service", "MemoryDenyWriteExecute") == "yes"
    assert KERNEL < (6, 3) or "no PR_SET_MDWE" not in machine.log
    assert machine.show("dynallow.service", "NRestarts") == "0"
    assert "Permission" not in machine.log
    assert "not permitted" not in machine.log


@pytest.mark.parametrize("service", ["dynallow", "dynallow-firewall"])
def test_restrictions_of_a_service_hold_against_whoever_has_taken_it_over(
    machine: Machine, service: str
) -> None:
    unit = (ROOT / f"systemd/{service}.service").read_text().partition("[Install]")[0]
    unit = re.sub(r"(?m)^(Exec|Type|Sockets|Watchdog|Restart|Remain|Before|Wants|RuntimeDir).*\n", "", unit)
    unit += (
        "Type=oneshot\nExecStart=/usr/bin/python3 /opt/attempts.py\nStandardOutput=truncate:/run/attempts\n"
    )
    machine.path("/etc/systemd/system/attempts.service").write_text(unit)
    machine.path("/opt/attempts.py").write_text(ATTEMPTS)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "attempts.service")
    outcome = dict(line.split() for line in machine.path("/run/attempts").read_text().splitlines())
    assert outcome.pop("keep-file") == "done"
    assert "done" not in outcome.values(), outcome
    assert len(outcome) == 11
    assert outcome["write-and-execute"] in ("EPERM", "EACCES")
    assert outcome["packet-socket"] == "EAFNOSUPPORT"
    machine.path("/var/lib/dynallow/attempt").unlink()


def test_agent_has_the_sockets_of_the_units(lab: Lab, machine: Machine) -> None:
    assert machine.show("dynallow.service", "StatusText").endswith("listening on 127.0.0.1:53, [::1]:53")
    listed = lab.host.run(["ss", "-Hulnm", "sport = :53"]).stdout
    assert "127.0.0.1%lo:53" in listed
    assert len(re.findall(r"\brb8388608\b", listed)) == 2  # the kernel doubles what it is asked for
    for server in ("127.0.0.1", "::1"):
        for tcp in (False, True):
            assert lab.host.ask("n1.example.org", server=server, tcp=tcp).answer


def test_allowed_name_is_leased_and_reached_and_others_are_not(lab: Lab, machine: Machine) -> None:
    assert not reaches(lab, "192.0.2.10")
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    assert lab.host.addresses("www.example.org", "AAAA") == ["2001:db8::a"]
    assert reaches(lab, "192.0.2.10")
    assert reaches(lab, "2001:db8::a")
    assert lab.host.ask("www.example.com").rcode() == 3
    assert not reaches(lab, "198.51.100.1")
    assert leaks(lab) == []
    uid = machine.run("id", "-u", "dynallow").stdout.strip()
    assert f"meta skuid {uid} " in output_chain(lab)


@contextmanager
def seeking(machine: Machine, unit: str, *, before: str = "") -> Iterator[Callable[[], set[Row]]]:
    """A service that is denied what it wants, and what the agent tells of it: port, user, name, unit."""
    machine.path("/opt/seeker.py").write_text(SEEKER)
    text = f"[Service]\nUser=nobody\nExecStart=/bin/sh -c '{before}exec /usr/bin/python3 /opt/seeker.py'\n"
    machine.path(f"/etc/systemd/system/{unit}").write_text(text)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", unit)

    def told() -> set[Row]:
        connection = UnixConnection(str(machine.path("/run/dynallow/control.sock")), 60.0)
        connection.request("GET", "/v1/history?since=3600&decision=denied")
        rows = json.loads(connection.getresponse().read())["rows"]
        connection.close()
        mine = [row for row in rows if "seeker" in row["name"] or "4321" in row["port"]]
        return {(row["port"], row["user"], row["process"], row["unit"]) for row in mine}

    try:
        yield told
    finally:
        machine.systemctl("stop", unit)


def test_denials_are_told_with_user_unit_and_process_to_the_confined_agent(machine: Machine) -> None:
    """To an agent that sees no process but its own (ProtectProc=invisible)."""
    with seeking(machine, "seeker.service") as told:
        expected = {(port, NOBODY, "seeker", "seeker.service") for port in ("", "udp/4321", "tcp/4321")}
        wait_until(lambda: expected <= told(), f"{expected}")
        assert {row[1] for row in told()} <= {NOBODY, None}


@pytest.mark.slow
def test_drop_in_of_the_readme_lets_the_agent_see_which_process_holds_a_socket(machine: Machine) -> None:
    drop_in = machine.path("/etc/systemd/system/dynallow.service.d/sight.conf")
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"```ini\n(\[Service\]\nProtectProc=.*?)```", readme, re.DOTALL)
    assert found is not None
    with seeking(machine, "crowded.service", before="sleep 600 & ") as told:
        wait_until(lambda: ("udp/4321", NOBODY, "", "crowded.service") in told(), "two names, and so none")
        assert ("udp/4321", NOBODY, "seeker", "crowded.service") not in told()
        drop_in.write_text(found[1])
        try:
            machine.systemctl("daemon-reload")
            machine.systemctl("restart", "dynallow.service")
            expected = {(port, NOBODY, "seeker", "crowded.service") for port in ("", "udp/4321")}
            wait_until(lambda: expected <= told(), f"{expected}")
        finally:
            drop_in.unlink()
            machine.systemctl("daemon-reload")
            machine.systemctl("restart", "dynallow.service")


def test_control_socket_is_for_its_group(machine: Machine) -> None:
    found = machine.path("/run/dynallow/control.sock").stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == int(machine.run("id", "-g", "dynallow").stdout)
    member = ("setpriv", "--reuid=65534", f"--regid={found.st_gid}", "--clear-groups", "--")
    assert machine.run(*member, "/opt/dynallow/bin/dynallow", "status").returncode == 0
    stranger = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
    assert machine.run(*stranger, "/opt/dynallow/bin/dynallow", "status", check=False).returncode != 0


def test_reload_takes_over_the_settings_and_fails_where_they_are_broken(lab: Lab, machine: Machine) -> None:
    machine.path(FILE).write_text(OTHER)
    machine.systemctl("reload", "dynallow.service")
    assert lab.host.addresses("other.example.org") == ["192.0.2.11"]
    assert "192.0.2.11" in lab.host.set_elements("net_v4")
    assert "net_v4" in machine.path(KEPT).read_text()
    machine.path(FILE).write_text(BROKEN)
    assert machine.systemctl("reload", "dynallow.service", check=False).returncode != 0
    assert "enforced" in machine.log
    assert machine.show("dynallow.service", "SubState") == "running"
    assert lab.host.addresses("other.example.org") == ["192.0.2.11"]


def test_flush_and_mode_and_healing_work_confined(lab: Lab, machine: Machine) -> None:
    dynallow = "/opt/dynallow/bin/dynallow"
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    assert reaches(lab, "192.0.2.10")
    machine.run(dynallow, "flush")
    assert not reaches(lab, "192.0.2.10")
    machine.run(dynallow, "mode", "observe")
    assert reaches(lab, "198.51.100.1")
    assert machine.show("dynallow.service", "StatusText").startswith("mode observe")
    machine.run(dynallow, "mode", "enforce")
    assert not reaches(lab, "198.51.100.1")
    lab.host.run(["nft", "flush", "ruleset"])
    wait_until(lambda: "policy drop" in output_chain(lab), "the table's rebuilding, if it was taken away")


@pytest.mark.skipif(KERNEL < (6, 9), reason="this kernel knows no owner that can be outlived")
def test_confined_agent_owns_the_table(lab: Lab, machine: Machine) -> None:
    """By CAP_NET_ADMIN alone, behind the unit's system call filter."""
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    refused = lab.host.run(["nft", "delete", "table", "inet", "dynallow"], check=False)
    assert "Operation not permitted" in refused.stderr
    assert reaches(lab, "192.0.2.10")


def test_restarts_under_load_lose_no_question_and_no_lease(lab: Lab, machine: Machine) -> None:
    assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
    with asking(lab, NAMES, per_second=500) as asked:
        wait_until(lambda: len(asked.answered) > 100, "answers")
        before = lab.host.set_elements("web_v4")["192.0.2.10"].expires_s
        began = time.monotonic()
        machine.systemctl("restart", "dynallow.service")
        took_s = time.monotonic() - began
        after = lab.host.set_elements("web_v4")["192.0.2.10"].expires_s
        count = len(asked.answered)
        wait_until(lambda: len(asked.answered) > count + 100, "answers of the next agent")
    print(
        f"restart {took_s:.2f} s; {len(asked.sent)} asked, {asked.lost} lost, {asked.slowest_s:.2f} s at most"
    )
    assert asked.lost == 0
    assert before is not None
    assert after is not None
    assert after >= before - took_s - 1


def test_killed_agent_is_started_again_and_waiting_questions_answered(lab: Lab, machine: Machine) -> None:
    restarts = int(machine.show("dynallow.service", "NRestarts"))
    machine.systemctl("kill", "-s", "KILL", "dynallow.service")
    assert lab.host.ask("www.example.org", timeout=60).answer
    assert int(machine.show("dynallow.service", "NRestarts")) == restarts + 1


def test_start_with_broken_settings_is_tried_again_once_a_second_until_they_are_mended(
    lab: Lab, machine: Machine
) -> None:
    """Not as fast as questions come: a question wakes nothing while systemd waits to restart."""
    machine.path(FILE).write_text(BROKEN)
    machine.systemctl("restart", "dynallow.service", check=False)
    starts = int(machine.show("dynallow.service", "NRestarts"))
    with asking(lab, NAMES, per_second=100) as asked:
        began = time.monotonic()
        wait_until(lambda: int(machine.show("dynallow.service", "NRestarts")) >= starts + 2, "tries", 30)
        tries = int(machine.show("dynallow.service", "NRestarts")) - starts
        assert tries <= (time.monotonic() - began) / 1.0 + 1
        assert "policy drop" in output_chain(lab)
        machine.path(FILE).write_text(SETTINGS)
        wait_until(lambda: len(asked.answered) > 100, "answers once they are mended", 30)
    assert asked.lost == 0
    assert machine.show("dynallow.socket", "ActiveState") == "active"


def test_stopping_all_of_it_opens_nothing(lab: Lab, machine: Machine) -> None:
    machine.systemctl("stop", *SOCKETS, "dynallow.service", "dynallow-firewall.service")
    assert "policy drop" in output_chain(lab)
    assert leaks(lab) == []


def test_question_starts_a_service_that_was_stopped_alone(lab: Lab, machine: Machine) -> None:
    machine.systemctl("stop", "dynallow.service")
    assert lab.host.ask("www.example.org", timeout=60).answer


@pytest.mark.slow
def test_agent_that_stands_still_is_replaced_by_the_watchdog(lab: Lab, machine: Machine) -> None:
    quick = machine.path("/etc/systemd/system/dynallow.service.d/quick.conf")
    quick.write_text("[Service]\nWatchdogSec=3\nTimeoutStopSec=2\n")
    try:
        machine.systemctl("daemon-reload")
        machine.systemctl("restart", "dynallow.service")
        first = machine.show("dynallow.service", "MainPID")
        time.sleep(3.5)  # longer than the watchdog's patience: it lives by its beats
        assert machine.show("dynallow.service", "MainPID") == first
        machine.systemctl("kill", "-s", "STOP", "dynallow.service")
        wait_until(
            lambda: machine.show("dynallow.service", "MainPID") not in (first, "0"), "another agent", 30
        )
        assert lab.host.ask("www.example.org", timeout=60).answer
        assert "Fatal Python error: Aborted" in machine.log  # and where it stood
    finally:
        quick.unlink()
        machine.systemctl("daemon-reload")
