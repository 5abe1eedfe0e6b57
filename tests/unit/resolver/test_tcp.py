"""The TCP listener on real sockets, with limits small enough to be met in a moment."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import dns.message
import dns.rcode
import pytest

from dynallow.resolver.options import HopOptions
from dynallow.resolver.stream import TcpLimits
from dynallow.resolver.tcp import TcpClients, TcpListener, open_tcp
from dynallow.units import Endpoint
from tests.unit.resolver.host import DEB, ONE, Host, addresses, on_host, policy, question, until
from tests.unit.resolver.nameserver import Nameserver, answer
from tests.unit.resolver.responses import records

LOOPBACK = ip_address("127.0.0.1")
ALL = policy(web="*.example.org")
DENIED = "no.example.net"
WITHIN_S = 5.0
SOON_S = 0.15
PATIENT = TcpLimits()
HASTY = TcpLimits(first_byte_s=SOON_S, idle_s=SOON_S, message_s=SOON_S, write_s=SOON_S)


def everything(query: dns.message.Message, tcp: bool) -> Iterable[bytes]:
    """Each name has one address; "big" has 60."""
    name = query.question[0].name.to_text(omit_final_dot=True)
    count = 60 if name.startswith("big") else 1
    data = " | ".join(f"192.0.2.{number + 1}" for number in range(count))
    return [answer(query, records(f"{name} 300 IN A {data}"))]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, *names: str) -> None:
        """In one write; the place in `names` is the question's id."""
        self.send(b"".join(frame(question(name, id=number)) for number, name in enumerate(names)))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> dns.message.Message:
        async with asyncio.timeout(WITHIN_S):
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            return dns.message.from_wire(await self.reader.readexactly(length))

    async def replies(self, count: int) -> list[int]:
        """The ids of the next ones."""
        return [(await self.reply()).id for _ in range(count)]

    async def end(self) -> None:
        """Wait until the other side has ended it; whatever comes before is thrown away."""
        async with asyncio.timeout(WITHIN_S):
            try:
                while await self.reader.read(1 << 16):
                    pass
            except ConnectionError:
                pass


def frame(packet: bytes) -> bytes:
    return struct.pack(">H", len(packet)) + packet


class Listening:
    """A listener in front of `host`'s road, and its clients."""

    def __init__(self, host: Host, limits: TcpLimits) -> None:
        self.host = host
        self.clients = TcpClients(host.road, HopOptions(), limits)
        self.listener = TcpListener(Endpoint(LOOPBACK, 0), self.clients)
        self.port = self.listener._sock.getsockname()[1]
        self.writers: list[asyncio.StreamWriter] = []

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection(str(LOOPBACK), self.port)
        self.writers.append(writer)
        return Client(reader, writer)

    @property
    def connections(self) -> int:
        return self.host.road.tcp_connections


@asynccontextmanager
async def listening(host: Host, limits: TcpLimits) -> AsyncIterator[Listening]:
    there = Listening(host, limits)
    await there.listener.start()
    try:
        yield there
    finally:
        for writer in there.writers:
            writer.transport.abort()
        there.listener.close()


def with_listener(
    work: Callable[[Host, Listening], Coroutine[None, None, None]], limits: TcpLimits = PATIENT
) -> None:
    async def run(host: Host, server: Nameserver) -> None:
        async with listening(host, limits) as there:
            await work(host, there)
        assert host.tasks.failed == 0
        assert host.road.tcp_connections == 0
        assert there.clients._held == 0

    on_host(run, everything, ALL)


def held(host: Host) -> asyncio.Event:
    """Fresh answers wait from now on, until it is set."""
    host.gate.open = asyncio.Event()
    return host.gate.open


# -- answers as they get ready ------------------------------------------------


def test_tcp_slow_question_does_not_hold_up_the_cached_and_denied_ones_behind_it() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.ask(DEB)
        assert addresses(await client.reply()) == {ONE}
        gate = held(host)
        client.ask("slow.example.org", DEB, DENIED, "slow2.example.org", DEB)
        assert await client.replies(3) == [1, 2, 4]
        gate.set()
        assert sorted(await client.replies(2)) == [0, 3]

    with_listener(work)


def test_tcp_questions_beyond_the_limit_in_flight_wait_and_are_answered() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask(*(f"n{number}.example.org" for number in range(10)), DENIED)
        await until(lambda: len(host.gate.calls) == 3)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(host.gate.calls) == 3
        gate.set()
        assert sorted(await client.replies(11)) == list(range(11))

    with_listener(work, replace(PATIENT, in_flight=3))


