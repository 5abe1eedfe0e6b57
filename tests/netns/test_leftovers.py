"""Tampering that cannot be mended piece by piece: the table is made anew as a whole, leases and all.

Needs the lab. The kernel refuses to take single pieces out of such a table,
so a healing that goes about it in that way would try for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import SHARED, Agent
from tests.lab.needs import require_lab

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443"]
"""
WITHIN_S = 30.0
LEASES = {"web_v4": {"192.0.2.10", "192.0.2.11"}, "web_v6": {"2001:db8::a", "2001:db8::b"}}
DENIED = ("198.51.100.200", "2001:db8:51::200")
TAMPERINGS = {
    "dormant": "delete table inet dynallow\nadd table inet dynallow { flags dormant; }",
    "verdict-map": """
        add chain inet dynallow foreign
        add rule inet dynallow foreign accept
        add map inet dynallow jumps { type inet_service : verdict; elements = { 443 : goto foreign }; }
        insert rule inet dynallow output tcp dport vmap @jumps
    """,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        lab.serve(Zone("example.org", ttl=900).both("www", 10).both("other", 11))
        yield lab


@pytest.fixture(scope="module")
def agent(served: Lab) -> Agent:
    """One for all, with a lease for every name; each test ends with its table whole again."""
    started = served.agent(SETTINGS, options=SHARED)
    for name in ("www", "other"):
        for kind in ("A", "AAAA"):
            assert served.host.addresses(f"{name}.example.org", kind)
    return started


def connects(lab: Lab, address: str) -> bool:
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with sock:
        sock.settimeout(0.5)
        return sock.connect_ex((address, 443)) == 0


def shape(lab: Lab) -> list[str]:
    """Flags, sets and chains with their rules, in whatever order they were made."""
    listed = lab.host.run(["nft", "-s", "-t", "list", "table", "inet", "dynallow"], check=False).stdout
    return sorted(listed.strip("}\n").split("\n\n"))


def leased(lab: Lab) -> dict[str, set[str]]:
    return {name: set(lab.host.set_elements(name)) for name in LEASES}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_table_that_does_not_let_go_piece_by_piece_is_whole_again(
    served: Lab, agent: Agent, kind: str
) -> None:
    assert leased(served) == LEASES
    whole = shape(served)
    assert not connects(served, DENIED[0])
    served.host.run(["nft", "-f", "-"], stdin=TAMPERINGS[kind])
    wait_until(lambda: shape(served) == whole, "the table as it was", WITHIN_S)
    wait_until(lambda: leased(served) == LEASES, "every lease", WITHIN_S)
    for address in DENIED:
        assert not connects(served, address)
    for address in LEASES["web_v4"] | LEASES["web_v6"]:
        assert connects(served, address)
    assert agent.process.poll() is None
