"""What the real agent exports: the README's table says it, dashboard and alerts ask for nothing else.

Needs the lab.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users
from tests.lab.queries import OF_PROMETHEUS, ROOT, alert_queries, asked, dashboard_queries, grouped

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[lease]
min = "10m"
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443"]
expires = 2099-01-31
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
_README = (ROOT / "README.md").read_text()
_TABLE = _README[_README.index("### Metrics, dashboard") : _README.index("### A report to show")]
Exported = dict[str, Metric]


def families(agent: Agent) -> Exported:
    """By the name that the README and Prometheus' heads give it."""
    found = text_string_to_metric_families(agent.get("/metrics")[1])
    return {f"{one.name}_total" if one.type == "counter" else one.name: one for one in found}


def has_denials(agent: Agent) -> bool:
    """Whether both kinds are counted by now: questions and flows are looked at every second."""
    kinds = {sample.labels["kind"] for sample in families(agent)["dynallow_denials_total"].samples}
    return kinds == {"question", "flow"}


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[Lab, Agent]]:
    """An agent of which something was asked, allowed and denied, and whose settings were reloaded."""
    require_lab()
    require_users()
    with Lab() as lab:
        lab.serve(Zone("example.org").both("www", 10))
        agent = lab.agent(SETTINGS)
        assert lab.host.addresses("www.example.org") == ["192.0.2.10"]
        lab.host.python(CONNECT, "192.0.2.10", "443", user=NOBODY)
        lab.host.python(CONNECT, "192.0.2.10", "444", check=False, user=NOBODY)
        lab.host.ask("www.example.net")
        broken = agent.reload(SETTINGS + "nonsense = 1\n")
        assert broken.returncode == 3
        yield lab, agent


@pytest.fixture(scope="module")
def exported(watched: tuple[Lab, Agent]) -> Exported:
    agent = watched[1]
    wait_until(lambda: has_denials(agent), "the denials in the metrics")
    return families(agent)


def labels(family: Metric) -> set[str]:
    """Those of its samples, but for a histogram's own."""
    return {label for sample in family.samples for label in sample.labels} - {"le"}


def test_metrics_are_those_of_the_readmes_table(exported: Exported) -> None:
    rows = re.findall(r"^\| `(dynallow_\w+)` \| (.*?) \|", _TABLE, re.MULTILINE)
    table = {name: set(re.findall(r"`(\w+)`", told)) for name, told in rows}
    assert len(rows) == len(table)
    assert table == {name: labels(family) for name, family in exported.items()}


@pytest.mark.parametrize("query", [*alert_queries(), *dashboard_queries()])
def test_query_asks_for_what_the_agent_exports(exported: Exported, query: str) -> None:
    samples = [sample for family in exported.values() for sample in family.samples]
    known = set(OF_PROMETHEUS)
    for one in asked(query):
        found = [sample for sample in samples if sample.name == one.metric]
        assert found, f"nothing exported is called {one.metric}"
        known |= {label for sample in found for label in sample.labels}
        for label, values in one.labels.items():
            assert label in known, f"{one.metric} has no label {label}"
            assert set(values) <= {sample.labels.get(label, "") for sample in found}, f"{one.metric}: {label}"
    assert grouped(query) <= known, query


def test_steps_are_histograms_that_prometheus_reads(exported: Exported) -> None:
    family = exported["dynallow_step_seconds"]
    assert family.type == "histogram"
    for step in ("decide", "upstream", "compose", "kernel", "reply", "whole"):
        buckets = [
            sample.value
            for sample in family.samples
            if sample.name.endswith("_bucket") and sample.labels["step"] == step
        ]
        assert buckets == sorted(buckets)
        counts = {
            sample.name: sample.value
            for sample in family.samples
            if sample.labels["step"] == step and "le" not in sample.labels
        }
        assert counts["dynallow_step_seconds_count"] == buckets[-1] >= 1, step
        assert 0 < counts["dynallow_step_seconds_sum"] < 60, step


def test_denials_are_told_by_user_rule_and_reason(exported: Exported) -> None:
    found = [sample.labels for sample in exported["dynallow_denials_total"].samples]
    flow = {"kind": "flow", "mode": "enforce", "why": "port", "rule": "web", "protocol": "tcp"}
    assert {**flow, "user": str(NOBODY)} in found
    assert any(one["kind"] == "question" and one["why"] == "not-listed" for one in found)
    assert "example" not in str(found)


def test_reload_that_failed_leaves_the_generation_and_is_told(exported: Exported) -> None:
    values = {sample.name: sample.value for family in exported.values() for sample in family.samples}
    assert values["dynallow_reload_successful"] == 0
    assert values["dynallow_policy_generation"] == 1
    assert values["dynallow_policy_changed_timestamp_seconds"] >= values["dynallow_start_timestamp_seconds"]


def test_change_of_policy_is_told_by_generation_and_time(watched: tuple[Lab, Agent]) -> None:
    _, agent = watched
    before = families(agent)["dynallow_policy_changed_timestamp_seconds"].samples[0].value
    assert agent.reload(SETTINGS.replace("tcp/443", "tcp/6001")).returncode == 0
    after = families(agent)
    assert after["dynallow_policy_generation"].samples[0].value == 2
    assert after["dynallow_policy_changed_timestamp_seconds"].samples[0].value > before
    assert after["dynallow_reload_successful"].samples[0].value == 1
    (change,) = agent.cli_json("status")["policy"]["changes"]
    assert change["what"] == "rules changed: web"
