"""The upstreams: whether they answer.

While an agent runs its own counts say so. While a table stands without an
agent nobody may ask (the chain lets only the agent's marked sockets out), and
that is what the doctor says rather than calling the servers dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from dynallow.cli.checks.finding import Finding
from dynallow.control.schema import StatusReport, UpstreamReport
from dynallow.units import Endpoint

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView
    from dynallow.settings import Loaded, Upstream

_TIMEOUT_S = 2.0
_ROOT, _NS = b"\0", 2
_ASKED_MAX = 8  # two seconds each, one after the other


def examine_upstreams(
    loaded: Loaded | None, status: StatusReport | None, table: TableView | None
) -> Iterator[Finding]:
    """One finding for each upstream."""
    if status is not None:
        yield from map(judge_upstream, status["upstreams"])
    elif loaded is None:
        yield Finding("upstreams", "warn", "not known, for the settings are invalid")
    elif table is not None and table.present and table.mode != "observe":
        yield Finding(
            "upstreams", "info", "cannot be asked: the table is in force, and lets only the agent ask them"
        )
    else:
        yield from _ask_all(loaded)


def judge_upstream(upstream: UpstreamReport) -> Finding:
    """What the agent knows of one."""
    counts = f"{upstream['upstream']}: {upstream['asked']} asked, {upstream['failed']} failed"
    if upstream["healthy"]:
        return Finding("upstreams", "ok", counts)
    why = upstream["last_error"] or "failing"
    return Finding("upstreams", "fail", f"{counts}: {why}", "answers", "see to that server, or name another")


def _ask_all(loaded: Loaded) -> Iterator[Finding]:
    from dynallow.resolver.upstream.choose import choose

    servers = choose(loaded.settings).all()
    if not servers:
        todo = 'set resolver.upstreams, for example to ["192.0.2.53"]'
        yield Finding(
            "upstreams", "fail", "none: resolv.conf names no server but dynallow", "one or more", todo
        )
    for server in servers[:_ASKED_MAX]:
        if server.upstream.kind == "udp":
            yield ask(server.endpoint)
        else:
            yield _judge(str(server), partial(_ask_stream, server.upstream))


def ask(endpoint: Endpoint) -> Finding:
    """Ask one server for the root's name servers: every resolver answers that."""
    return _judge(str(endpoint), partial(_ask_datagram, endpoint))


def _judge(server: str, asking: Callable[[], int]) -> Finding:
    import dns.exception
    import dns.rcode

    from dynallow.errors import WireError

    try:
        rcode = asking()
    except (OSError, WireError, dns.exception.DNSException) as error:
        why = getattr(error, "strerror", None) or str(error) or f"no answer in {_TIMEOUT_S:.0f} s"
        todo = "see to that server or the way to it, or name another"
        return Finding("upstreams", "fail", f"{server}: {why}", "an answer", todo)
    if rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Finding("upstreams", "ok", f"{server} answers")
    # REFUSED for the root is what servers of a private zone say: they may still be fine.
    told = dns.rcode.to_text(dns.rcode.Rcode(rcode))
    return Finding("upstreams", "warn", f'{server} answers "{told}" to ". NS"', "NOERROR")


def _ask_datagram(endpoint: Endpoint) -> int:
    import dns.message
    import dns.query

    question = dns.message.make_query(".", "NS")
    address = str(endpoint.address)
    return dns.query.udp(question, address, _TIMEOUT_S, endpoint.port, ignore_unexpected=True).rcode()


def _ask_stream(upstream: Upstream) -> int:
    """As the agent does, certificate and all."""
    import asyncio

    from dynallow.resolver.upstream.exchange import Exchange
    from dynallow.resolver.upstream.ways import stream_to

    async def work() -> int:
        exchange = Exchange(None)
        stream = stream_to(upstream, exchange)
        assert stream is not None
        try:
            response = await stream.ask(_ROOT, _NS, asyncio.get_running_loop().time() + _TIMEOUT_S)
            return response.rcode
        finally:
            exchange.close()
            await exchange.tasks.stop()

    return asyncio.run(work())
