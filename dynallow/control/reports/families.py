"""The agent's counters as metric families.

Labels are rules and servers from the settings, uids and words of ours, never a name from the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from dynallow.control.metrics import Family, Histogram, render
from dynallow.control.reports.measures import denial_families, road_families
from dynallow.control.reports.source import Source
from dynallow.control.reports.standing import kernel_families, policy_families, upstream_families


def metrics(agent: Source) -> bytes:
    """Prometheus text."""
    return render(_all(agent))


def _all(agent: Source) -> Iterator[Family | Histogram]:
    yield from _counters(agent)
    yield from road_families(agent)
    yield from denial_families(agent.denials)
    yield from policy_families(agent)
    yield from upstream_families(agent)
    yield from kernel_families(agent)


def _counters(agent: Source) -> list[Family]:
    counts, leaser, exchange = (
        agent.road.counts,
        agent.table.leaser.counts,
        agent.road.upstreams.exchange.counts,
    )
    none: dict[str, str] = {}
    derived, living, cut = agent.road.derived, agent.living_counts, agent.revoker.counts
    return [
        Family(
            "dynallow_questions_total",
            "Questions by what became of them.",
            "counter",
            tuple(({"outcome": f.name}, float(getattr(counts, f.name))) for f in fields(counts)),
        ),
        Family(
            "dynallow_kernel_writes_total",
            "Element transactions and what came of them.",
            "counter",
            tuple(({"outcome": f.name}, float(getattr(leaser, f.name))) for f in fields(leaser)),
        ),
        Family(
            "dynallow_upstream_packets_total",
            "Packets that were not the answer, and moves to TCP.",
            "counter",
            tuple(({"kind": f.name}, float(getattr(exchange, f.name))) for f in fields(exchange)),
        ),
        Family(
            "dynallow_upstream_asked_total",
            "Questions asked of a server.",
            "counter",
            tuple(({"server": s.name}, float(s.asked)) for s in agent.road.upstreams.all()),
        ),
        Family(
            "dynallow_upstream_failed_total",
            "Tries at a server that failed.",
            "counter",
            tuple(({"server": s.name}, float(s.failed)) for s in agent.road.upstreams.all()),
        ),
        Family(
            "dynallow_upstream_checked",
            "1 if a server's datagrams must bear the question's case, or its cookie.",
            "gauge",
            tuple(
                ({"server": s.name, "by": by}, float(on))
                for s in agent.road.upstreams.all()
                if s.stream is None
                for by, on in (("case", s.target.guard.mixes), ("cookie", s.target.guard.expects))
            ),
        ),
        Family(
            "dynallow_leases",
            "Leases of a rule.",
            "gauge",
            tuple(({"rule": r.name}, float(agent.ledger.count(r.name))) for r in agent.settings.rules),
        ),
        Family(
            "dynallow_lease_names",
            "Names that have earned leases of a rule.",
            "gauge",
            tuple(({"rule": r.name}, float(agent.ledger.count_names(r.name))) for r in agent.settings.rules),
        ),
        Family(
            "dynallow_derived_names",
            "Names that answers under a rule led to, and that may be asked for meanwhile.",
            "gauge",
            tuple(({"rule": r.name}, float(derived.count(r.name))) for r in agent.settings.rules),
        ),
        Family(
            "dynallow_derived_evicted_total",
            "Derived names that made room for others.",
            "counter",
            tuple(({"rule": r.name}, float(derived.evicted.get(r.name, 0))) for r in agent.settings.rules),
        ),
        Family(
            "dynallow_cache_answers",
            "Answers in the cache.",
            "gauge",
            ((none, float(len(agent.road.cache))),),
        ),
        Family(
            "dynallow_cache_evicted_total",
            "Answers that made room for others.",
            "counter",
            ((none, float(agent.road.cache.evicted)),),
        ),
        Family(
            "dynallow_hot_replies", "Rendered replies kept.", "gauge", ((none, float(len(agent.road.hot))),)
        ),
        Family(
            "dynallow_hot_tcp_bytes",
            "Memory that rendered replies kept for TCP clients take.",
            "gauge",
            ((none, float(agent.road.hot_tcp.taken)),),
        ),
        Family(
            "dynallow_samples_total",
            "Denied packets and questions that were looked at, to know whose they are, and what came of it.",
            "counter",
            tuple(({"what": what}, float(count)) for what, count in agent.samples().items()),
        ),
        Family("dynallow_denials_kept", "Denials kept.", "gauge", ((none, float(len(agent.road.denials))),)),
        Family(
            "dynallow_in_flight",
            "Questions and other work under way.",
            "gauge",
            ((none, float(len(agent.road.tasks))),),
        ),
        Family(
            "dynallow_tcp_connections",
            "Open TCP connections of clients.",
            "gauge",
            ((none, float(agent.road.tcp_connections)),),
        ),
        Family(
            "dynallow_tcp_held_bytes",
            "Replies that TCP clients do not read, and long questions that are not whole.",
            "gauge",
            ((none, float(agent.road.tcp_held)),),
        ),
        Family(
            "dynallow_living_names_total",
            "Names asked for again because a flow to an address of theirs lived, and what came of it.",
            "counter",
            tuple(({"outcome": f.name}, float(getattr(living, f.name))) for f in fields(living)),
        ),
        Family(
            "dynallow_flows_cut_total",
            "Flows cut because nothing justified them any more, and sockets of theirs that were ended.",
            "counter",
            tuple(({"what": f.name}, float(getattr(cut, f.name))) for f in fields(cut)),
        ),
        Family(
            "dynallow_lapsed_leases",
            "Leases that have lapsed, to whose addresses flows may live on.",
            "gauge",
            ((none, float(len(agent.ledger.lapsed))),),
        ),
        Family(
            "dynallow_table_healed_total",
            "Times the table was loaded again after tampering.",
            "counter",
            ((none, float(agent.table.heals)),),
        ),
        Family(
            "dynallow_enforcing",
            "1 in mode enforce, 0 in mode observe.",
            "gauge",
            ((none, float(agent.settings.mode == "enforce")),),
        ),
    ]
