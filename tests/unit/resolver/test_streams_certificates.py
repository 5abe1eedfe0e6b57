"""Upstreams over TLS: whose certificate is believed, and that no other is asked anything (real sockets)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dynallow.errors import UpstreamError
from tests.lab.certificates import Certificate, Certificates
from tests.lab.streaming import StreamServer
from tests.unit.resolver.upstreams import bed, is_answer

Pick = Callable[[Certificates], Certificate]
BAD: dict[str, tuple[Pick, str]] = {
    "expired": (Certificates.expired, "certificate: certificate has expired"),
    "wrong name": (Certificates.wrong_name, "certificate: Hostname mismatch"),
    "name in CN alone": (Certificates.common_name_alone, "certificate: Hostname mismatch"),
    "self-signed": (Certificates.self_signed, "certificate: self-signed certificate"),
}


@pytest.mark.parametrize("fault", BAD)
def test_ask_server_with_a_bad_certificate_is_told_nothing_and_the_next_asked(
    fault: str, certificates: Certificates
) -> None:
    pick, text = BAD[fault]
    context = pick(certificates).context(alpn="dot")

    async def work() -> None:
        bad, other = StreamServer(), StreamServer()
        async with bed(
            ("tls", bad, context), ("tls", other, certificates.good.context(alpn="dot"))
        ) as asking:
            answers = await asking.ask_many(20)
            assert all(is_answer(answer, number) for number, answer in enumerate(answers))
            assert not bad.asked
            assert (asking.servers[0].last_error or "").startswith(text)

    asyncio.run(work())


def test_ask_server_that_knows_only_old_tls_is_told_nothing(certificates: Certificates) -> None:
    context = certificates.good.context(old=True)

    async def work() -> None:
        old = StreamServer()
        async with bed(("tls", old, context)) as asking:
            with pytest.raises(UpstreamError, match="TLS: ") as raised:
                await asking.ask(1)
            assert raised.value.reached
            assert not old.asked

    asyncio.run(work())


@pytest.mark.parametrize(("address", "right"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_ask_server_without_a_name_must_have_a_certificate_for_its_address(
    address: str, right: bool, certificates: Certificates
) -> None:
    context = certificates.for_address(address).context(alpn="dot")

    async def work() -> None:
        server = StreamServer()
        async with bed(("tls", server, context), name="") as asking:
            (answer,) = await asking.ask_many(1)
            assert is_answer(answer, 0) is right
            assert bool(server.asked) is right

    asyncio.run(work())


def test_ask_certificate_of_an_authority_that_is_not_trusted_is_refused(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    async def work() -> None:
        server = StreamServer()
        async with bed(("tls", server, certificates.good.context(alpn="dot"))) as asking:
            with pytest.raises(UpstreamError, match="certificate: "):
                await asking.ask(1)
            assert not server.asked

    asyncio.run(work())
