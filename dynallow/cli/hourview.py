"""How the status tells of denials: how many there were in the last hour, and when.

Pure. Knows the report's counts by minute and the screen's measures.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dynallow.cli.output import Block, Line, Spans, Style
from dynallow.cli.phrases import plural, size_text
from dynallow.cli.screen import Screen, fitting, sparkline, wrapped
from dynallow.durations import format_duration

if TYPE_CHECKING:
    from dynallow.control.schema import DenialsReport, StatusReport

_LABEL = 12
_CELLS = 60


def denied_lines(report: StatusReport, screen: Screen) -> list[Block]:
    """The sums, and below them a sparkline if there is anything to see."""
    kernel, denials = report["kernel"], report.get("denials")
    if not kernel["table"] and denials is None:
        return []
    parts = [] if denials is None else [_hour(denials, report["mode"])]
    if kernel["table"]:
        packets = f"{plural(kernel['denied_packets'], 'packet')} ({size_text(kernel['denied_bytes'])})"
        parts.append(f"{packets} in all")
    some = denials is not None and any((*denials["questions"], *denials["flows"]))
    style: Style = "warn" if some else ""
    text = fitting(["; ".join(parts), parts[0]], screen, _LABEL)
    lines = wrapped(f"{'denied':<{_LABEL}}{text}", screen, _LABEL)
    if screen.width is None:
        return [Line(line) for line in lines]
    blocks: list[Block] = [Spans(((lines[0][:_LABEL], "dim"), (lines[0][_LABEL:], style)))]
    blocks += [Line(line, style) for line in lines[1:]]
    if denials is not None and some:
        blocks += _drawn(denials, screen, screen.width)
    return blocks


def _hour(denials: DenialsReport, mode: str) -> str:
    questions, flows = sum(denials["questions"]), sum(denials["flows"])
    if not questions and not flows:
        return "nothing in the last hour"
    those = " that no rule allows" if mode == "observe" else ""
    return f"{plural(questions, 'question')}, {plural(flows, 'connection')} in the last hour{those}"


def _drawn(denials: DenialsReport, screen: Screen, width: int) -> list[Block]:
    """The hour from left to right, and when most were denied."""
    sums = [sum(both) for both in zip(denials["questions"], denials["flows"], strict=True)]
    line = sparkline(sums, min(_CELLS, width - _LABEL), screen)
    most = max(sums)
    span = "a minute" if denials["step_s"] == 60 else format_duration(denials["step_s"])
    told = f"  most at {_clock(denials, sums.index(most))}"
    texts = [f"{told} ({most} in {span})", told, ""]
    return [Spans(((" " * _LABEL, ""), (line, "warn"), (fitting(texts, screen, _LABEL + len(line)), "dim")))]


def _clock(denials: DenialsReport, step: int) -> str:
    """When a step began, in local time."""
    then = datetime.fromisoformat(denials["since"]) + timedelta(seconds=step * denials["step_s"])
    return f"{then.astimezone():%H:%M}"
