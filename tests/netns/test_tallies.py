"""What the real kernel counts by destination, port and user, and what `Tallies` tells of it."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dynallow.firewall import load
from dynallow.firewall import ruleset as rs
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.tallies import Tallies, Tally
from dynallow.settings import Settings
from tests.lab.namespace import Namespace
from tests.netns.kernel import bare_network, flush

TCP, UDP, ICMP, ICMPV6, GRE = 6, 17, 1, 58, 47
USERS = (0, 1000, 4_000_000_000)
NTP4, NTP6 = "198.51.100.123", "2001:db8:1::123"
WEB4, WEB6 = "198.51.100.80", "2001:db8:1::80"
OTHER4, OTHER6 = "198.51.100.99", "2001:db8:1::99"
_libc = ctypes.CDLL(None)

Key = tuple[bool, str, int, int, int | None]
"""Denied, address, protocol, port, uid."""


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A way out for every address, and nobody who answers."""
    with bare_network(tmp_path_factory.mktemp("net")) as place:
        _way_out(place)
        yield


def _way_out(place: Namespace) -> None:
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


@pytest.fixture
def elements() -> Iterator[ElementSocket]:
    flush()
    opened = ElementSocket()
    yield opened
    opened.close()


def table(mode: str = "enforce", size: int | None = None, lasts_s: int | None = None) -> rs.Ruleset:
    """A rule and a destination, both for TCP and UDP."""
    settings = Settings.model_validate(
        {
            "mode": mode,
            "rule": [{"name": "web", "names": ["a.example.org"], "ports": ["tcp/443", "udp/443"]}],
            "destination": [{"name": "ntp", "addresses": [NTP4, NTP6], "ports": ["udp/123"]}],
        }
    )
    built = build_ruleset(settings, [], 0)
    flows = tuple(
        replace(
            one, size=size or one.size, lasts_s=lasts_s or one.lasts_s, collected_every_s=1 if lasts_s else 60
        )
        for one in built.flow_sets
    )
    return replace(built, flow_sets=flows)


def approve(elements: ElementSocket) -> None:
    batch = Batch()
    batch.add(Element("web_v4", ip_address(WEB4).packed, 600_000, b"a.example.org"))
    batch.add(Element("web_v6", ip_address(WEB6).packed, 600_000, b"a.example.org"))
    elements.commit(batch)


@contextmanager
def user(uid: int) -> Iterator[None]:
    """Sockets that this thread makes are this user's (a capability stays with who is root)."""
    was = _libc.setfsuid(ctypes.c_uint(uid))
    try:
        yield
    finally:
        _libc.setfsuid(was)


def packet(protocol: int, address: str, port: int, uid: int = 0) -> bool:
    """One packet of a new flow; whether it was let go."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    with user(uid), socket.socket(family, kind) as sock:
        sock.setblocking(False)
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


def told(tallies: list[Tally]) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for denied, address, protocol, port, uid, packets, octets in tallies:
        assert octets >= 20 * packets > 0
        found[denied, str(ip_address(address)), protocol, port, uid] += packets
    return found


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


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_read_every_packet_is_in_exactly_one_tally_of_its_user_and_port(
    elements: ElementSocket, mode: str
) -> None:
    load.load(table(mode), elements)
    approve(elements)
    tallies = Tallies()
    expected = traffic()
    found = told(tallies.read())
    assert found == expected
    assert tallies.total() == sum(times for key, times in expected.items() if key[0])
    assert tallies.read() == []
    more = traffic()
    assert told(tallies.read()) == more


def test_read_the_same_traffic_has_the_same_denied_tallies_in_both_modes(elements: ElementSocket) -> None:
    found = {}
    for mode in ("observe", "enforce"):
        flush()
        load.load(table(mode), elements)
        approve(elements)
        traffic()
        found[mode] = told(Tallies().read())
    assert found["observe"] == found["enforce"]
