"""The control API's routes: each turns a request into one call of the backend.

Knows the paths, the schema and which status an error becomes. Must not know
policy or kernel: it only passes words on. Keeps: every reply that is not 200
has the one error shape, and an error that a backend raises reaches the client
with its exit code's meaning intact.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple, cast

from aiohttp import web

from dynallow.control import past
from dynallow.control.backend import Backend, BadRequestError, UnknownRuleError
from dynallow.control.connection import Connection, Limits
from dynallow.control.encode import pieces
from dynallow.control.leaselines import lines
from dynallow.control.metrics import CONTENT_TYPE
from dynallow.control.reply import LINES
from dynallow.control.request import RequestRefused, body, query
from dynallow.control.schema import ErrorReport, Mode
from dynallow.errors import DynallowError, KernelError, SettingsError
from dynallow.pending.state import parse_within
from dynallow.pending.switch import ConflictError
from dynallow.units import PortRange, parse_port

_UID_MAX = 2**32 - 2  # the last one is "nobody said" to the kernel
_JSON = "application/json"
_CHUNK = 64 * 1024


class Sent(NamedTuple):
    """An answer of any length as it is sent: its type, and its text piece by piece."""

    kind: str
    pieces: Generator[str, None, None]


Answer = Mapping[str, object] | Sent | web.StreamResponse
Verb = Callable[[web.BaseRequest], Awaitable[Answer]]

_CODES = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 500: "internal"}


def error_reply(status: int, message: str, code: str = "", hint: str = "", **more: list[str]) -> web.Response:
    """An error in the API's shape; the connection ends with it."""
    report = ErrorReport(code=code or _CODES.get(status, "bad-request"), message=message, hint=hint)
    response = web.Response(
        status=status, body=json.dumps({**report, **more}).encode("ascii"), content_type=_JSON
    )
    response.force_close()
    return response


def _refusal(error: DynallowError) -> web.Response:
    match error:
        case SettingsError():
            faults = [str(fault) for fault in error.faults]
            hint = error.hint or "the settings that were in force still are"
            return error_reply(422, "the settings are invalid", "settings-invalid", hint, faults=faults)
        case KernelError():
            return error_reply(503, error.message, "kernel-refused", error.hint)
        case BadRequestError():
            return error_reply(400, error.message, "bad-request", error.hint)
        case ConflictError():
            return error_reply(409, error.message, "conflict", error.hint)
        case UnknownRuleError():
            return error_reply(404, error.message, "unknown-rule", error.hint)
    return error_reply(500, error.message, "failed", error.hint)


