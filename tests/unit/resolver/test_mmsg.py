"""A real socket read and answered in bursts: each client gets its own reply, whatever becomes of others."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.resolver.mmsg import BURST, DATAGRAM_MAX, Datagrams
from dynallow.wire.numbers import UDP_SAFE

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", LOOPBACK, ids=["v4", "v6"])
WITHIN_S = 5.0
EXCHANGES = st.tuples(st.binary(min_size=2, max_size=300), st.none() | st.binary(min_size=1, max_size=1230))
"""(a datagram, the reply to it less the id)"""


class Pair:
    """A socket that is read in bursts, and clients of it."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET, clients: int = 1) -> None:
        self._stack = ExitStack()
        self.sock = self._stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self.sock.bind((LOOPBACK[family], 0))
        self.sock.setblocking(False)
        self.datagrams = Datagrams(self.sock, asked=False)
        self.clients = [self._stack.enter_context(self._client(family)) for _ in range(clients)]

    def _client(self, family: socket.AddressFamily) -> socket.socket:
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.settimeout(WITHIN_S)
        client.connect(self.sock.getsockname())
        return client

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def came(self) -> list[bytes]:
        """One burst, as soon as there is something."""
        assert select.select([self.sock], [], [], WITHIN_S)[0]
        return self.datagrams.receive()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as made:
        yield made


def ident(number: int) -> bytes:
    return (0x4000 + number).to_bytes(2, "big")


@FAMILIES
def test_burst_from_many_clients_each_gets_its_own_reply_under_its_own_id(
    family: socket.AddressFamily,
) -> None:
    with Pair(family, clients=BURST + 10) as pair:
        for number, client in enumerate(pair.clients):
            client.send(ident(number) + b"question %d" % number)
        sizes = []
        for _ in range(2):
            questions = pair.came()
            sizes.append(len(questions))
            pair.datagrams.reply([question.replace(b"question", b"reply") for question in questions])
        assert sizes == [BURST, 10]
        assert pair.datagrams.receive() == []
        for number, client in enumerate(pair.clients):
            assert client.recv(100) == ident(number) + b"reply %d" % number


@FAMILIES
def test_slots_without_a_reply_get_it_later_and_in_any_order(family: socket.AddressFamily) -> None:
    with Pair(family, clients=9) as pair:
        for number, client in enumerate(pair.clients):
            client.send(ident(number) + b"%d" % number)
        questions = pair.came()
        pair.datagrams.reply([None if int(q) % 3 else q + b" at once" for q in questions])
        late = [slot for slot, question in enumerate(questions) if int(question) % 3]
        waiting = [(pair.datagrams.datagram(slot), pair.datagrams.sender(slot)) for slot in late]
        for client in pair.clients:  # their slots are used again before they are answered
            client.send(b"\0\0another")
        assert len(pair.came()) == 9
        for packet, sender in reversed(waiting):
            pair.datagrams.send(packet + b" later", sender)
        for number, client in enumerate(pair.clients):
            when = b"later" if number % 3 else b"at once"
            assert client.recv(100) == ident(number) + b"%d %s" % (number, when)


@settings(max_examples=60, deadline=None)
@given(st.lists(EXCHANGES, min_size=1, max_size=BURST))
def test_any_datagrams_come_whole_and_any_replies_leave_whole(
    exchanged: list[tuple[bytes, bytes | None]],
) -> None:
    with Pair() as pair:
        (client,) = pair.clients
        for packet, _ in exchanged:
            client.send(packet)
        assert pair.came() == [packet[2:] for packet, _ in exchanged]
        assert [pair.datagrams.datagram(slot) for slot in range(len(exchanged))] == [p for p, _ in exchanged]
        pair.datagrams.reply([body for _, body in exchanged])
        expected = [packet[:2] + body for packet, body in exchanged if body is not None]
        assert [client.recv(4096) for _ in expected] == expected
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(4096)


@pytest.mark.parametrize("size", [0, 1, 2, 12, DATAGRAM_MAX - 1, DATAGRAM_MAX])
def test_datagram_of_any_size_up_to_the_longest_comes_whole(pair: Pair, size: int) -> None:
    packet = (b"0123456789abcdef" * 256)[:size]
    pair.clients[0].send(packet)
    assert pair.came() == [packet[2:]]
    assert pair.datagrams.datagram(0) == packet


