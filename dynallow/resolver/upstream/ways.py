"""From an upstream as the settings write it to the stream that it is asked over.

Knows which transport needs what. `ssl` and `h2` are loaded here, for those who
configured such a server and for nobody else.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dynallow.resolver.upstream.dial import Dial, Security, tls_context
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.framed import FramedLine, padded
from dynallow.resolver.upstream.streams import Stream
from dynallow.settings import Upstream
from dynallow.units import Endpoint
from dynallow.wire.query import build_query

if TYPE_CHECKING:
    import ssl


class Ways:
    """The streams of one set of settings; they share what TLS trusts, which each reload reads anew."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def to(self, upstream: Upstream) -> Stream | None:
        """The stream; None where plain datagrams go."""
        endpoint = upstream.endpoint
        if endpoint is None or upstream.kind in ("system", "udp"):
            return None
        if upstream.kind == "https":
            dial = self._https(upstream, endpoint)
        else:
            dial = self._framed(upstream, endpoint)
        exchange = self._exchange
        stream = Stream(dial, exchange.tasks, exchange.counts)
        exchange.streams.add(stream)
        return stream

    def _framed(self, upstream: Upstream, endpoint: Endpoint) -> Dial:
        exchange = self._exchange
        if upstream.kind == "tcp":
            plain = partial(FramedLine, query=build_query, draw=exchange.draw)
            return Dial(endpoint, exchange.mark, plain)
        private = partial(FramedLine, query=_padded_query, draw=exchange.draw)
        security = Security(self._dot, upstream.server_name or str(endpoint.address), "dot")
        return Dial(endpoint, exchange.mark, private, security)

    def _https(self, upstream: Upstream, endpoint: Endpoint) -> Dial:
        from dynallow.resolver.upstream.https import HttpLine

        url = urlsplit(upstream.url)
        line = partial(HttpLine, authority=url.netloc, path=url.path, query=partial(_padded_query, 0))
        return Dial(endpoint, self._exchange.mark, line, Security(self._doh, upstream.server_name, "h2"))

    @cached_property
    def _dot(self) -> ssl.SSLContext:
        return tls_context("dot")

    @cached_property
    def _doh(self) -> ssl.SSLContext:
        return tls_context("h2")


def _padded_query(ident: int, name: bytes, qtype: int) -> bytes:
    return padded(build_query(ident, name, qtype))