class Routes:
    """The table of paths; with `only`, all the others are unknown."""

    def __init__(self, backend: Backend, limits: Limits, only: str | None = None) -> None:
        self._backend = backend
        self._limits = limits
        table: dict[str, tuple[str, Verb]] = {
            "/v1/status": ("GET", self._status),
            "/v1/explain": ("GET", self._explain),
            "/v1/reload": ("POST", self._reload),
            "/v1/flush": ("POST", self._flush),
            "/v1/mode": ("POST", self._mode),
            "/v1/confirm": ("POST", self._confirm),
            "/metrics": ("GET", self._metrics),
            **past.routes(backend, limits),
        }
        self._table = {path: verb for path, verb in table.items() if only in (None, path)}

    async def dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, from its head to its last byte."""
        connection = cast(Connection, request.protocol)
        connection.expect_within(None)  # the head is here; the body has its own limit
        answer: Answer
        try:
            answer = await self._find(request)(request)
        except RequestRefused as refused:
            answer = error_reply(refused.status, refused.message, refused.code, refused.hint)
            if refused.status == 405:
                answer.headers["Allow"] = self._table[request.path][0]
        except DynallowError as error:
            answer = _refusal(error)
        connection.expect_within(self._limits.write_s)
        if isinstance(answer, web.StreamResponse):
            return answer
        sent = answer if isinstance(answer, Sent) else Sent(_JSON, pieces(dict(answer)))
        return await _send(request, sent, self._limits)

    def _find(self, request: web.BaseRequest) -> Verb:
        method, verb = self._table.get(request.path, ("", None))
        if verb is None:
            raise RequestRefused(
                404, "not-found", "no such path", hint=f"there are: {', '.join(sorted(self._table))}"
            )
        if request.method != method:
            raise RequestRefused(405, "method-not-allowed", f"expected {method}, got {request.method}")
        return verb

    async def _status(self, request: web.BaseRequest) -> Answer:
        words = query(request, ("rule",))
        report = await self._backend.status(words.get("rule"))
        if request.headers.get("Accept") != LINES:
            return report
        return Sent(LINES, lines(report))

    async def _explain(self, request: web.BaseRequest) -> Answer:
        words = query(request, ("subject", "port", "user"))
        if "subject" not in words:
            raise RequestRefused(400, "bad-request", "expected subject=NAME or subject=ADDRESS, got none")
        return await self._backend.explain(words["subject"], _port(words), _user(words))

    async def _reload(self, request: web.BaseRequest) -> Answer:
        words = await body(request, ("confirm_within",), self._limits)
        return await self._backend.reload(_within(words))

    async def _flush(self, request: web.BaseRequest) -> Answer:
        words = await body(request, ("rule", "name"), self._limits)
        return await self._backend.flush(words.get("rule"), words.get("name"))

    async def _mode(self, request: web.BaseRequest) -> Answer:
        words = await body(request, ("mode", "confirm_within"), self._limits)
        mode = words.get("mode")
        if mode not in ("observe", "enforce"):
            raise RequestRefused(400, "bad-request", f'mode: expected "observe" or "enforce", got {mode!r}')
        return await self._backend.set_mode(cast(Mode, mode), _within(words))

    async def _confirm(self, request: web.BaseRequest) -> Answer:
        words = await body(request, ("outcome",), self._limits)
        outcome = words.get("outcome", "confirmed")
        if outcome not in ("confirmed", "taken-back"):
            raise RequestRefused(
                400, "bad-request", f'outcome: expected "confirmed" or "taken-back", got {outcome!r}'
            )
        return await self._backend.confirm(keep=outcome == "confirmed")

    async def _metrics(self, request: web.BaseRequest) -> Answer:
        query(request, ())
        # In a thread: the first one loads prometheus-client, and none of them is in a hurry.
        text = await asyncio.to_thread(self._backend.metrics)
        response = web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
        response.force_close()
        return response


def _port(words: Mapping[str, str]) -> PortRange | None:
    try:
        return parse_port(words["port"]) if "port" in words else None
    except ValueError as error:
        raise RequestRefused(400, "bad-request", f"port: {error}") from error


def _within(words: Mapping[str, str]) -> float | None:
    try:
        return parse_within(words["confirm_within"]) if "confirm_within" in words else None
    except ValueError as error:
        raise RequestRefused(400, "bad-request", f"confirm_within: {error}") from error


def _user(words: Mapping[str, str]) -> int | None:
    text = words.get("user")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _UID_MAX):
        raise RequestRefused(400, "bad-request", f"user: expected a uid, got {text!r}")
    return int(text)


async def _send(request: web.BaseRequest, sent: Sent, limits: Limits) -> web.StreamResponse:
    """The answer as it is made, in a thread, and no faster than the client takes it.

    So neither the loop waits, nor does an answer of any length take memory or a
    thread while its client is slow; and that a client may be for `write_s` in all.
    """
    connection = cast(Connection, request.protocol)
    response = web.StreamResponse(headers={"Content-Type": sent.kind})
    response.force_close()
    left, left_s = sent.pieces, limits.write_s
    loop = asyncio.get_running_loop()
    try:
        while chunk := await asyncio.to_thread(_some, left):
            began = loop.time()
            connection.expect_within(left_s)
            if not response.prepared:
                await response.prepare(request)
            await response.write(chunk)
            connection.expect_within(None)
            left_s -= loop.time() - began
    finally:
        with suppress(ValueError):  # cancelled: the thread is still at it
            left.close()
    connection.expect_within(left_s)
    await response.write_eof()
    return response


def _some(left: Iterator[str]) -> bytes:
    """The next pieces; none at the end."""
    some, size = [], 0
    for piece in left:
        some.append(piece)
        size += len(piece)
        if size > _CHUNK:
            break
    return "".join(some).encode("ascii")
