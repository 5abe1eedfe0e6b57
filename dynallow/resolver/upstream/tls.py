"""What TLS to an upstream trusts: chain and name verified, TLS 1.2 or newer (RFC 8310, strict profile).

Knows `ssl`; must not know servers. The store is the system's own; OpenSSL's
SSL_CERT_FILE and SSL_CERT_DIR name another. Reading it takes tenths of a second,
so it is done in a thread, once, and again when the store has changed.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

Alpn = Literal["dot", "h2"]


class Trust:
    """The context for all servers that speak the same inside."""

    def __init__(self, alpn: Alpn) -> None:
        self.alpn = alpn
        self._context: ssl.SSLContext | None = None
        self._read: tuple[tuple[str, int], ...] = ()

    async def context(self) -> ssl.SSLContext:
        """For the next connection. Raises OSError when the store cannot be read."""
        now = tuple(_store())
        if self._context is None or now != self._read:
            self._context, self._read = await asyncio.to_thread(self._make), now
        return self._context

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
    """The files of the store, and when each was changed."""
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