@pytest.mark.parametrize("size", [DATAGRAM_MAX + 1, DATAGRAM_MAX + 2, 9000, 65507])
def test_datagram_that_is_too_long_gives_its_header_alone(pair: Pair, size: int) -> None:
    """Cut anywhere else it could be a question that nobody asked."""
    packet = (b"0123456789abcdef" * 4096)[:size]
    pair.clients[0].send(packet)
    pair.clients[0].send(b"\0\0next")
    (_, after) = pair.came()
    assert pair.datagrams.datagram(0) == packet[:12]
    assert (after, pair.datagrams.datagram(1)) == (b"next", b"\0\0next")


def test_longer_datagram_of_an_earlier_burst_leaves_nothing_behind(pair: Pair) -> None:
    pair.clients[0].send(b"\0\0" + b"long" * 100)
    pair.came()
    pair.clients[0].send(b"\0\0short")
    assert pair.came() == [b"short"]


@pytest.mark.parametrize("bad", [{0}, {2}, {4}, {0, 1}, {1, 3}, {3, 4}, {0, 1, 2, 3, 4}], ids=str)
def test_reply_that_the_kernel_refuses_costs_the_others_nothing(bad: set[int]) -> None:
    """`sendmmsg` stops before it, and names the reason only when it is asked again."""
    with Pair(clients=5) as pair:
        for number, client in enumerate(pair.clients):
            client.send(ident(number) + b"%d" % number)
        questions = pair.came()
        for slot in bad:
            _refuse(pair.datagrams, slot)
        pair.datagrams.reply(questions)
        for number, client in enumerate(pair.clients):
            if number not in bad:
                assert client.recv(100) == ident(number) + b"%d" % number
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(100)


def _refuse(datagrams: Datagrams, slot: int) -> None:
    """Make of a slot's sender one that nothing can be sent to: the broadcast address takes a permission."""
    start = slot * (len(datagrams.sender(slot)))
    datagrams._senders[start + 4 : start + 8] = socket.inet_aton("255.255.255.255")


def test_reply_to_a_client_that_is_gone_costs_the_next_one_nothing(pair: Pair) -> None:
    with Pair() as other:
        gone = other.clients[0]
        gone.connect(pair.sock.getsockname())
        gone.send(b"\0\1from one that goes")
    pair.clients[0].send(b"\0\2from one that stays")
    for _ in range(3):
        questions = pair.came()
        pair.datagrams.reply(questions)
        assert pair.clients[0].recv(100) == b"\0\2from one that stays"
        pair.clients[0].send(b"\0\2from one that stays")


def test_burst_of_longest_replies_fits_and_longer_ones_are_an_error_not_an_overrun(pair: Pair) -> None:
    (client,) = pair.clients
    for number in range(BURST):
        client.send(ident(number) + b"?")
    pair.came()
    pair.datagrams.reply([bytes([number]) * UDP_SAFE for number in range(BURST)])
    for number in range(BURST):
        assert client.recv(4096) == ident(number) + bytes([number]) * UDP_SAFE
    with pytest.raises((IndexError, ValueError)):
        pair.datagrams.reply([bytes(UDP_SAFE + 1)] * BURST)
    with pytest.raises((IndexError, ValueError)):
        pair.datagrams.send(bytes(70000), pair.datagrams.sender(0))


def test_full_send_buffer_drops_the_rest_and_returns(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients ask again; a loop that waits for room would stop all others."""
    calls = []

    def full(*arguments: object) -> int:
        calls.append(arguments)
        ctypes.set_errno(errno.EAGAIN)
        return -1

    for number in range(5):
        pair.clients[0].send(ident(number))
    questions = pair.came()
    monkeypatch.setattr("dynallow.resolver.mmsg.sendmmsg", full)
    monkeypatch.setattr("dynallow.resolver.mmsg.sendmmsg_held", full)
    pair.datagrams.reply([b"reply"] * len(questions))
    assert len(calls) == 2  # the second one says why


def test_closed_sends_nothing_to_whoever_has_its_number_now(pair: Pair) -> None:
    pair.clients[0].send(b"\0\1question")
    questions = pair.came()
    sender = pair.datagrams.sender(0)
    pair.datagrams.close()
    pair.datagrams.reply(questions)
    pair.datagrams.send(b"late", sender)
    assert pair.datagrams.receive() == []
    pair.clients[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.clients[0].recv(100)
