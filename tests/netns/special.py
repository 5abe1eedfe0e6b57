"""Special-purpose addresses, one or more of each range, and each IPv4 one in every form that embeds it.

Written from IANA's two registries and RFCs 4291, 6052, 3056, 4380, 8215 by
hand: shares nothing with `dynallow.policy.special`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

_FOUR = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.8", "192.0.0.170", "192.168.0.1", "192.168.255.255", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
)  # fmt: skip
_SIX = (
    "::", "::1", "::2", "100::1", "100:0:0:1::1", "2001:1::", "2001:10::1", "2001:1ff::1", "5f00::1",
    "64:ff9b:1::1", "64:ff9b:1:ffff::1", "fc00::1", "fd00::1", "fdff:ffff::1", "fe80::1", "febf::1",
    "fec0::1", "feff::1", "ff00::1", "ff02::1", "ff0e::1",
)  # fmt: skip
_INNER = ("10.0.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0")


def _embedded(text: str) -> list[str]:
    inner = int(IPv4Address(text))
    forms = (
        0xFFFF << 32 | inner,  # mapped
        inner,  # compatible
        0x0064FF9B << 96 | inner,  # NAT64, the well-known prefix
        0x0064FF9B0001 << 80 | inner,  # NAT64, local use
        0x2002 << 112 | inner << 80 | 1,  # 6to4
        0x20010000 << 96 | 0x41420143 << 64 | inner ^ 0xFFFFFFFF,  # Teredo, the client
        0x20010000 << 96 | inner << 64 | 0xFFFFFFFF ^ 0xC0000263,  # Teredo, the server
    )
    return [str(IPv6Address(form)) for form in forms]


SPECIAL = tuple(dict.fromkeys((*_FOUR, *_SIX, *(form for text in _INNER for form in _embedded(text)))))
