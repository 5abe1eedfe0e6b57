"""What `explain` says of derived names: the same as the road does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dynallow.control.reports.explanation import explain
from dynallow.control.schema import ExplainReport
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.policy.rrtypes import parse_type
from dynallow.resolver.upstream.choose import Chosen
from dynallow.settings import Loaded, Settings
from tests.unit.resolver.host import Host, on_host
from tests.unit.resolver.nameserver import Nameserver

MIRROR, EDGE = parse_name("mirror.example"), parse_name("edge.cdn.example")


@pytest.mark.parametrize(("types", "outcome"), [("A SRV", "allows"), ("SRV", "filtered")])
def test_explain_derived_name_rule_says_the_same_as_the_verdict(types: str, outcome: str) -> None:
    builder = PolicyBuilder()
    rule = builder.add_rule("web", types=frozenset(map(parse_type, types.split())))
    builder.add_pattern(rule, parse_pattern("mirror.example"))
    policy = builder.build()

    async def work(host: Host, _server: Nameserver) -> ExplainReport:
        host.change(policy)
        listed = policy.decide(MIRROR, parse_type("SRV"), host.wall)
        host.road.derived.note(policy, listed, MIRROR, (EDGE,), host.now, host.now + 100.0)
        settings = Settings.model_validate({"rule": [{"name": "web", "names": ["mirror.example"]}]})
        agent: Any = SimpleNamespace(
            road=host.road,
            loaded=Loaded(settings, policy, ()),
            settings=settings,
            ledger=Ledger(Limits(), ["web"]),
            chosen=Chosen((), ()),
            own=frozenset(),
            table=SimpleNamespace(features=SimpleNamespace(conntrack_filter=False)),
        )
        return await explain(agent, "edge.cdn.example", None, None)

    report = on_host(work)
    assert [one["outcome"] for one in report["rules"]] == [outcome]
    assert report["verdict"] == {"allows": "allowed"}.get(outcome, outcome)
    assert [lead["root"] for lead in report["derived"]] == ["mirror.example"]
