"""From power-on, under the real systemd: who sends before the agent is there gets nothing out.

Needs the lab, root, and cgroups to write to. Each test boots a machine whose first program sends from the
moment on at which the network may come up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.machine import Machine, require_machine
from tests.lab.needs import ROOT, require_lab
from tests.netns import traffic

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
"""
FILE = "/etc/dynallow/dynallow.toml"
KEPT = "/var/lib/dynallow/ruleset.nft"
# Whatever runs before the agent, and asks nobody.
EARLY = """
[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
[Service]
ExecStart=/usr/bin/python3 /opt/early.py
[Install]
WantedBy=sysinit.target
"""
EARLY_PROGRAM = """
import socket, time
sockets = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
while True:
    for sock, address in zip(sockets, ("198.51.100.200", "2001:db8:51::200")):
        try:
            sock.sendto(b"early", (address, 443))
        except OSError:
            pass
    with open("/run/early", "a") as tries:
        tries.write("x")
    time.sleep(0.002)
"""
SENDS_EARLY = {"/etc/systemd/system/early.service": EARLY, "/opt/early.py": EARLY_PROGRAM}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_machine()
    with Lab(web=False) as built:
        built.serve(Zone("example.org").both("www", 10))
        yield built


@pytest.fixture
def switched_off(lab: Lab) -> Iterator[Lab]:
    """The lab's host, without a table at the end."""
    yield lab
    lab.host.run(["nft", "flush", "ruleset"])


def boot_and_listen(lab: Lab, files: dict[str, str], *enabled: str) -> tuple[list[str], str]:
    """Boot with a program that sends from the first moment of the network on: what left, and the log."""
    wire = lab.sniffer()
    booted = Machine(lab.host, files={**SENDS_EARLY, **files}, enabled=[*enabled, "early.service"])
    try:
        early = booted.path("/run/early")
        wait_until(lambda: early.exists() and early.stat().st_size > 5, "early packets")
        log = booted.log
    finally:
        booted.close()
    return traffic.to_forbidden(wire.stop()), log


def test_early_packet_without_dynallow_leaves(switched_off: Lab) -> None:
    """The control."""
    left, _ = boot_and_listen(switched_off, {})
    assert left


def test_nothing_leaves_from_power_on(switched_off: Lab) -> None:
    left, log = boot_and_listen(switched_off, {FILE: SETTINGS}, "dynallow.service")
    assert "ready: mode enforce" in log
    assert left == []


def test_nothing_leaves_where_only_nft_works(switched_off: Lab) -> None:
    """The virtual environment is broken, by an upgrade of Python say: the kept ruleset needs none."""
    kept = "create table inet dynallow\n" + Path(ROOT / "tests/golden/enforce.nft").read_text()
    broken = {"/opt/dynallow/bin/dynallow": "#!/no/such/python\n", KEPT: kept}
    left, _ = boot_and_listen(switched_off, broken, "dynallow.service")
    assert left == []
    listed = switched_off.host.run(["nft", "list", "chain", "inet", "dynallow", "output"]).stdout
    assert "policy drop" in listed
