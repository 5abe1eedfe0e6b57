"""What a way out of the host is, and the settings under which the tests try them.

Knows the lab's addresses and what SETTINGS allow. Invariant: a `Mark` names
one way out, so that a packet on the wire tells which way it took.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tests.lab import Packet
from tests.netns.attempts import Attempt

SETTINGS = """
mode = "{mode}"
[resolver]
upstreams = ["10.10.0.10"]
[lease]
grace = "1s"
min = "1s"
[firewall]
dns = "{dns}"
denied = "{denied}"
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/80", "tcp/443", "udp/443"]
[[rule]]
name = "admin"
names = ["admin.example.net"]
ports = ["tcp/443"]
users = [0]
"""

APPROVED4, APPROVED6 = "192.0.2.10", "2001:db8::a"  # www.example.org
LAPSED4, LAPSED6 = "192.0.2.11", "2001:db8::b"  # short.example.org, TTL 1
UNASKED4, UNASKED6 = "192.0.2.12", "2001:db8::c"  # later.example.org, never asked
ADMIN4, ADMIN6 = "192.0.2.13", "2001:db8::d"  # admin.example.net, for root alone
UPSTREAM4, UPSTREAM6 = "10.10.0.10", "fd00:10::10"
OTHER4, OTHER6 = "10.10.0.11", "fd00:10::11"
LINK_LOCAL = "fe80::beef"  # the router's, beside its own
TAIL = "secret.example.com"  # denied

Who = Literal["user", "root"]


class Mark(NamedTuple):
    """What a packet must be to have gone this way out."""

    dst: str
    protocol: str = ""
    dport: int = 0
    contains: bytes = b""

    def fits(self, packet: Packet) -> bool:
        return (
            packet.from_host
            and packet.dst == self.dst
            and self.protocol in ("", packet.protocol)
            and self.dport in (0, packet.dport)
            and self.contains in packet.payload
        )


class Way(NamedTuple):
    """One way out. `local` is True where `firewall.dns = "redirect"` turns it to the agent."""

    id: str
    who: Who
    attempt: Attempt
    mark: Mark
    local: bool = False


def way(
    id: str,
    attempt: Attempt,
    dst: str,
    protocol: str = "",
    dport: int = 0,
    contains: bytes = b"",
    *,
    local: bool = False,
    who: Who = "user",
) -> Way:
    return Way(id, who, attempt, Mark(dst, protocol, dport, contains), local)
