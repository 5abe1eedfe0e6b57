"""The whole page, from the top: what holds, what happened, what was denied, the rules, and what is not known.

Pure. Knows the reports' types. Must not know sockets or files. Keeps: what nobody knows is said, not drawn as
nothing; the page loads nothing and runs nothing (its own policy forbids it, too).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from dynallow.cli.page.charts import Mark, Series, Times, chart
from dynallow.cli.page.markup import Content, Html, tag
from dynallow.cli.page.numbers import DAY_S, HOUR_S, MINUTE_S, at, count, read
from dynallow.cli.page.readiness import readiness
from dynallow.cli.page.rules import rules
from dynallow.cli.page.style import CSS
from dynallow.cli.page.tops import tops
from dynallow.control.historyschema import HistoryReport, HistoryRow, TimelineReport
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import StatusReport
from dynallow.durations import format_duration

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STEPS_S = (MINUTE_S, 5 * MINUTE_S, 15 * MINUTE_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, DAY_S)
_STEPS_MAX = 170
_MARKS_MAX = 30
_KINDS = {"start": "agent started", "mode": "mode", "reload": "policy reloaded"}


class Told(NamedTuple):
    """What the agent has told. `readiness` is None where it tells none."""

    host: str
    made: datetime
    status: StatusReport
    history: HistoryReport
    timeline: TimelineReport
    readiness: ReadinessReport | None
    user: Callable[[int], str]
    """A uid in words."""


def step_of(since_s: float) -> int:
    """How long a step of the timeline should be for a window of so many seconds."""
    return next((step for step in _STEPS_S if since_s / step <= _STEPS_MAX), int(since_s // _STEPS_MAX) + 1)


def page(told: Told) -> str:
    """The file's text."""
    title, status = f"dynallow on {told.host}", told.status
    head = tag("title", f"{title}, {told.made:%Y-%m-%d}")
    body = (
        _top(told, title),
        _timelines(told),
        _denied(told),
        tag("h2", "Rules"),
        rules(status, told.history["rows"], told.made.date(), told.user, _begins_before(told)),
        _observed(told),
        _changes(told),
        _upstreams(status),
        _honesty(told),
        tag(
            "footer",
            f"Made by dynallow {status['agent']['version']} on {told.host}, {told.made:%Y-%m-%d %H:%M %Z}.",
        ),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"{head.text}<style>{CSS}</style></head>\n{tag('body', *body).text}</html>\n"
    )


# ------------------------------------------------------------ what holds


def _top(told: Told, title: str) -> Html:
    status = told.status
    sums = _sums(told)
    since, until = read(told.history["since"]), read(told.history["until"])
    asked, used = sums["questions_allowed"], sums["flows_allowed"]
    no_questions, no_flows = sums["questions_denied"], sums["flows_denied"]
    would = "would have been denied" if status["mode"] == "observe" else "were denied"
    window = format_duration(round((until - since).total_seconds()))
    lead = (
        f"In these {window} {count(no_questions)} questions and {count(no_flows)} new connections {would}; "
        f"{count(asked)} questions and {count(used)} connections were allowed."
    )
    passed = sum(row["count"] for row in told.history["rows"] if _passed(row))
    if passed and status["mode"] == "enforce":
        lead += (
            f" Of the denied, {count(passed)} were only observed, before the mode was enforce: they passed."
        )
    return tag(
        "header",
        tag("h1", title),
        tag("p", f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}", class_="soft"),
        tag("p", lead, class_="lead"),
        tag("div", *_tiles(told), class_="tiles"),
        *(tag("p", f"Warning: {warning}", class_="warn") for warning in status["warnings"]),
    )


def _tiles(told: Told) -> list[Html]:
    status = told.status
    enforcing = status["mode"] == "enforce"
    tiles = [
        _tile(
            "mode",
            status["mode"],
            f"since {at(status['mode_since'])}" if status["mode_since"] else "",
            "good" if enforcing else "warn",
        )
    ]
    if told.readiness is not None and not enforcing:
        verdict, watched = told.readiness["verdict"], format_duration(told.readiness["observed_s"])
        style = "good" if verdict == "ready" else "warn"
        tiles.append(_tile("readiness", verdict.replace("-", " "), f"{watched} observed", style))
    policy = status.get("policy")
    if policy is not None:
        last = {"failed": ("last reload failed", "bad")}.get(policy["last_reload"] or "", ("", ""))
        tiles.append(
            _tile("policy", f"no. {policy['generation']}", last[0] or f"since {at(policy['since'])}", last[1])
        )
    up = sum(server["healthy"] for server in status["upstreams"])
    servers = len(status["upstreams"])
    tiles.append(_tile("upstreams", f"{up} of {servers}", "answer", "good" if up == servers else "bad"))
    leases = sum(len(rule["leases"]) for rule in status["rules"])
    tiles.append(
        _tile("reachable now", count(leases), f"leased addresses, {count(len(status['rules']))} rules", "")
    )
    kernel = status["kernel"]
    table = ("in force", "good") if kernel["table"] else ("missing", "bad")
    owned = {True: "owned by the agent", False: "shared"}.get(bool(kernel["owned"]), "")
    tiles.append(_tile("table", table[0], owned if kernel["table"] else "nothing is blocked", table[1]))
    return tiles


def _tile(what: str, value: str, note: str, style: str) -> Html:
    return tag(
        "div",
        tag("span", what, class_="what"),
        tag("b", value, class_=style or None),
        tag("span", note) if note else None,
        class_="tile",
    )


