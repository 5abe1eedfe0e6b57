"""The routes that look back: `/v1/history`, `/v1/timeline`, `/v1/denied`, `/v1/log`, which also follows.

Knows their words. Must not know where the past is kept. Keeps: who follows gets a line a line as it happens,
and holds up nobody: while it does not read, nothing is written to it, and its lines wait, and are lost, in a
row of its own (`sight/lines.py`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from aiohttp import web

from dynallow.control.backend import Backend
from dynallow.control.connection import Connection, Limits
from dynallow.control.historyschema import By, LogLine
from dynallow.control.request import RequestRefused, query

_KINDS: Final = ("question", "flow")
_DECISIONS: Final = ("allowed", "denied", "filtered")
_BY: Final = ("name", "destination", "user", "process", "rule")
_STEPS_MAX: Final = 20_000
_LIMIT_MAX: Final = 100_000
_LIMIT: Final = 1000
_HOUR_S: Final = "3600"
_WEEK_S: Final = "604800"
_ALIVE_S: Final = 10.0
_AT_ONCE: Final = 64
"""Lines of the past in one piece; the loop waits no longer than for these."""
PATIENCE_S: Final = 600.0
"""Who follows and reads nothing for so long is cut."""
Answer = Mapping[str, object] | web.StreamResponse
Verb = Callable[[web.BaseRequest], Awaitable[Answer]]


def routes(backend: Backend, limits: Limits) -> dict[str, tuple[str, Verb]]:
    """By path: the method, and what does it."""
    past = Past(backend, limits)
    return {
        "/v1/history": ("GET", past.history),
        "/v1/timeline": ("GET", past.timeline),
        "/v1/denied": ("GET", past.denied),
        "/v1/log": ("GET", past.log),
        "/v1/readiness": ("GET", past.readiness),
    }


class Past:
    """The routes of one backend."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._limits = limits

    async def history(self, request: web.BaseRequest) -> Answer:
        """`since`, `kind`, `decision`."""
        words = query(request, ("since", "kind", "decision"))
        _one_of("kind", words, _KINDS)
        _one_of("decision", words, _DECISIONS)
        return await self._backend.history(_since(words), words.get("kind"), words.get("decision"))

    async def timeline(self, request: web.BaseRequest) -> Answer:
        """`since`, `step`."""
        words = query(request, ("since", "step"))
        since_s, step_s = _since(words), whole("step", words.get("step", "60"))
        if step_s < 1 or since_s / step_s > _STEPS_MAX:
            message = f"step: expected at most {_STEPS_MAX} steps of a second or more"
            raise RequestRefused(400, "bad-request", message)
        return await self._backend.timeline(since_s, step_s)

    async def denied(self, request: web.BaseRequest) -> Answer:
        """`since`, `by`, `limit`."""
        words = query(request, ("since", "by", "limit"))
        _one_of("by", words, _BY)
        limit = min(whole("limit", words.get("limit", str(_LIMIT))), _LIMIT_MAX)
        return await self._backend.denied(_since(words), cast(By | None, words.get("by")), limit)

    async def log(self, request: web.BaseRequest) -> Answer:
        """`since`, `follow`."""
        words = query(request, ("since", "follow"))
        _one_of("follow", words, ("1",))
        if "follow" not in words:
            return await self._backend.log(_since(words))
        return await self._follow(request, whole("since", words["since"]) if "since" in words else 0)

    async def readiness(self, request: web.BaseRequest) -> Answer:
        """`since`."""
        words = query(request, ("since",))
        return await self._backend.readiness(float(whole("since", words.get("since", _WEEK_S))))

    async def _follow(self, request: web.BaseRequest, since_s: int) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        follower = self._backend.follow()
        try:
            before = (await self._backend.log(since_s))["lines"] if since_s else []
            response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
            response.force_close()
            connection.expect_within(self._limits.write_s)
            await response.prepare(request)
            for start in range(0, len(before), _AT_ONCE):
                await self._write(connection, response, before[start : start + _AT_ONCE])
            while request.transport is not None and not request.transport.is_closing():
                lines = await follower.take(_ALIVE_S)
                for start in range(0, len(lines) or 1, _AT_ONCE):
                    await self._write(connection, response, lines[start : start + _AT_ONCE])
        finally:
            follower.leave()
        return response

    async def _write(
        self, connection: Connection, response: web.StreamResponse, lines: list[LogLine]
    ) -> None:
        connection.expect_within(PATIENCE_S)
        told = "\n".join(map(json.dumps, lines))  # of none: an empty line, to see whether anybody is there
        await response.write(told.encode("ascii") + b"\n")
        connection.expect_within(None)


def _one_of(key: str, words: Mapping[str, str], known: tuple[str, ...]) -> None:
    if words.get(key) not in (None, *known):
        expected = " or ".join(known)
        raise RequestRefused(400, "bad-request", f"{key}: expected {expected}, got {words[key]!r}")


def _since(words: Mapping[str, str]) -> float:
    return float(whole("since", words.get("since", _HOUR_S)))


def whole(key: str, text: str) -> int:
    """A number of seconds, or of what else `key` counts. Raises RequestRefused."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise RequestRefused(400, "bad-request", f"{key}: expected a whole number, got {text!r}")
    return int(text)
