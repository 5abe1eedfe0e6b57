"""Ways out of the host, tried for real with a sniffer on the wire: 0 packets.

Each way is tried three times: without a table (the control: it must be seen,
else the test could not fail), and in mode enforce with both kinds of
`firewall.dns`. Needs the lab and other users than root.
"""

from __future__ import annotations

import errno
import socket
import statistics
import struct
from collections.abc import Iterator

import pytest

from tests.lab import NOBODY, Lab, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users
from tests.lab.waiting import in_time
from tests.netns import trials
from tests.netns.attempts import FOREIGN_SOURCE
from tests.netns.exits import WAYS
from tests.netns.trials import Trial
from tests.netns.wayout import APPROVED4, APPROVED6, Way

Trials = dict[str, Trial]
ALL_WAYS = pytest.mark.parametrize("way", WAYS, ids=[way.id for way in WAYS])
AT_ONCE_S = 0.1

CONNECT = """
import json, socket, sys, time
found = []
for address in sys.argv[2:]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.settimeout(float(sys.argv[1]))
        began = time.monotonic()
        try:
            sock.connect((address, 443))
            found.append(["connected", 0])
        except OSError as error:
            found.append([type(error).__name__, (time.monotonic() - began) * 1000])
print(json.dumps(found))
"""
SET_MARK = """
import socket
for family in (socket.AF_INET, socket.AF_INET6):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as sock:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x64796e61)
            except PermissionError as error:
                print(error.errno)
"""


@pytest.fixture(scope="module")
def tried() -> Iterator[Trials]:
    """All ways out, under "nothing", "redirect" and "reject"."""
    require_lab()
    require_users()
    with Lab() as lab:
        trials.furnish(lab)
        found = {"nothing": trials.try_all(lab)}
        for dns in ("redirect", "reject"):
            agent = trials.agent(lab, dns=dns)
            found[dns] = trials.try_all(lab)
            agent.stop()
        yield found


@pytest.fixture(scope="module")
def redirecting() -> Iterator[tuple[Lab, Agent]]:
    """A lab in mode enforce with dns = "redirect"."""
    require_lab()
    require_users()
    with Lab() as lab:
        trials.furnish(lab)
        yield lab, trials.agent(lab, await_lapse=False)


# -- the ways ---------------------------------------------------------------


@ALL_WAYS
def test_way_out_without_a_table_is_seen_on_the_wire(tried: Trials, way: Way) -> None:
    assert tried["nothing"].took(way), tried["nothing"].outcomes[way.id]


@pytest.mark.parametrize("dns", ["redirect", "reject"])
@ALL_WAYS
def test_way_out_in_mode_enforce_ends_at_home(tried: Trials, way: Way, dns: str) -> None:
    assert [str(packet) for packet in tried[dns].took(way)] == []


@pytest.mark.parametrize("dns", ["redirect", "reject"])
def test_all_ways_out_in_mode_enforce_leave_nothing_else_on_the_wire(tried: Trials, dns: str) -> None:
    known = {str(packet) for way in WAYS for packet in tried[dns].took(way)}
    assert [str(packet) for packet in tried[dns].stray() if str(packet) not in known] == []


def test_each_packet_of_the_control_tells_which_way_it_went(tried: Trials) -> None:
    for packet in tried["nothing"].packets:
        ways = [way.id for way in WAYS if way.mark.fits(packet)]
        assert len(ways) <= 1, (str(packet), ways)


def test_mark_of_the_agent_set_by_an_ordinary_user_is_refused(redirecting: tuple[Lab, Agent]) -> None:
    lab, _ = redirecting
    assert lab.host.python(SET_MARK, user=NOBODY).stdout.split() == [str(errno.EPERM)] * 4


def test_question_to_the_agent_from_a_foreign_source_is_not_answered_over_the_wire(
    redirecting: tuple[Lab, Agent],
) -> None:
    lab, _ = redirecting
    code = "from tests.netns.attempts import *; free_bind('::1', 53, question('www.example.org'))()"
    wire = lab.sniffer()
    lab.host.python(code, user=NOBODY, check=False)  # EPERM, if it is the kernel that stops it
    lab.host.ask("www.example.org", "TXT", "::1")  # answered after the one before it
    assert [str(packet) for packet in wire.stop() if packet.dst == FOREIGN_SOURCE] == []


# -- what the refused program sees -------------------------------------------