def test_tcp_client_that_ends_its_side_still_gets_its_answers() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask("a.example.org", "b.example.org", DENIED)
        client.writer.write_eof()
        assert await client.replies(1) == [2]
        gate.set()
        assert sorted(await client.replies(2)) == [0, 1]
        assert await client.reader.read() == b""

    with_listener(work)


def test_tcp_what_is_no_question_ends_the_connection_after_the_answers_before_it() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        client = await there.client()
        client.ask("a.example.org")
        client.send(frame(b"") + frame(question(DENIED)))
        await until(lambda: host.gate.calls)
        client.send(frame(question(DENIED)) * 100)
        gate.set()
        assert await client.replies(1) == [0]
        await client.end()
        assert host.road.counts.denied == 0

    with_listener(work)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_tcp_questions_in_pieces_of_any_size_are_answered(size: int) -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        data = b"".join(frame(question(DENIED, id=number)) for number in range(5))
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
            await asyncio.sleep(0)
        assert await client.replies(5) == [0, 1, 2, 3, 4]

    with_listener(work)


def test_tcp_more_questions_than_are_read_at_once_are_all_answered() -> None:
    async def work(host: Host, there: Listening) -> None:
        client, count = await there.client(), 300
        client.ask(*[DENIED] * count)
        assert await client.replies(count) == list(range(count))

    with_listener(work, replace(PATIENT, read=512))


def test_tcp_message_of_64_kib_is_read_whole() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        client.send(frame(question(DENIED, id=9) + bytes(65_000)))
        reply = await client.reply()
        assert (reply.id, reply.rcode()) == (9, dns.rcode.FORMERR)
        client.ask(DENIED)
        assert await client.replies(1) == [0]

    with_listener(work, replace(PATIENT, read=512))


def test_tcp_clients_take_turns() -> None:
    """One with a thousand questions does not keep the other waiting for all of them."""

    async def work(host: Host, there: Listening) -> None:
        many, one = await there.client(), await there.client()
        many.ask(*[DENIED] * 200)
        await until(lambda: host.road.counts.denied > 0)
        one.ask(DENIED)
        await one.reply()
        assert host.road.counts.denied < 150
        await many.replies(200)

    with_listener(work, replace(PATIENT, turn_s=0.0))


def test_tcp_question_that_breaks_the_road_ends_its_own_connection_alone() -> None:
    async def work(host: Host, there: Listening) -> None:
        decide = ALL.decide

        class Broken:
            def decide(self, name: bytes, qtype: int, wall: float) -> object:
                if b"break" in name:
                    raise ZeroDivisionError
                return decide(name, qtype, wall)

        host.road.terms = replace(host.road.terms, policy=Broken())  # type: ignore[arg-type]
        broken, whole = await there.client(), await there.client()
        broken.ask("break.example.org")
        whole.ask(DENIED)
        assert await whole.replies(1) == [0]
        await broken.end()
        assert host.tasks.failed == 1
        host.tasks.failed = 0

    with_listener(work)


# -- clients that have to go --------------------------------------------------


def test_tcp_silent_idle_and_half_asking_clients_are_closed_in_time() -> None:
    async def work(host: Host, there: Listening) -> None:
        silent, idle, half = [await there.client() for _ in range(3)]
        idle.ask(DENIED)
        assert await idle.replies(1) == [0]
        half.send(frame(question(DENIED))[:9])
        for client in (silent, idle, half):
            await client.end()
        await until(lambda: there.connections == 0)
        assert host.road.counts.tcp_cut == 1

    with_listener(work, HASTY)


def test_tcp_client_that_drips_is_cut_though_it_is_never_idle() -> None:
    async def work(host: Host, there: Listening) -> None:
        client = await there.client()
        began = asyncio.get_running_loop().time()
        ended = asyncio.ensure_future(client.end())
        for byte in frame(question(DENIED)):
            client.send(bytes((byte,)))
            await asyncio.wait([ended], timeout=SOON_S / 5)
        await ended
        assert asyncio.get_running_loop().time() - began < WITHIN_S
        assert (host.road.counts.denied, host.road.counts.tcp_cut) == (0, 1)

    with_listener(work, HASTY)


def test_tcp_client_whose_answer_takes_long_is_not_idle() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        waiting, idle = await there.client(), await there.client()
        waiting.ask("slow.example.org")
        await idle.end()  # as long as it takes to lose patience
        gate.set()
        assert await waiting.replies(1) == [0]

    with_listener(work, HASTY)


