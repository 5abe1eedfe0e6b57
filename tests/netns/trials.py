"""One run of all ways out against what is in force, and what was on the wire meanwhile.

Knows the lab. Invariant: a run ends with everything that it sent counted; a
packet that no way accounts for is kept, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.message

from tests.lab import NOBODY, Lab, Packet, Zone, wait_until
from tests.lab.agent import Agent
from tests.netns.exits import WAYS
from tests.netns.wayout import (
    ADMIN4,
    ADMIN6,
    LAPSED4,
    LAPSED6,
    LINK_LOCAL,
    SETTINGS,
    UPSTREAM4,
    Way,
)

_ALLOWED = (".example.org.", ".example.net.")


@dataclass(frozen=True, slots=True)
class Trial:
    """What each way brought its user (and after how many milliseconds), and what passed the wire."""

    outcomes: dict[str, tuple[str, float]]
    packets: list[Packet]

    def took(self, way: Way) -> list[Packet]:
        """The packets that went this way out."""
        return [packet for packet in self.packets if way.mark.fits(packet)]

    def stray(self) -> list[Packet]:
        """What left the host and is neither IP itself nor a question of the agent's."""
        return stray(self.packets)


def stray(packets: Sequence[Packet]) -> list[Packet]:
    """The packets that left the host and are neither IP itself nor a question of the agent's."""
    return [
        packet
        for packet in packets
        if packet.from_host and not packet.is_housekeeping and not is_agents_question(packet)
    ]


def is_agents_question(packet: Packet) -> bool:
    """A question to the upstream for a name that a rule lists: nobody else may send one."""
    if (packet.protocol, packet.dst, packet.dport) != ("udp", UPSTREAM4, 53):
        return False
    try:
        asked = dns.message.from_wire(packet.payload[8:]).question[0].name.to_text().lower()
    except (dns.exception.DNSException, IndexError):
        return False
    return f".{asked}".endswith(_ALLOWED)


def furnish(lab: Lab) -> None:
    """What the ways out need of the lab: zones, a neighbour, ping for everybody."""
    org = Zone("example.org").both("www", 10).both("short", 11, ttl=1).both("later", 12)
    lab.serve(org, Zone("example.net").both("admin", 13), Zone("example.com").txt("*", "out"))
    lab.router.ip(f"addr add {LINK_LOCAL}/64 dev to-host nodad")
    lab.host.run(["sh", "-ec", "echo '0 65535' >/proc/sys/net/ipv4/ping_group_range"])


def agent(
    lab: Lab,
    *,
    mode: str = "enforce",
    dns: str = "redirect",
    denied: str = "reject",
    await_lapse: bool = True,
) -> Agent:
    """The agent under the settings of `wayout.py`, with the leases that the ways out go by."""
    started = lab.agent(SETTINGS.format(mode=mode, dns=dns, denied=denied))
    for kind in ("A", "AAAA"):
        for name in ("www.example.org", "short.example.org", "admin.example.net"):
            assert lab.host.addresses(name, kind)

    def lapsed() -> bool:
        return LAPSED4 not in lab.host.set_elements("web_v4") and LAPSED6 not in lab.host.set_elements(
            "web_v6"
        )

    if await_lapse:
        wait_until(lapsed, "the short lease's end")
    assert ADMIN4 in lab.host.set_elements("admin_v4")
    assert ADMIN6 in lab.host.set_elements("admin_v6")
    return started


def try_all(lab: Lab) -> Trial:
    """Every way out, an ordinary user's as an ordinary user."""
    wire = lab.sniffer()
    outcomes: dict[str, tuple[str, float]] = {}
    for who, user in (("user", NOBODY), ("root", None)):
        argv = [lab.host.python_path, "-m", "tests.netns.exits_process", who]
        outcomes.update(json.loads(lab.host.run(argv, user=user).stdout))
    assert outcomes.keys() == {way.id for way in WAYS}
    return Trial(outcomes, wire.stop())