def _connect(lab: Lab, *addresses: str, within_s: float = 3.0) -> list[tuple[str, float]]:
    import json

    shown = lab.host.python(CONNECT, str(within_s), *addresses, user=NOBODY).stdout
    return [(outcome, ms) for outcome, ms in json.loads(shown)]


def _assert_refused_at_once(lab: Lab, address: str) -> None:
    """Where SYN had to be sent again, each would take a second; a machine that stands still hits one."""
    found = _connect(lab, *[address] * 8)
    assert {outcome for outcome, _ in found} <= {"OSError", "PermissionError", "ConnectionRefusedError"}
    in_time(statistics.median(took_ms for _, took_ms in found) / 1000, AT_ONCE_S)


def test_refused_connect_over_ipv4_returns_at_once(redirecting: tuple[Lab, Agent]) -> None:
    _assert_refused_at_once(redirecting[0], "198.51.100.9")


def test_refused_connect_over_ipv6_returns_at_once(redirecting: tuple[Lab, Agent]) -> None:
    """An ICMPv6 error alone does not do: it comes while `connect` holds the socket, and SYN is sent again."""
    _assert_refused_at_once(redirecting[0], "2001:db8:51::9")


def test_refused_datagram_returns_at_once(tried: Trials) -> None:
    found = [
        tried["reject"].outcomes[way] for way in ("udp-v4", "udp-v6", "udp-connected-v4", "udp-connected-v6")
    ]
    assert {outcome for outcome, _ in found} == {"EPERM"}
    in_time(min(took_ms for _, took_ms in found) / 1000, AT_ONCE_S)


def test_denied_drop_leaves_the_program_without_an_error_until_its_own_timeout() -> None:
    require_users()
    with Lab() as lab:
        trials.furnish(lab)
        trials.agent(lab, denied="drop", await_lapse=False)
        wire = lab.sniffer()
        errors = _icmp_errors(lab)
        with errors:
            found = _connect(lab, "198.51.100.9", "2001:db8:51::9", within_s=0.4)
            assert [outcome for outcome, _ in found] == ["TimeoutError", "TimeoutError"]
            with pytest.raises(BlockingIOError):
                errors.recv(2048)
        assert [str(packet) for packet in trials.stray(wire.stop())] == []


def test_denied_reject_tells_the_program_by_icmp(redirecting: tuple[Lab, Agent]) -> None:
    """The control of the test above: the error that it does not see is seen here."""
    lab, _ = redirecting
    with _icmp_errors(lab) as errors:
        lab.host.run(["bash", "-c", "echo x > /dev/udp/198.51.100.9/9"], check=False)
        packet = wait_until(lambda: _received(errors), "the ICMP error")
        kind, code = packet[20:22]
        assert (kind, code) == (3, 13)  # RFC 1812 section 5.2.7.1: administratively prohibited


def _icmp_errors(lab: Lab) -> socket.socket:
    """A raw socket that sees the host's ICMP destination-unreachable messages."""
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    icmp_filter, only_unreachable = 1, struct.pack("I", ~(1 << 3) & 0xFFFFFFFF)
    sock.setsockopt(socket.SOL_RAW if hasattr(socket, "SOL_RAW") else 255, icmp_filter, only_unreachable)
    sock.setblocking(False)
    return sock


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(2048)
    except BlockingIOError:
        return b""


# -- redirect -----------------------------------------------------------------


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("server", ["198.51.100.9", "2001:db8:51::9", "10.10.0.10", "fd00:10::10"])
def test_dig_at_another_server_is_answered_by_the_agent_from_the_address_asked(
    redirecting: tuple[Lab, Agent], server: str, tcp: bool
) -> None:
    lab, _ = redirecting
    way = ["+tcp"] if tcp else []
    wire = lab.sniffer()
    for kind, address in (("A", APPROVED4), ("AAAA", APPROVED6)):
        shown = lab.host.run(
            ["dig", "+tries=1", "+time=30", *way, f"@{server}", "www.example.org", kind], user=NOBODY
        )
        assert f"\t{kind}\t{address}\n" in shown.stdout
        assert f"SERVER: {server}#53({server}) ({'TCP' if tcp else 'UDP'})" in shown.stdout
    denied = lab.host.run(
        ["dig", "+tries=1", "+time=30", *way, f"@{server}", "secret.example.com", "TXT"], user=NOBODY
    )
    assert "status: NXDOMAIN" in denied.stdout
    assert f"SERVER: {server}#53({server})" in denied.stdout
    assert [str(packet) for packet in trials.stray(wire.stop())] == []
