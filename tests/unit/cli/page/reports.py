"""Reports as an agent gives them, for the page to be made of, and a reader that is strict about HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any, Literal

from dynallow.cli.page.page import Told
from dynallow.control.historyschema import HistoryRow, TimelineChange
from dynallow.control.readinessschema import ReadinessReport, WouldBeDenied
from dynallow.control.schema import StatusReport

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VOID = {"meta"}
_TAGS = """
html head meta title style body header section footer h1 h2 h3 p div span b i ul ol li
table thead tbody tr th td svg g rect line
"""
_ATTRIBUTES = """
class style title data-label lang charset name content http-equiv viewbox preserveaspectratio role aria-label
x y x1 x2 y1 y2 width height vector-effect stroke-width stroke-dasharray
"""
TAGS, ATTRIBUTES = set(_TAGS.split()), set(_ATTRIBUTES.split())


def moment(ago: timedelta) -> str:
    return (NOW - ago).isoformat().replace("+00:00", "Z")


def row(
    kind: Literal["question", "flow"] = "question",
    decision: Literal["allowed", "denied", "filtered"] = "denied",
    count: int = 1,
    **more: Any,
) -> HistoryRow:
    """A row of the history."""
    told: HistoryRow = {
        "id": "@000000",
        "kind": kind,
        "decision": decision,
        "mode": "enforce",
        "why": "" if decision == "allowed" else "not-listed" if kind == "question" else "no-name",
        "name": "",
        "qtype": "A" if kind == "question" else "",
        "address": "",
        "port": "",
        "rule": "",
        "user": None,
        "process": "",
        "unit": "",
        "count": count,
        "first": moment(timedelta(minutes=30)),
        "last": moment(timedelta(minutes=10)),
    }
    told.update(more)  # type: ignore[typeddict-item]
    return told


def status(text: str = "web") -> StatusReport:
    """With one rule, one destination, one server; `text` wherever an administrator or a name may write."""
    return {
        "agent": {
            "running": True,
            "pid": 1,
            "version": "0.1.0",
            "since": moment(timedelta(hours=1)),
            "settings": text,
        },
        "mode": "enforce",
        "mode_since": moment(timedelta(minutes=50)),
        "kernel": {
            "release": "6.18",
            "table": True,
            "in_place_refresh": True,
            "owned": True,
            "conntrack_filter": True,
            "sock_destroy": True,
            "denied_packets": 3,
            "denied_bytes": 180,
        },
        "listen": ["127.0.0.1:53"],
        "upstreams": [
            {
                "upstream": text,
                "healthy": True,
                "asked": 7,
                "failed": 0,
                "latency_ms": 1.5,
                "last_error": None,
                "keeps_case": True,
                "gives_cookies": None,
            }
        ],
        "questions": {
            "allowed": 7,
            "denied": 2,
            "filtered": 0,
            "malformed": 0,
            "hot": 1234,
            "cached": 1,
            "fresh": 6,
            "stale": 0,
            "servfail": 0,
        },
        "living": {"asked": 0, "kept": 0, "passed_over": 0},
        "rules": [
            {
                "rule": text,
                "names": [text],
                "names_count": 9,
                "names_from": [text],
                "reason": text,
                "owner": text,
                "expires": "2026-12-01",
                "ports": ["tcp/443"],
                "users": [0],
                "leases": [
                    {"address": "192.0.2.1", "name": text, "expires_in_s": 9.0, "packets": 4, "bytes": 400}
                ],
            }
        ],
        "destinations": [
            {
                "destination": text,
                "addresses": ["10.0.0.1/32"],
                "ports": ["udp/123"],
                "users": [],
                "reason": text,
            }
        ],
        "not_in_force": [],
        "readiness": None,
        "warnings": [text],
        "pending": None,
        "denials": None,
        "policy": {
            "generation": 2,
            "since": moment(timedelta(minutes=20)),
            "last_reload": "done",
            "changes": [{"at": moment(timedelta(minutes=20)), "generation": 2, "what": text}],
        },
    }


def change(minutes_ago: float, text: str = "rules added: web") -> TimelineChange:
    at = moment(timedelta(minutes=minutes_ago))
    return {"at": at, "kind": "reload", "mode": "enforce", "text": text}


def told(rows: list[HistoryRow], text: str = "web", **changed: Any) -> Told:
    """All that a page is made of, of an hour by minutes."""
    points = [
        {
            "at": moment(timedelta(minutes=60 - number)),
            "questions_allowed": number % 7,
            "questions_denied": number % 3,
            "flows_allowed": 1,
            "flows_denied": 0,
        }
        for number in range(60)
    ]
    window = {"since": moment(timedelta(hours=1)), "until": moment(timedelta())}
    made: dict[str, Any] = {
        "host": text,
        "made": NOW,
        "status": status(text),
        "history": {**window, "begins": moment(timedelta(hours=9)), "untold": {"packets": 0}, "rows": rows},
        "timeline": {**window, "step_s": 60, "points": points, "changes": [change(20, text)]},
        "readiness": None,
        "user": lambda uid: f"user-{uid}",
    }
    return Told(**(made | changed))


def ready_or_not(name: str, process: str) -> ReadinessReport:
    """Not yet: one process would miss one name, and there are three more."""
    group: WouldBeDenied = {
        "id": "@000000",
        "user": 7,
        "unit": "",
        "process": process,
        "name": name,
        "address": "",
        "ports": ["tcp/443"],
        "why": "not-listed",
        "count": 12,
        "first": moment(timedelta(minutes=30)),
        "last": moment(timedelta(minutes=10)),
    }
    return {
        "verdict": "not-yet",
        "text": f"not yet: {name}",
        "mode": "observe",
        "since": moment(timedelta(hours=1)),
        "until": moment(timedelta()),
        "observed_s": 3000.0,
        "denials": 17,
        "denied": [group],
        "more": 3,
        "newest": None,
        "bypasses": [group],
        "meant": 5,
        "harmless": 0,
        "untold": {"packets": 2},
    }


class Strict(HTMLParser):
    """Reads a page of ours: fails on what is not closed in order, and on what we never write."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, f"<{tag}> is none of ours"
        names = [name for name, _ in attrs]
        assert set(names) <= ATTRIBUTES, f"{names} of <{tag}>"
        assert len(set(names)) == len(names), f"twice: {names} of <{tag}>"
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> is out of order"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")


def read(page: str) -> Strict:
    """The page, read to its end."""
    assert page.startswith("<!DOCTYPE html>\n")
    reader = Strict()
    reader.feed(page.removeprefix("<!DOCTYPE html>\n"))
    reader.close()
    assert not reader.open, f"not closed: {reader.open}"
    return reader
