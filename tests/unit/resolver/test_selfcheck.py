"""The self-check asks the real listener, and is content with nothing less than an answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from dynallow.errors import DynallowError
from dynallow.resolver import selfcheck
from dynallow.resolver.counts import Counts
from dynallow.units import Endpoint
from tests.unit.resolver.host import Host, on_host
from tests.unit.resolver.nameserver import Nameserver
from tests.unit.resolver.udp_client import Client, listening

LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "_TRY_S", 0.05)


def endpoint_of(client: Client) -> Endpoint:
    return Endpoint(LOOPBACK, client.sock.getpeername()[1])


def check_against(
    reply: Callable[[bytes], bytes | None], counts: Counts, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Check a listener that answers as `reply` says."""

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)

            def answer() -> None:
                data, sender = sock.recvfrom(4096)
                meanwhile()
                if (told := reply(data)) is not None:
                    sock.sendto(told, sender)

            asyncio.get_running_loop().add_reader(sock, answer)
            await selfcheck.answering([Endpoint(LOOPBACK, sock.getsockname()[1])], counts)

    asyncio.run(main())


def test_answering_listener_is_asked_a_name_that_no_store_has() -> None:
    async def work(host: Host, _: Nameserver) -> None:
        async with listening(host) as client:
            for count in (1, 2, 3):
                await selfcheck.answering([endpoint_of(client)], host.road.counts)
                assert host.road.counts.local == count
            assert host.road.counts.hot == 0

    on_host(work)


def test_answering_listener_that_does_not_read_is_named() -> None:
    async def work(host: Host, _: Nameserver) -> None:
        async with listening(host) as client:
            client.listener.rest()
            with pytest.raises(DynallowError, match=str(endpoint_of(client).port)):
                await selfcheck.answering([endpoint_of(client)], host.road.counts)

    on_host(work)


def test_answering_port_that_nobody_has_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(DynallowError, match=f"no answer from 127.0.0.1:{port}"):
        asyncio.run(selfcheck.answering([Endpoint(LOOPBACK, port)], Counts()))


@pytest.mark.parametrize(
    "reply",
    [
        lambda data: None,
        lambda data: data,  # the question itself
        lambda data: data[:2] + b"\x81\x82" + data[4:],  # SERVFAIL
        lambda data: data[:2] + b"\x81\x80" + data[4:],  # no answer in it
        lambda data: b"\0\0\x81\x80\0\1\0\1\0\0\0\0",
        lambda data: b"",
    ],
    ids=["silence", "echo", "servfail", "empty", "other-id", "nothing"],
)
def test_answering_anything_but_an_answer_is_a_failure(reply: Callable[[bytes], bytes | None]) -> None:
    with pytest.raises(DynallowError, match="no answer"):
        check_against(reply, Counts())


@pytest.mark.parametrize("told", ["denied", "malformed", "refused", "filtered", "local", "overload"])
def test_answering_flood_that_loses_ours_is_no_failure_while_others_are_answered(told: str) -> None:
    counts = Counts()

    def others() -> None:
        setattr(counts, told, getattr(counts, told) + 500)

    check_against(lambda data: None, counts, others)