def _passed(row: HistoryRow) -> bool:
    return row["mode"] == "observe" and row["decision"] != "allowed"


# ------------------------------------------------------------ what happened


def _timelines(told: Told) -> Html:
    points = told.timeline["points"]
    if not points:
        return tag(
            "section", tag("h2", "Timeline"), tag("p", "Nothing is kept of this window.", class_="note")
        )
    step = timedelta(seconds=told.timeline["step_s"])
    starts = [read(point["at"]) for point in points]
    begins = told.history["begins"]
    unknown = sum(begins is None or start + step <= read(begins) for start in starts)
    times = Times(starts, told.timeline["step_s"], unknown)
    marks = _marked(told)
    allowed = [
        Series("questions", "allowed", [point["questions_allowed"] for point in points]),
        Series("connections", "used", [point["flows_allowed"] for point in points]),
    ]
    denied = [
        Series("questions", "denied", [point["questions_denied"] for point in points]),
        Series("connections", "flows", [point["flows_denied"] for point in points]),
    ]
    every = f"{format_duration(told.timeline['step_s'])} a bar"
    return tag(
        "section",
        tag("h2", "Timeline"),
        chart(f"Allowed, {every}", times, allowed, marks),
        chart(f"{_would(told).capitalize()}, {every}", times, denied, marks),
        tag("p", "Numbered lines: changes, listed below.", class_="note") if marks else None,
    )


def _marked(told: Told) -> list[Mark]:
    """Changes in the window, numbered; of very many the latest."""
    changes = told.timeline.get("changes", [])
    found = [
        Mark(read(change["at"]), number, f"{_KINDS.get(change['kind'], change['kind'])}: {change['text']}")
        for number, change in enumerate(changes, 1)
    ]
    return found[-_MARKS_MAX:]


def _would(told: Told) -> str:
    return "would have been denied" if told.status["mode"] == "observe" else "denied"


def _denied(told: Told) -> Html:
    denied = [row for row in told.history["rows"] if row["decision"] != "allowed"]
    lists = tops(denied, told.user) if denied else tag("p", "Nothing.", class_="note")
    return tag("section", tag("h2", f"{_would(told).capitalize()} most"), lists)


def _changes(told: Told) -> Html:
    marked = _marked(told)
    left = len(told.timeline.get("changes", [])) - len(marked)
    lines = [tag("li", tag("b", mark.number), f"{mark.at:%Y-%m-%d %H:%M}  {mark.text}") for mark in marked]
    return tag(
        "section",
        tag("h2", "Changes"),
        tag("p", f"The latest {count(len(marked))}; {count(left)} before these.", class_="note")
        if left
        else None,
        tag("ol", *lines, class_="changes") if lines else tag("p", "None in this window."),
    )


def _observed(told: Told) -> Html | None:
    """Only where enforcing is still to come."""
    if told.readiness is None or told.status["mode"] == "enforce":
        return None
    return readiness(told.readiness, told.user)


def _upstreams(status: StatusReport) -> Html:
    lines = [
        tag(
            "tr",
            tag("td", tag("span", server["upstream"], class_="name")),
            tag(
                "td",
                "answers" if server["healthy"] else "fails",
                class_="good" if server["healthy"] else "bad",
            ),
            tag("td", f"{count(server['asked'])} asked, {count(server['failed'])} failed"),
            tag("td", "" if server["latency_ms"] is None else f"{server['latency_ms']:.1f} ms", class_="n"),
        )
        for server in status["upstreams"]
    ]
    return tag("section", tag("h2", "Upstream servers"), tag("table", *lines) if lines else tag("p", "None."))


# ------------------------------------------------------------ what is not known


def _honesty(told: Told) -> Html:
    history, status = told.history, told.status
    notes: list[Content] = []
    begins = history["begins"]
    if begins is None:
        notes.append("There is no history: nothing was recorded in this window.")
    elif not _begins_before(told):
        notes.append(
            f"The history begins at {at(begins)}: nothing is known of the part of the window before."
        )
    untold = {what: number for what, number in history["untold"].items() if number}
    if untold:
        told_of = " and ".join(f"{count(number)} {what}" for what, number in untold.items())
        notes.append(
            f"{told_of} were denied and counted, but were too many to be told apart: they are in no list."
        )
    notes += [
        "Connections are counted by their first packet. What was refused is tried again by most programs, "
        "so that one wish may count several times.",
        f"A question that is asked again while its answer is at hand is not counted here: "
        f"{count(status['questions']['hot'])} since the agent's start.",
        "Users of connections are exact; users of questions, processes and units are known of a sample.",
        "Addresses are enforced, not names: two names on one address cannot be told apart.",
    ]
    return tag(
        "section", tag("h2", "What this page does not know"), tag("ul", *(tag("li", note) for note in notes))
    )


def _begins_before(told: Told) -> bool:
    begins = told.history["begins"]
    step = timedelta(seconds=told.timeline["step_s"])
    return begins is not None and read(begins) <= read(told.history["since"]) + step


def _sums(told: Told) -> dict[str, int]:
    points = told.timeline["points"]
    return {
        "questions_allowed": sum(point["questions_allowed"] for point in points),
        "questions_denied": sum(point["questions_denied"] for point in points),
        "flows_allowed": sum(point["flows_allowed"] for point in points),
        "flows_denied": sum(point["flows_denied"] for point in points),
    }
