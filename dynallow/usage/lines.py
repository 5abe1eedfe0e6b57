"""A line of the log: one decision, or several alike of the same moment.

Pure. Knows what a line tells and how it reads; must not know where it goes. Keeps: the text of a line has
no character that moves a cursor or ends the line, whatever a name or a process calls itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from dynallow.durations import format_duration
from dynallow.usage.record import Decision, Mode, Why

Event = Literal["question", "answer", "flow", "mode", "reload", "start", "revoked", "left-out"]

_WHY: Final = {
    "not-listed": "no rule lists the name",
    "excepted": "the rule excepts the name",
    "expired": "the rule has expired",
    "reserved": "answered on this host",
    "type": "the record type is not allowed",
    "dns": "DNS past dynallow",
    "port": "the rule opens other ports",
    "user": "the rule is for other users",
    "lapsed": "the lease has ended",
    "name": "no rule lists its name",
    "no-name": "the address never came from DNS",
}


class Line(NamedTuple):
    """What is unknown or has no meaning is empty. Moments are seconds of the wall clock."""

    at: float
    event: Event
    decision: Decision | Literal[""]
    mode: Mode
    why: Why = ""
    name: str = ""
    qtype: str = ""
    addresses: tuple[str, ...] = ()
    """Of an answer those that were leased; of a flow its destination; of a revocation what was taken away."""
    port: str = ""
    rule: str = ""
    user: int | None = None
    process: str = ""
    unit: str = ""
    times: int = 1
    lease_s: float | None = None
    """For so long the addresses of an answer are leased."""
    id: str = ""
    """`record.ident` of what was denied."""
    note: str = ""
    """What there is to say in words: of a switch, a reload, what was left out."""


def decided(line: Line) -> str:
    """What came of it, in a word or three."""
    if line.decision in ("denied", "filtered") and line.mode == "observe":
        return "would be denied"
    return line.decision or line.event


def text(line: Line, user_text: Callable[[int], str] = str) -> str:
    """The line as it is read, without its time."""
    match line.event:
        case "question":
            what = f"{line.qtype} {line.name}"
        case "answer":
            lease = "" if line.lease_s is None else f" for {format_duration(line.lease_s)}"
            what = f"{line.qtype} {line.name} is {_some(line.addresses)}{lease}"
        case "flow":
            named = f" ({line.name})" if line.name else ""
            what = f"{line.port} {_some(line.addresses)}{named}"
        case "revoked":
            what = f"{_some(line.addresses)}{f' ({line.name})' if line.name else ''}"
        case _:
            what = line.note
    rule = f" [{line.rule}]" if line.rule else ""
    why = f": {_WHY[line.why]}" if line.why else ""
    who = _who(line, user_text)
    times = f" x{line.times}" if line.times > 1 else ""
    ident = f" {line.id}" if line.id else ""
    return shown(f"{decided(line)} {what}{rule}{why}{who}{times}{ident}")


def shown(told: str) -> str:
    """Everything that does not print made visible."""
    if told.isprintable():
        return told
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in told)


def _who(line: Line, user_text: Callable[[int], str]) -> str:
    by = [line.process] if line.process else []
    by += [f"user {user_text(line.user)}"] if line.user is not None else []
    by += [line.unit] if line.unit else []
    return f", by {', '.join(by)}" if by else ""


def _some(addresses: tuple[str, ...]) -> str:
    few = ", ".join(addresses[:4])
    return f"{few} and {len(addresses) - 4} more" if len(addresses) > 4 else few or "no address"
