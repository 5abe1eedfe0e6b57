"""The routes that look back, and the one that follows, over the real socket."""

from __future__ import annotations

import json
import socket as sockets
from pathlib import Path
from typing import Any

import pytest

from dynallow.control.client import AnswerError, Client
from dynallow.control.encode import pieces
from dynallow.control.reports import history
from dynallow.usage.lines import Line
from dynallow.usage.record import Record
from tests.unit.control.agent import MemoryAgent, Queued, serving
from tests.unit.sight.subjects import MINUTE, question


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_words_reach_the_backend_typed(socket: Path) -> None:
    agent = MemoryAgent()
    with serving(agent, socket):
        client = Client(socket)
        client.get("/v1/history", since="60", kind="flow", decision="denied")
        client.get("/v1/timeline", since="600", step="60")
        client.get("/v1/denied", since="86400", by="name", limit="5")
        client.get("/v1/log")
    assert agent.asked == [
        ("history", 60.0, "flow", "denied"),
        ("timeline", 600.0, 60),
        ("denied", 86400.0, "name", 5),
        ("log", 3600.0),
    ]


@pytest.mark.parametrize(
    "query",
    [
        "/v1/history?since=-1",
        "/v1/history?since=1h",
        "/v1/history?kind=packet",
        "/v1/history?decision=maybe",
        "/v1/timeline?step=0",
        "/v1/timeline?since=9999999999&step=1",
        "/v1/denied?by=moon",
        "/v1/denied?limit=many",
        "/v1/log?follow=yes",
    ],
)
def test_words_that_mean_nothing_are_refused(socket: Path, query: str) -> None:
    agent = MemoryAgent()
    with serving(agent, socket), pytest.raises(AnswerError) as refused:
        Client(socket).get(query)
    assert (refused.value.code, agent.asked) == ("bad-request", [])


def line(number: int) -> Any:
    return history.log_line(Line(MINUTE + 1.0, "mode", "", "enforce", note=str(number)))


def test_follow_tells_lines_as_they_come_until_the_client_goes(socket: Path) -> None:
    agent = MemoryAgent()
    agent.following = Queued()
    with serving(agent, socket) as loop:
        followed = Client(socket).follow("/v1/log", follow="1")
        for number in range(3):
            loop.call_soon_threadsafe(
                agent.following.queue.put_nowait, [line(2 * number), line(2 * number + 1)]
            )
            assert [next(followed)["note"] for _ in range(2)] == [str(2 * number), str(2 * number + 1)]
        followed.close()  # type: ignore[attr-defined]
        assert agent.following.left.wait(30)
    assert agent.asked == [("follow",)]


def test_follow_of_one_too_many_is_an_error_that_says_so(socket: Path) -> None:
    with serving(MemoryAgent(), socket), pytest.raises(AnswerError, match="too many programs"):
        next(Client(socket).follow("/v1/log", follow="1"))


def test_follower_who_never_reads_holds_up_nobody(socket: Path) -> None:
    agent = MemoryAgent()
    agent.following = Queued()
    with serving(agent, socket) as loop, sockets.socket(sockets.AF_UNIX) as stuck:
        stuck.connect(str(socket))
        stuck.sendall(b"GET /v1/log?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(50):
            many = [line(number) for number in range(1000)]
            loop.call_soon_threadsafe(agent.following.queue.put_nowait, many)
        for _ in range(5):
            assert Client(socket).get("/v1/log")["lines"] == []
        assert not agent.following.left.is_set()
    assert agent.following.left.wait(30)


class Remembered:
    """Who remembers these."""

    def __init__(self, *records: Record) -> None:
        self._records = list(records)

    def records(self, since: float, until: float | None = None) -> list[Record]:
        return self._records

    def untold(self, since: float, until: float | None = None) -> dict[str, int]:
        return {"packets": 5, "questions": 7}

    def begins(self) -> float | None:
        return MINUTE


FLOW = question()._replace(
    kind="flow", name="", qtype="", address="192.0.2.1", port="tcp/80", why="port", rule="web", mode="observe"
)
PAST = Remembered(
    Record(question("a.example"), 5, MINUTE, MINUTE + 5.0),
    Record(question("a.example")._replace(qtype="AAAA", user=0), 2, MINUTE + 1.0, MINUTE + 9.0),
    Record(FLOW, 3, MINUTE + 2.0, MINUTE + 3.0),
    Record(question("www.example.org", "allowed"), 9, MINUTE, MINUTE),
)


def denied(by: Any = None, limit: int = 100) -> Any:
    report: Any = history.denied(PAST, MINUTE, MINUTE + 60.0, "enforce", 4, by, limit)
    return json.loads("".join(pieces(report)))


def test_denied_tells_single_lines_and_totals_of_all() -> None:
    report = denied(limit=2)
    assert [(row["name"], row["qtype"], row["count"]) for row in report["rows"]] == [
        ("a.example", "A", 5),
        ("a.example", "AAAA", 2),
    ]
    assert report["total"] == {"questions": 14, "packets": 8}
    assert report["observed"] == {"questions": 0, "packets": 3}
    assert (report["matched"], report["denied_packets"]) == (3, 4)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("name", [("a.example", 7), ("", 3)]),
        ("destination", [("", 7), ("192.0.2.1 tcp/80", 3)]),
        ("user", [("1000", 8), ("0", 2)]),
        ("process", [("curl", 10)]),
        ("rule", [("- (not-listed)", 7), ("web (port)", 3)]),
    ],
)
def test_denied_by_something_tells_its_sums(by: str, expected: list[tuple[str, int]]) -> None:
    assert [(group["key"], group["count"]) for group in denied(by)["groups"]] == expected


def test_history_of_a_name_with_odd_characters_is_json() -> None:
    odd = Record(question('a"\\\n\u202e.example'), 1, MINUTE, MINUTE)
    report: Any = history.history(Remembered(odd), MINUTE, MINUTE + 1.0)
    (row,) = json.loads("".join(pieces(report)))["rows"]
    assert row["name"] == 'a"\\\n\u202e.example'
