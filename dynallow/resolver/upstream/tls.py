"""What TLS to an upstream trusts: chain and name verified, TLS 1.2 or newer (RFC 8310, strict profile).

Knows `ssl`; must not know servers. The store is the system's own; OpenSSL's
SSL_CERT_FILE and SSL_CERT_DIR name another. Reading it takes tenths of a second,
so it is done in a thread, once, and again when the store has changed. Invariant: whoever
loses patience with a slow store ends his own waiting, not the reading.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

Alpn = Literal["dot", "h2"]
_Store = tuple[tuple[str, int], ...]
"""Its files, and when each was changed."""


class Trust:
    """The context for all servers that speak the same inside."""

    def __init__(self, alpn: Alpn) -> None:
        self.alpn = alpn
        self._context: ssl.SSLContext | None = None
        self._read: _Store = ()
        self._reading: asyncio.Future[ssl.SSLContext] | None = None
        self._reads: _Store = ()

    async def context(self) -> ssl.SSLContext:
        """For the next connection. Raises OSError when the store cannot be read."""
        now = tuple(_store())
        if self._context is None or now != self._read:
            return await asyncio.shield(self._read_anew(now))
        return self._context

    def _read_anew(self, store: _Store) -> asyncio.Future[ssl.SSLContext]:
        """The one reading of it that is under way."""
        loop, reading = asyncio.get_running_loop(), self._reading
        if reading is None or reading.done() or self._reads != store or reading.get_loop() is not loop:
            reading = loop.run_in_executor(None, self._make)
            reading.add_done_callback(partial(self._have_read, store))
            self._reading, self._reads = reading, store
        return reading

    def _have_read(self, store: _Store, reading: asyncio.Future[ssl.SSLContext]) -> None:
        if not reading.cancelled() and reading.exception() is None:
            self._context, self._read = reading.result(), store

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False  # subjectAltName is the place for it
        context.set_alpn_protocols([self.alpn])
        return context


@cache
def trust(alpn: Alpn) -> Trust:
    """The one for this protocol: servers share it."""
    return Trust(alpn)


@dataclass(frozen=True, slots=True)
class Security:
    """Whom the certificate must name, and what is spoken inside."""

    trust: Trust
    name: str


def _store() -> Iterator[tuple[str, int]]:
    """As it is now."""
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.capath):
        if path is not None:
            try:
                yield path, os.stat(path).st_mtime_ns
            except OSError:
                yield path, 0


def why_failed(error: ssl.SSLError) -> str:
    """For an administrator: what was wrong with the server's TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return f"TLS: {(error.reason or 'the handshake failed').replace('_', ' ').lower()}"
