"""What the real kernel counts by destination, port and user, and what `Tallies` tells of it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dynallow.errors import TableMissingError
from dynallow.firewall import encode, load
from dynallow.firewall import ruleset as rs
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_denied
from dynallow.firewall.step import Flags
from dynallow.firewall.tallies import Tallies, Tally
from dynallow.firewall.text import render_table
from dynallow.settings import Settings
from tests.lab.waiting import wait_until
from tests.netns.kernel import bare_network, flush, json_members, listed, nft
from tests.netns.tallied import (
    NTP4,
    NTP6,
    OTHER4,
    OTHER6,
    UDP,
    USERS,
    WEB4,
    WEB6,
    Key,
    packet,
    traffic,
    way_out,
)

_libc = ctypes.CDLL(None)


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A way out for every address, and nobody who answers."""
    with bare_network(tmp_path_factory.mktemp("net")) as place:
        way_out(place)
        yield


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


def told(tallies: list[Tally]) -> Counter[Key]:
    found: Counter[Key] = Counter()
    for denied, address, protocol, port, uid, packets, octets in tallies:
        assert octets >= 20 * packets > 0
        found[denied, str(ip_address(address)), protocol, port, uid] += packets
    return found


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


def denied(times: int = 1, port: int = 99) -> None:
    for _ in range(times):
        packet(UDP, OTHER4, port)


def sums(tallies: list[Tally]) -> dict[int, int]:
    """Denied packets by port."""
    return {tally.port: tally.packets for tally in tallies if tally.denied}


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_full_sets_keep_no_packet_from_its_accept_or_its_denial(elements: ElementSocket, mode: str) -> None:
    load.load(table(mode, size=2), elements)
    approve(elements)
    tallies = Tallies()
    for number in range(4):
        for uid in USERS:
            assert packet(UDP, WEB4, 443, uid)
            assert packet(UDP, WEB6, 443, uid)
            assert packet(UDP, OTHER4, 1000 + number, uid) == (mode == "observe")
            assert packet(UDP, OTHER6, 1000 + number, uid) == (mode == "observe")
    assert tallies.total() == 4 * len(USERS) * 2
    found = told(tallies.read())
    for family in (4, 6):
        for is_denied in (True, False):
            of_it = [key for key in found if key[0] == is_denied and (":" in key[1]) == (family == 6)]
            assert len(of_it) == 2, "as many as there is room for"
    assert found[False, WEB4, UDP, 443, 0] == 4, "those that have a place are counted on"


def test_read_what_lapsed_and_came_again_is_told_again(elements: ElementSocket) -> None:
    load.load(table(lasts_s=1), elements)
    tallies, rounds = Tallies(), 0
    while rounds < 2:
        began = time.monotonic()
        denied(3)
        found = sums(tallies.read())
        # Else it had lapsed, perhaps, before it was read; or came again so soon that it may be the old one.
        if time.monotonic() - began < 0.5:
            assert found == {99: 3}
            rounds += 1
        wait_until(lambda: not json_members("denied_flows_v4"), "the flow to lapse")


def test_read_reload_keeps_the_counts_and_a_new_owner_takes_them_over(elements: ElementSocket) -> None:
    nft("-f", "-", stdin=render_table(table("observe")))  # as the kept ruleset is loaded at boot
    tallies = Tallies()
    denied(3)
    assert sums(tallies.read()) == {99: 3}
    denied(2)
    denied(1, port=7)
    assert load.load(table("enforce"), elements, Flags.OWNED).owned
    denied(4)
    assert sums(tallies.read()) == {99: 6, 7: 1}
    load.load(table("enforce"), elements, Flags.OWNED)
    denied(1, port=7)
    assert sums(tallies.read()) == {7: 1}
    assert tallies.total() == 11


