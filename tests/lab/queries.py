"""The queries of the dashboard and of the alert rules, and what they ask for.

Knows where they stand in `config/` and enough of PromQL to find metrics, labels and values in them; whether
they are well-formed is for `promtool` to say. Must not know what the agent exports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "config/grafana/dynallow.json"
RULES = ROOT / "config/prometheus/dynallow.rules.yml"
OF_PROMETHEUS = {"job", "instance"}
"""Labels that the scraping adds."""
# What Grafana puts in; any other value would do as well.
_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$job": ".*", "$instance": ".*"}
_METRIC = re.compile(r"\b(dynallow_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


class Asked(NamedTuple):
    """A metric in a query: the labels that it is matched by, with the values that it must have."""

    metric: str
    labels: dict[str, list[str]]


def dashboard_queries() -> list[str]:
    """Every expression of the dashboard, Grafana's variables replaced."""
    board = json.loads(DASHBOARD.read_text())
    found = [*_expressions(board)]
    for name, value in _VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found.append(re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["definition"]))
    return [query.replace("$job", ".*") for query in found]


def _expressions(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("expr"), str):
            yield part["expr"]
        for inner in part.values():
            yield from _expressions(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _expressions(inner)


def alert_queries() -> list[str]:
    """Every expression of the alert rules: a line of its own, or the indented block after it."""
    lines = RULES.read_text().splitlines()
    found = []
    for number, line in enumerate(lines):
        key, _, rest = line.partition("expr: ")
        if key.strip() or not rest:
            continue
        if rest == "|":
            depth = len(key) + 1
            block = []
            for following in lines[number + 1 :]:
                if following.strip() and not following.startswith(" " * depth):
                    break
                block.append(following.strip())
            rest = " ".join(block)
        found.append(rest)
    return found


def alerts() -> list[str]:
    """Their names."""
    return re.findall(r"^ *- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def asked(query: str) -> list[Asked]:
    """The metrics of a query; of negated and open matchers the label alone."""
    found = []
    for metric, matchers in _METRIC.findall(query):
        labels: dict[str, list[str]] = {}
        for label, operator, value in _MATCHER.findall(matchers):
            exact = operator in ("=", "=~") and not re.search(r"[.*+?\[]", value)
            labels[label] = value.split("|") if exact else []
        found.append(Asked(metric, labels))
    return found


def grouped(query: str) -> set[str]:
    """The labels that a query groups or joins by."""
    return {label.strip() for labels in _GROUPING.findall(query) for label in labels.split(",")} - {""}
