"""A request's words, read strictly.

Knows HTTP requests and JSON. Must not know what the words are for. Keeps:
nothing unknown is passed over in silence (a misspelt `rule` must not flush
everything), and no request takes more memory or time than its limits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any

from aiohttp import web

from dynallow.control.connection import Limits


class RequestRefused(Exception):
    """The request is answered with `status` and an error body."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


def query(request: web.BaseRequest, known: Collection[str]) -> dict[str, str]:
    """The query's keys, each known, given once and not empty."""
    words: dict[str, str] = {}
    for key, value in request.query.items():
        if key in words:
            raise RequestRefused(400, "bad-request", f"expected {key!r} once, got it twice")
        words[key] = value
    _refuse_unknown(words, known)
    for key, value in words.items():
        _refuse_empty(key, value)
    return words


async def body(request: web.BaseRequest, known: Collection[str], limits: Limits) -> dict[str, str]:
    """The body's keys: a flat JSON object of texts, null for not given; no body is an empty object."""
    raw = await _read(request, limits)
    if not raw:
        return {}
    if request.content_type != "application/json":
        raise RequestRefused(
            415, "unsupported-type", f"expected application/json, got {request.content_type!r}"
        )
    words = _parse(raw)
    _refuse_unknown(words, known)
    given = {key: value for key, value in words.items() if value is not None}
    for key, value in given.items():
        _refuse_empty(key, value)
    return given


async def _read(request: web.BaseRequest, limits: Limits) -> bytes:
    # A Content-Length that is too large is refused before a byte of it is
    # read; chunked bodies tell no length, so what arrives is counted too.
    if (request.content_length or 0) > limits.body:
        raise _too_large(limits)
    raw = bytearray()
    try:
        async with asyncio.timeout(limits.read_s):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > limits.body:
                    raise _too_large(limits)
    except TimeoutError:
        raise RequestRefused(
            408, "timeout", f"expected the body within {limits.read_s:g} s, got {len(raw)} bytes of it"
        ) from None
    except web.RequestPayloadError as error:
        raise RequestRefused(400, "bad-request", "expected a whole body, got a broken one") from error
    return bytes(raw)


def _too_large(limits: Limits) -> RequestRefused:
    return RequestRefused(413, "too-large", f"expected a body of at most {limits.body} bytes")


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # RecursionError: 60,000 opening brackets
        raise RequestRefused(400, "bad-json", f"expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise RequestRefused(400, "bad-json", f"expected a JSON object, got {type(value).__name__}")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    words = dict(pairs)
    if len(words) != len(pairs):
        raise ValueError("a key stands twice")
    return words


def _refuse_empty(key: str, value: object) -> None:
    # "" is not "not given": a script's unset variable must not flush every rule.
    if not isinstance(value, str) or not value:
        got = '""' if value == "" else type(value).__name__
        raise RequestRefused(400, "bad-request", f"{key}: expected a text that is not empty, got {got}")


def _refuse_unknown(words: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(words) - set(known))
    if unknown:
        expected = ", ".join(sorted(known)) or "none"
        raise RequestRefused(400, "unknown-key", f"expected the keys: {expected}; got {', '.join(unknown)}")