def test_read_sets_of_another_size_are_made_anew_and_nothing_is_told_twice(elements: ElementSocket) -> None:
    load.load(table(), elements)
    tallies = Tallies()
    denied(3)
    tallies.read()
    denied(2)
    load.load(table(size=100), elements)
    assert sums(tallies.read()) == {99: 2}
    denied(9)
    assert sums(tallies.read()) == {99: 9}


@pytest.mark.parametrize("times", [2, 3, 9])
def test_read_table_that_somebody_deleted_counts_from_the_beginning(
    elements: ElementSocket, times: int
) -> None:
    load.load(table(), elements)
    tallies = Tallies()
    denied(3)
    assert (sums(tallies.read()), tallies.total()) == ({99: 3}, 3)
    flush()
    with pytest.raises(TableMissingError):
        tallies.read()
    load.load(table(), elements)
    denied(times)
    assert sums(tallies.read()) == {99: times}


def test_read_next_agent_tells_what_was_counted_while_none_ran_and_no_more(elements: ElementSocket) -> None:
    load.load(table(), elements)
    first = Tallies()
    denied(3)
    first.read()
    denied(2)
    second = Tallies(first.marks())
    assert sums(second.read()) == {99: 2}
    assert sums(Tallies().read()) == {99: 5}, "without marks nothing is known to have been told"
    assert Tallies(second.marks()).read() == []


def test_load_kernel_without_counting_sets_gets_the_table_without_them(
    elements: ElementSocket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such sets are refused here by a flag that no kernel knows."""
    monkeypatch.setattr(encode, "_FLAG_DYNAMIC", 0x4000_0000)
    loaded = load.load(table(), elements, Flags.OWNED)
    assert not loaded.table.flow_sets
    assert loaded.owned, "what it can do is used"
    assert "cannot count flows" in caplog.text
    lines = [line for line in listed().splitlines() if "flags owner" not in line]
    wanted = render_table(rs.uncounted(table())).splitlines()
    assert [line.split(" # ")[0] for line in lines if line] == [line for line in wanted if line]
    approve(elements)
    assert packet(UDP, WEB4, 443)
    assert not packet(UDP, OTHER4, 443)
    assert read_denied()[0] == 1
    assert Tallies().read() == []


def test_load_from_counting_to_not_counting_and_back(elements: ElementSocket) -> None:
    load.load(table(), elements)
    denied(3)
    load.load(rs.uncounted(table()), elements)
    assert load.left_over(table(), elements) == []
    tallies = Tallies()
    assert tallies.read() == []
    load.load(table(), elements)
    denied(1)
    assert sums(tallies.read()) == {99: 1}


FLOOD_PORTS = 1000


def flood(packets: int) -> None:
    """So many denied packets, to as many ports in turn, as fast as can be."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        number = sock.fileno()
        places = [
            struct.pack("=H2s4s8x", socket.AF_INET, struct.pack("!H", 1000 + each), ip_address(OTHER4).packed)
            for each in range(FLOOD_PORTS)
        ]
        for _ in range(packets // FLOOD_PORTS):
            for place in places:
                _libc.sendto(number, b"x", 1, 0, place, 16)


@contextmanager
def flooding(packets: int) -> Iterator[int]:
    """In a process of its own, in the network of this thread; it gives its number."""
    pid = os.fork()
    if not pid:
        try:
            flood(packets)
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("packets", [20_000, pytest.param(600_000, marks=pytest.mark.slow)])
def test_flood_while_it_is_read_every_packet_is_told_once(elements: ElementSocket, packets: int) -> None:
    load.load(table(), elements)
    tallies, found, reads = Tallies(), Counter[Key](), 0
    began = time.monotonic()
    with flooding(packets) as sender:
        while not os.waitid(os.P_PID, sender, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            found += told(tallies.read())
            reads += 1
        took_s = time.monotonic() - began
    found += told(tallies.read())
    print(f"{packets / took_s:,.0f} denied packets a second, read {reads} times")
    assert reads
    assert tallies.total() == packets == sum(found.values())
    assert len(found) == FLOOD_PORTS
    assert set(found.values()) == {packets // FLOOD_PORTS}
