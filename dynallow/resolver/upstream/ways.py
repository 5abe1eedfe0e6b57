"""From an upstream as the settings write it to the stream that it is asked over.

Knows which transport needs what. `h2` (3 MiB, and some start time) is loaded here,
for those who configured such a server and for nobody else; `ssl` asyncio has loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from dynallow.resolver.upstream.dial import Dial
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.framed import FramedLine, padded
from dynallow.resolver.upstream.line import Line, Owner
from dynallow.resolver.upstream.streams import Stream
from dynallow.resolver.upstream.tls import Security, trust
from dynallow.settings import Upstream
from dynallow.units import Endpoint
from dynallow.wire.query import build_query


def stream_to(upstream: Upstream, exchange: Exchange) -> Stream | None:
    """How it is asked; None: by datagrams. The same stream for the same server, across reloads too."""
    endpoint = upstream.endpoint
    if endpoint is None or upstream.kind in ("system", "udp"):
        return None
    stream = exchange.streams.get(upstream)
    if stream is None:
        dial = Dial(endpoint, exchange.mark, *_inside(upstream, endpoint, exchange))
        stream = exchange.streams[upstream] = Stream(dial, exchange.tasks, exchange.counts)
    return stream


def _inside(
    upstream: Upstream, endpoint: Endpoint, exchange: Exchange
) -> tuple[Callable[[Owner], Line], Security | None]:
    """What is spoken on the connection, and how it is secured."""
    if upstream.kind == "tcp":
        return partial(FramedLine, query=build_query, draw=exchange.draw), None
    if upstream.kind == "tls":
        security = Security(trust("dot"), upstream.server_name or str(endpoint.address))
        return partial(FramedLine, query=_padded_query, draw=exchange.draw), security
    from dynallow.resolver.upstream.https import HttpLine

    url = urlsplit(upstream.url)
    line = partial(HttpLine, authority=url.netloc, path=url.path, query=partial(_padded_query, 0))
    return line, Security(trust("h2"), upstream.server_name)


def _padded_query(ident: int, name: bytes, qtype: int, how: int) -> bytes:
    return padded(build_query(ident, name, qtype, how))
