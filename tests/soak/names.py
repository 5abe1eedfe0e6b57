"""The names of the soak: what each is allowed by, what it leads to, how long its records live. Pure.

Shared by the upstream that plays them and by the client that judges the answers.

    h7.web.example.org       asked again and again
    f7.web.example.org       asked once
    f7.both.web.example.org  allowed by two rules
    c7.web.example.org       CNAME of t7.cdn.example.net, which no rule lists
    f7.extra.example.org     of a rule that reloads take away and bring back
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
timeout = "1s"
cache-size = 2000
[lease]
grace = "1s"
min = "5s"
[[rule]]
name = "web"
names = [".web.example.org"]
[[rule]]
name = "both"
names = ["*.both.web.example.org"]
ports = ["tcp/80", "udp/443"]
"""
EXTRA = """
[[rule]]
name = "extra"
names = ["*.extra.example.org"]
ports = ["tcp/8443"]
"""
RULES = ("web", "both", "extra")
TTLS = (1, 5, 30, 60)
_ADDRESSES = 3000  # few, so that names of very different lifetimes share them
_V4, _V6 = int(IPv4Network("198.18.0.0/15")[0]), int(IPv6Network("2001:db8:f::/48")[0])


def number_of(name: str) -> int:
    """The number in the first label; -1 where there is none."""
    digits = name.partition(".")[0][1:]
    return int(digits) if digits.isdigit() else -1


def address_of(number: int, version: int) -> bytes:
    """Its address, packed."""
    base = _V4 if version == 4 else _V6
    return ip_address(base + number % _ADDRESSES).packed


def ttl_of(number: int) -> int:
    """Seconds."""
    return TTLS[number % len(TTLS)]


def rules_of(name: str) -> tuple[str, ...]:
    """The rules whose sets must hold the name's addresses; none: it may have none."""
    if name.endswith(".both.web.example.org"):
        return ("web", "both")
    if name.endswith((".web.example.org", ".cdn.example.net")):
        return ("web",)
    return ("extra",) if name.endswith(".extra.example.org") else ()
