"""The upstreams: whether they answer.

While an agent runs its own counts say so. While a table stands without an
agent nobody may ask (the chain lets only the agent's marked sockets out), and
that is what the doctor says rather than calling the servers dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dynallow.cli.checks.finding import Finding
from dynallow.control.schema import StatusReport, UpstreamReport
from dynallow.units import Endpoint

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView
    from dynallow.settings import Loaded

_TIMEOUT_S = 2.0
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

    endpoints = sorted(choose(loaded.settings).endpoints())
    if not endpoints:
        todo = 'set resolver.upstreams, for example to ["192.0.2.53"]'
        yield Finding(
            "upstreams", "fail", "none: resolv.conf names no server but dynallow", "one or more", todo
        )
    for endpoint in endpoints[:_ASKED_MAX]:
        yield ask(endpoint)


def ask(endpoint: Endpoint) -> Finding:
    """Ask one server for the root's name servers: every resolver answers that."""
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    question = dns.message.make_query(".", "NS")
    try:
        reply = dns.query.udp(
            question, str(endpoint.address), _TIMEOUT_S, endpoint.port, ignore_unexpected=True
        )
    except (OSError, dns.exception.DNSException) as error:
        why = str(error) or type(error).__name__
        todo = "see to that server or the way to it, or name another"
        return Finding("upstreams", "fail", f"{endpoint}: {why}", "an answer", todo)
    rcode = dns.rcode.to_text(reply.rcode())
    if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Finding("upstreams", "ok", f"{endpoint} answers")
    # REFUSED for the root is what servers of a private zone say: they may still be fine.
    return Finding("upstreams", "warn", f'{endpoint} answers "{rcode}" to ". NS"', "NOERROR")
