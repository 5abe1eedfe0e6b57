"""The Debian package on a machine with the real systemd: install, upgrade under load, removal, purge.

Needs the lab, root, cgroups to write to, and dpkg. The machine is an overlay over this one: its package
database, Python and nftables are there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Zone, deb, wait_until
from tests.lab.machine import Machine, require_machine
from tests.lab.needs import require, require_lab
from tests.lab.topology import NAME_SERVER
from tests.netns.steady import asking

pytestmark = pytest.mark.slow
RESOLV_CONF = f"nameserver {NAME_SERVER[0]}\n"
RULE = 'mode = "enforce"\n[[rule]]\nname = "web"\nnames = [".example.org"]\n'
RULE_FILE = "/etc/dynallow/conf.d/50-rules.toml"
NAMES = tuple(f"n{number}.example.org" for number in range(50))
UNITS = ("dynallow-firewall.service", "dynallow.socket", "dynallow-ipv6.socket", "dynallow.service")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_machine()
    require("dpkg")
    if deb.run("/usr/bin/python3", "-c", "import sys; print(sys.version_info[:2])").strip() != str(
        sys.version_info[:2]
    ):
        pytest.skip("Debian's Python is another than the tests': the package would not be installable here")
    with Lab() as built:
        built.serve(Zone("example.org", ttl=900).numbered(200).both("www", 10))
        yield built


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Iterator[Machine]:
    booted = Machine(
        lab.host,
        files={"/etc/resolv.conf": RESOLV_CONF, "/etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n"},
        enabled=None,
    )
    # This machine's systemd looks in two directories alone; the package's units are not there yet.
    for unit in UNITS:
        os.symlink(f"/lib/systemd/system/{unit}", booted.path(f"/run/units/{unit}"))
    # Of a container's image, if it has one: it forbids packages to start anything.
    booted.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)
    for version in ("0.1.0", "0.2.0"):
        package = deb.build(tmp_path, version)
        booted.path(f"/opt/{version}.deb").write_bytes(package.read_bytes())
    yield booted
    booted.close()
    lab.host.run(["nft", "flush", "ruleset"])


def dpkg(machine: Machine, *words: str) -> str:
    done = machine.run("dpkg", *words, timeout=200)
    return done.stdout + done.stderr


def exists(machine: Machine, path: str) -> bool:
    return os.path.lexists(machine.path(path))


def test_package_is_installed_upgraded_under_load_removed_and_purged(lab: Lab, machine: Machine) -> None:
    said = dpkg(machine, "-i", "/opt/0.1.0.deb")
    assert "dynallow install" in said
    for unit in UNITS:
        assert machine.show(unit, "ActiveState") == "active", said + machine.log
    assert machine.show("dynallow.service", "StatusText").startswith("mode observe")
    assert machine.path("/etc/resolv.conf").read_text() == RESOLV_CONF

    machine.run("dynallow", "install", "--yes", timeout=200)
    assert "nameserver 127.0.0.1" in machine.path("/etc/resolv.conf").read_text()
    machine.path(RULE_FILE).write_text(RULE)
    machine.run("dynallow", "reload")
    assert machine.run("getent", "ahosts", "www.example.org").stdout

    expires = lab.host.set_elements("web_v4")["192.0.2.10"].expires_s
    first = machine.show("dynallow.service", "MainPID")
    with asking(lab, NAMES, per_second=100) as asked:
        wait_until(lambda: len(asked.answered) > 50, "answers")
        dpkg(machine, "-i", "/opt/0.2.0.deb")
        count = len(asked.answered)
        wait_until(lambda: len(asked.answered) > count + 50, "answers of the next agent")
    print(f"upgrade: {len(asked.sent)} asked, {asked.lost} lost, {asked.slowest_s:.2f} s at most")
    assert asked.lost == 0
    assert machine.show("dynallow.service", "MainPID") not in ("0", first)
    assert "policy drop" in lab.host.run(["nft", "list", "chain", "inet", "dynallow", "output"]).stdout
    assert expires is not None
    assert "192.0.2.10" in lab.host.set_elements("web_v4")
    assert machine.path(RULE_FILE).read_text() == RULE

    said = dpkg(machine, "-r", "dynallow")
    assert "nothing restricts this host any more" in said
    assert machine.path("/etc/resolv.conf").read_text() == RESOLV_CONF
    assert machine.run("getent", "ahosts", "www.example.org").stdout
    assert lab.host.run(["nft", "list", "tables"]).stdout == ""
    assert exists(machine, "/etc/dynallow/dynallow.toml")
    assert not exists(machine, "/usr/lib/dynallow")
    assert not exists(machine, "/var/lib/dynallow-install")

    dpkg(machine, "-P", "dynallow")
    for path in (
        "/etc/dynallow",
        "/var/lib/dynallow",
        "/lib/systemd/system/dynallow.service",
        "/usr/bin/dynallow",
    ):
        assert not exists(machine, path), path
    assert machine.run("id", "dynallow", check=False).returncode != 0
    left = [
        str(path)
        for path in machine.path("/etc/systemd/system").rglob("*dynallow*")
        if not path.name.endswith(".d")
    ]
    assert left == []


def test_removal_without_install_opens_and_says_so(lab: Lab, machine: Machine) -> None:
    dpkg(machine, "-i", "/opt/0.1.0.deb")
    machine.path(RULE_FILE).write_text(RULE)
    machine.run("dynallow", "reload")
    said = dpkg(machine, "-r", "dynallow")
    assert "deleting table inet dynallow; nothing restricts this host any more" in said
    assert lab.host.run(["nft", "list", "tables"]).stdout == ""
    assert exists(machine, RULE_FILE)
    said = dpkg(machine, "-i", "/opt/0.2.0.deb")
    assert machine.show("dynallow.service", "StatusText").startswith("mode enforce")
