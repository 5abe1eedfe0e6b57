"""What NFLOG tells of denied packets, as bytes: of whole packets, of cut ones, of what is none."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.firewall import denied_log
from dynallow.firewall.denied_log import DeniedLog, DeniedPacket, decode

AT = 1_700_000_000.0
V4 = socket.inet_aton("10.10.1.2"), socket.inet_aton("198.51.100.9")
V6 = socket.inet_pton(socket.AF_INET6, "fd00:10:1::2"), socket.inet_pton(socket.AF_INET6, "2001:db8::9")
PORTS = struct.pack(">HH", 40_000, 443) + bytes(16)
PACKET, TCP, UDP, ICMPV6, FRAGMENT = 4 << 8, 6, 17, 58, 44


def four(protocol: int, body: bytes, *, offset: int = 0, words: int = 5) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 0, 0, offset, 64, protocol, 0) + V4[0] + V4[1]
    return head + bytes(max(words - 5, 0) * 4) + body


def six(following: int, body: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(body), following, 64) + V6[0] + V6[1] + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(payload: bytes, uid: int | None = 1000, kind: int = PACKET) -> bytes:
    body = struct.pack(">BBH", 2, 0, 100) + attribute(1, b"\x08\0\x03\0") + attribute(5, struct.pack(">I", 7))
    body += attribute(10, b"dynallow denied \0")
    if uid is not None:
        body += attribute(11, struct.pack(">I", uid))
    body += attribute(9, payload)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def told(payload: bytes, uid: int | None = 1000) -> DeniedPacket | None:
    (packet,) = decode(message(payload, uid), AT)
    return packet


def test_tcp_packet_is_told_with_its_ends_user_and_interface() -> None:
    assert told(four(TCP, PORTS)) == DeniedPacket(AT, V4[1], TCP, 443, V4[0], 40_000, 1000, 7)
    assert told(six(UDP, PORTS)) == DeniedPacket(AT, V6[1], UDP, 443, V6[0], 40_000, 1000, 7)
    assert told(four(TCP, PORTS, words=8)) == DeniedPacket(AT, V4[1], TCP, 443, V4[0], 40_000, 1000, 7)


def test_packet_without_socket_has_no_user() -> None:
    packet = told(four(TCP, PORTS), uid=None)
    assert packet is not None
    assert packet.uid is None


@pytest.mark.parametrize(
    "payload",
    [
        four(TCP, PORTS, offset=1),
        six(FRAGMENT, bytes([TCP, 0, 0, 0x09, 0, 0, 0, 1]) + PORTS),
        four(TCP, PORTS[:3]),
        six(TCP, b""),
    ],
)
def test_packet_whose_ports_are_not_there_is_told_without(payload: bytes) -> None:
    packet = told(payload)
    assert packet is not None
    assert (packet.protocol, packet.port, packet.source_port) == (TCP, 0, 0)


def test_protocol_without_ports_is_told_as_such() -> None:
    packet = told(six(ICMPV6, PORTS))
    assert packet is not None
    assert (packet.protocol, packet.port) == (ICMPV6, 0)


@pytest.mark.parametrize(
    "headers",
    [
        [(0, bytes(6))],
        [(0, bytes(14)), (43, bytes(22)), (60, bytes(6))],
        [(51, bytes(10))],
        [(FRAGMENT, bytes(6))],
    ],
)
def test_extension_headers_are_passed_over(headers: list[tuple[int, bytes]]) -> None:
    following = [kind for kind, _ in headers[1:]] + [UDP]
    body = b""
    for (kind, rest), after in zip(headers, following, strict=True):
        length = (len(rest) + 2) // 4 - 2 if kind == 51 else (len(rest) + 2) // 8 - 1
        body += bytes([after, 0 if kind == FRAGMENT else length]) + rest
    packet = told(six(headers[0][0], body + PORTS))
    assert packet is not None
    assert (packet.protocol, packet.port) == (UDP, 443)


def test_extension_headers_without_end_are_given_up() -> None:
    assert told(six(0, (bytes([0, 0]) + bytes(6)) * 9)) is not None
    packet = told(six(60, bytes([60, 255])))
    assert packet is not None
    assert packet.port == 0


@pytest.mark.parametrize("payload", [b"", b"\x45", four(TCP, PORTS)[:19], six(TCP, b"")[:39], b"\x50" * 60])
def test_what_is_no_packet_is_none(payload: bytes) -> None:
    assert told(payload) is None
    assert told(four(TCP, PORTS, words=4)) is None


def test_several_messages_in_one_datagram_are_told_and_others_passed_over() -> None:
    both = message(four(TCP, PORTS)) + message(b"", kind=2) + message(six(UDP, PORTS))
    assert [packet and packet.protocol for packet in decode(both, AT)] == [TCP, UDP]


def test_datagram_cut_anywhere_is_told_as_far_as_it_goes() -> None:
    whole = message(four(TCP, PORTS)) + message(six(UDP, PORTS))
    for size in range(len(whole)):
        found = list(decode(whole[:size], AT))
        assert len(found) <= 2


@given(st.binary(max_size=300), st.integers(0, 60), st.binary(max_size=60))
def test_any_bytes_are_borne(noise: bytes, start: int, patch: bytes) -> None:
    whole = message(six(0, bytes([43, 0]) + noise))
    list(decode(noise, AT))
    list(decode(whole[:start] + patch + whole[start + len(patch) :], AT))
    told(noise)


def test_flood_is_read_a_few_a_turn_and_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a socket that stands for the kernel's, always full."""
    monkeypatch.setattr(denied_log, "_SECOND", 100)
    monkeypatch.setattr(denied_log, "_SECOND_S", 1e6)  # the test says when it is over
    batches: list[int] = []

    async def work() -> None:
        heard = DeniedLog(lambda packets: batches.append(len(packets)), lambda: AT)
        ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        heard._sock = ours
        heard._listen()
        datagrams = [message(four(TCP, PORTS)), b"\x10nonsense" * 4]

        async def flood() -> None:
            for number in range(2000):
                try:
                    kernels.send(datagrams[number % 2])
                except BlockingIOError:
                    await asyncio.sleep(0)

        await flood()
        total = heard.counts.packets + heard.counts.malformed
        assert 100 <= total < 100 + denied_log._TURN
        assert max(batches) <= denied_log._TURN
        assert heard.counts.malformed > 0
        assert heard.counts.rests == 0
        heard._renew()  # a second is over
        await flood()
        assert 2 * total - denied_log._TURN <= heard.counts.packets + heard.counts.malformed
        assert heard.counts.rests == 1
        heard.close()
        kernels.close()

    asyncio.run(work())
    assert sum(batches) > 0