async def never_reading(there: Listening, count: int) -> socket.socket:
    """A socket with small buffers that has asked for large answers, and goes on to."""
    sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (str(LOOPBACK), there.port))
    await loop.sock_sendall(sock, frame(question("big.example.org")) * count)
    return sock


def test_tcp_client_that_never_reads_is_cut_and_takes_no_more_than_its_share() -> None:
    async def work(host: Host, there: Listening) -> None:
        with await never_reading(there, 800):
            await until(lambda: there.clients._held)
            most = 0
            while there.connections:
                most = max(most, there.clients._held)
                await asyncio.sleep(0.001)
        assert most <= HASTY.written + 2048
        assert host.road.counts.tcp_cut == 1

    with_listener(work, HASTY)


def test_tcp_client_that_reads_late_gets_everything() -> None:
    async def work(host: Host, there: Listening) -> None:
        with await never_reading(there, 800) as sock:
            await until(lambda: there.clients._held)
            reader, writer = await asyncio.open_connection(sock=sock)
            for number in range(800):
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                reply = await reader.readexactly(length)
                if number % 100 == 0:  # the oracle is slow
                    assert len(addresses(dns.message.from_wire(reply))) == 60
            assert there.clients._held == 0
            assert there.connections == 1
            writer.transport.abort()

    with_listener(work)


def test_tcp_clients_that_never_read_are_bounded_together() -> None:
    async def work(host: Host, there: Listening) -> None:
        sockets = [await never_reading(there, 800) for _ in range(6)]
        await until(lambda: host.road.counts.tcp_cut >= 3)
        assert there.clients._held <= 200_000
        assert there.connections >= 2
        for sock in sockets:
            sock.close()

    with_listener(work, replace(PATIENT, held=200_000))


def test_tcp_newcomer_takes_the_place_of_whoever_has_rested_longest() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        waiting, oldest, fresh = [await there.client() for _ in range(3)]
        waiting.ask("slow.example.org")
        fresh.ask(DENIED)
        await fresh.reply()
        await until(lambda: there.connections == 3 and host.gate.calls)
        newcomer = await there.client()
        newcomer.ask(DENIED)
        assert await newcomer.replies(1) == [0]
        await oldest.end()
        fresh.ask(DENIED)
        assert await fresh.replies(1) == [0]
        assert (there.connections, host.road.counts.tcp_refused) == (3, 1)
        gate.set()
        assert await waiting.replies(1) == [0]

    with_listener(work, replace(PATIENT, connections=3))


def test_tcp_newcomer_is_turned_away_when_all_others_wait_for_an_answer() -> None:
    async def work(host: Host, there: Listening) -> None:
        gate = held(host)
        waiting = [await there.client() for _ in range(2)]
        for number, client in enumerate(waiting):
            client.ask(f"slow{number}.example.org")
        await until(lambda: len(host.gate.calls) == 2)
        await (await there.client()).end()
        gate.set()
        for client in waiting:
            assert await client.replies(1) == [0]

    with_listener(work, replace(PATIENT, connections=2))


def test_tcp_descriptors_are_all_given_back() -> None:
    async def work(host: Host, there: Listening) -> None:
        gc.collect()  # what other tests left
        first = await there.client()
        first.ask(DEB)  # from now on what is opened once stands open
        await first.reply()
        first.writer.close()
        await until(lambda: there.connections == 0)
        before = len(os.listdir("/proc/self/fd"))
        gate = held(host)
        clients = [await there.client() for _ in range(50)]
        for number, client in enumerate(clients):
            if number % 5 == 1:
                client.ask(DENIED)
            elif number % 5 == 2:
                client.ask("slow.example.org")
            elif number % 5 == 3:
                client.send(b"\0")
            elif number % 5 == 4:
                client.ask("slow.example.org")
                client.writer.write_eof()
        await until(lambda: there.connections == 50 and host.road.counts.joined == 19)
        for number, client in enumerate(clients):
            if number % 2:
                client.writer.transport.abort()
            else:
                client.writer.close()
        gate.set()
        await until(lambda: there.connections == 0)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)

    with_listener(work)


def test_open_tcp_on_the_loopback_address_is_kept_to_its_device_and_on_others_not() -> None:
    for address, device in (("127.0.0.1", b"lo"), ("127.1.2.3", b"lo"), ("0.0.0.0", b""), ("::1", b"")):
        with open_tcp(Endpoint(ip_address(address), 0)) as sock:
            kept = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
            assert kept.rstrip(b"\0") == device
