"""The TCP listener on real sockets: clients that have to go, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rcode

from dynallow.resolver.tcp import open_tcp
from dynallow.units import Endpoint
from tests.lab.waiting import in_time
from tests.unit.resolver.host import DEB, Host, addresses, question, until
from tests.unit.resolver.tcp_clients import (
    DENIED,
    HASTY,
    LOOPBACK,
    PATIENT,
    SOON_S,
    WITHIN_S,
    Listening,
    frame,
    held,
    with_listener,
)


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
        in_time(asyncio.get_running_loop().time() - began, WITHIN_S)
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
            await until(lambda: there.clients.road.tcp_held)
            most = 0
            while there.connections:
                most = max(most, there.clients.road.tcp_held)
                await asyncio.sleep(0.001)
        assert most <= HASTY.written + HASTY.read + 2048  # replies, and what was read behind a question
        assert host.road.counts.tcp_cut == 1

    with_listener(work, HASTY)


def test_tcp_client_that_reads_late_gets_everything() -> None:
    async def work(host: Host, there: Listening) -> None:
        with await never_reading(there, 800) as sock:
            await until(lambda: there.clients.road.tcp_held)
            reader, writer = await asyncio.open_connection(sock=sock)
            for number in range(800):
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                reply = await reader.readexactly(length)
                if number % 100 == 0:  # the oracle is slow
                    assert len(addresses(dns.message.from_wire(reply))) == 60
            assert there.clients.road.tcp_held == 0
            assert there.connections == 1
            writer.transport.abort()

    with_listener(work)


def test_tcp_clients_that_never_read_are_bounded_together() -> None:
    async def work(host: Host, there: Listening) -> None:
        sockets = [await never_reading(there, 800) for _ in range(6)]
        await until(lambda: host.road.counts.tcp_cut >= 3)
        assert there.clients.road.tcp_held <= 100_000
        assert there.connections >= 2
        for sock in sockets:
            sock.close()

    # What each may have of its own, 33 KB, fits three times; nobody's time is over yet.
    with_listener(work, replace(PATIENT, held=100_000, write_s=3600.0))


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


def test_listener_that_has_started_keeps_its_backlog() -> None:
    """asyncio sets it to as many as it is to accept in one go, and who waits beyond that is turned away."""

    most = int(Path("/proc/sys/net/core/somaxconn").read_text())

    async def work(host: Host, there: Listening) -> None:
        told = there.listener._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 40)
        (backlog,) = struct.unpack_from("=I", told, 28)  # tcpi_sacked: of a listening socket its backlog
        assert backlog == min(512, most)

    with_listener(work)
