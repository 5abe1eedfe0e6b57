"""Packets of all kinds and users, and what the kernel ought to count of them.

Knows the namespace that it runs in has a way out (`way_out`) and nobody there.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import count

from dynallow.firewall import ruleset as rs
from tests.lab.namespace import Namespace

TCP, UDP, ICMP, ICMPV6, GRE = 6, 17, 1, 58, 47
USERS = (0, 1000, 4_000_000_000)
NTP4, NTP6 = "198.51.100.123", "2001:db8:1::123"
WEB4, WEB6 = "198.51.100.80", "2001:db8:1::80"
OTHER4, OTHER6 = "198.51.100.99", "2001:db8:1::99"
_libc = ctypes.CDLL(None)

Key = tuple[bool, str, int, int, int | None]
"""Denied, address, protocol, port, uid."""


def way_out(place: Namespace) -> None:
    """A cable to a neighbour who is no one, and the way to everywhere."""
    for words in (
        "link set lo up",
        "link add out type veth peer name other",
        "link set out up",
        "link set other up",
        "addr add 192.0.2.1/24 dev out",
        "addr add 2001:db8::1/64 dev out nodad",
        "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out",
        "neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev out",
        "route add default via 192.0.2.2",
        "-6 route add default via 2001:db8::2",
    ):
        place.run(["ip", *words.split()])


@contextmanager
def user(uid: int) -> Iterator[None]:
    """Sockets that this thread makes are this user's (a capability stays with who is root)."""
    was = _libc.setfsuid(ctypes.c_uint(uid))
    try:
        yield
    finally:
        _libc.setfsuid(was)


_ports = count(20000)


def packet(protocol: int, address: str, port: int, uid: int = 0) -> bool:
    """One packet of a new flow; whether it was let go."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    with user(uid), socket.socket(family, kind) as sock:
        sock.setblocking(False)
        # Of a port of its own: with an earlier one it would belong to its flow, and go where that went.
        sock.bind(("", 0 if protocol == TCP else next(_ports)))
        try:
            if protocol == TCP:
                sock.connect((address, port))
            else:
                sock.sendto(b"x", (address, port))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def raw(protocol: int, address: str, body: bytes) -> None:
    """A packet of that protocol; one that is refused counts as well."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        try:
            sock.sendto(body, (address, 0))
        except PermissionError:
            pass


def broken_six(address: str) -> None:
    """An IPv6 packet that ends inside its headers."""
    header = struct.pack(
        "!IHBB16s16s", 6 << 28, 1, 60, 64, ip_address("2001:db8::1").packed, ip_address(address).packed
    )
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        try:
            sock.sendto(header + b"\x3b", (address, 0))
        except PermissionError:
            pass


def traffic() -> Counter[Key]:
    """Some of all there is, each flow a number of times of its own; what ought to be counted."""
    expected: Counter[Key] = Counter()
    ways = [
        (denied, protocol, address, port)
        for protocol, port in ((TCP, 443), (UDP, 443))
        for denied, address in ((False, WEB4), (False, WEB6), (True, OTHER4), (True, OTHER6))
    ]
    ways += [(False, UDP, address, 123) for address in (NTP4, NTP6)]
    ways += [(True, TCP, address, 123) for address in (NTP4, NTP6)]
    ways += [(True, UDP, address, 53) for address in (WEB4, WEB6)]
    for number, (denied, protocol, address, port) in enumerate(ways):
        for each in USERS:
            times = 1 + (number + each) % 4
            for _ in range(times):
                packet(protocol, address, port, each)
            expected[denied, address, protocol, port, each] += times
    for protocol, address, body in (
        (ICMP, WEB4, b"\x08\0\xf7\xff\0\0\0\0"),
        (ICMPV6, WEB6, b"\x80\0\0\0\0\0\0\0"),
        (GRE, WEB4, b"\0\0\x08\0"),
        (GRE, WEB6, b"\0\0\x08\0"),
        (UDP, OTHER4, b"x"),  # cut off before its port
        (TCP, OTHER6, b"x"),
    ):
        for _ in range(3):
            raw(protocol, address, body)
        expected[True, address, protocol, 0, 0] += 3
    broken_six(OTHER6)
    expected[True, OTHER6, rs.NO_PROTOCOL, 0, None] += 1
    return expected
