"""Records and settings as tests write them."""

from __future__ import annotations

from pathlib import Path

from dynallow.settings import Loaded, load
from dynallow.usage.record import Decision, Mode, Record, Subject, Why

NOW = 1_800_000_000.0
"""2027-01-15 08:00 UTC."""


def loaded(tmp_path: Path, rules: str, name: str = "dynallow.toml") -> Loaded:
    """The settings that this TOML gives."""
    path = tmp_path / name
    path.write_text(rules)
    return load(path)


def question(
    name: str,
    times: int = 3,
    *,
    qtype: str = "A",
    decision: Decision = "denied",
    why: Why = "not-listed",
    rule: str = "",
    user: int | None = None,
    process: str = "",
    unit: str = "",
    mode: Mode = "observe",
    ago: float = 60.0,
) -> Record:
    """Of a name that was asked for; denied unless said otherwise."""
    subject = Subject("question", decision, mode, why, name, qtype, "", "", rule, user, process, unit)
    return Record(subject, times, NOW - ago - 60.0, NOW - ago)


def asked(name: str, rule: str, times: int = 3, *, qtype: str = "A", ago: float = 60.0) -> Record:
    """Of a name that `rule` allowed."""
    return question(name, times, qtype=qtype, decision="allowed", why="", rule=rule, ago=ago)


def flow(
    name: str,
    address: str,
    port: str = "tcp/443",
    times: int = 3,
    *,
    decision: Decision = "denied",
    why: Why = "name",
    rule: str = "",
    user: int | None = 1000,
    process: str = "curl",
    unit: str = "",
    mode: Mode = "observe",
    ago: float = 60.0,
) -> Record:
    """Of a connection; denied unless said otherwise."""
    subject = Subject("flow", decision, mode, why, name, "", address, port, rule, user, process, unit)
    return Record(subject, times, NOW - ago - 60.0, NOW - ago)


def used(
    name: str,
    address: str,
    rule: str,
    port: str = "tcp/443",
    *,
    user: int | None = 1000,
    ago: float = 60.0,
) -> Record:
    """Of a connection that `rule` allowed."""
    return flow(name, address, port, decision="allowed", why="", rule=rule, user=user, process="", ago=ago)
