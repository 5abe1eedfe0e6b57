"""An upstream server as the settings write it.

Knows the spellings and default ports. Must not know how to talk to one.
Keeps: whatever is parsed carries an address; a name server's name is never
looked up, for who would answer before there is an upstream?
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from dynallow.units import Endpoint, Protocol, parse_endpoint

Kind = Literal["system", "udp", "tcp", "tls", "https"]

_PORTS: dict[str, int] = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_EXPECTED = (
    'expected "system", "ADDRESS[:PORT]", "tcp://ADDRESS", "tls://ADDRESS#SERVER-NAME" '
    'or "https://SERVER-NAME/PATH#ADDRESS"'
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server; `endpoint` is None only for "system". `server_name` is whom the certificate must name."""

    kind: Kind
    endpoint: Endpoint | None
    server_name: str
    url: str
    text: str

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """What it is asked over: what answers datagrams is asked over TCP too when these do not do."""
        return ("udp", "tcp") if self.kind in ("system", "udp") else ("tcp",)

    def __str__(self) -> str:
        return self.text


def parse_upstream(text: str) -> Upstream:
    """An upstream from its text. Raises ValueError, "expected …, got …"."""
    if text == "system":
        return Upstream("system", None, "", "", text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Upstream("udp", _endpoint(text, 53, text), "", "", text)
    if scheme in ("udp", "tcp"):
        kind: Kind = "udp" if scheme == "udp" else "tcp"
        return Upstream(kind, _endpoint(rest, 53, text), "", "", text)
    if scheme == "tls":
        address, _, server_name = rest.partition("#")
        if "#" in rest and _HOST.fullmatch(server_name) is None:
            raise ValueError(f'{_EXPECTED}, got "{text}"')
        return Upstream("tls", _endpoint(address, _PORTS["tls"], text), server_name, "", text)
    if scheme == "https":
        return _parse_https(text)
    raise ValueError(f'{_EXPECTED}, got "{text}"')


def _parse_https(text: str) -> Upstream:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or _PORTS["https"]
    except ValueError as error:
        raise ValueError(f'{_EXPECTED}, got "{text}"') from error
    # The text goes into a request as it is; what `urlsplit` strips must not be left in it.
    if not (text.isascii() and text.isprintable()) or " " in text or not _is_host(host):
        raise ValueError(f'{_EXPECTED}, got "{text}"')
    if parts.username is not None or parts.query or not parts.path.startswith("/"):
        raise ValueError(f'{_EXPECTED}, got "{text}"')
    try:
        address = parse_endpoint(parts.fragment or host, port)
    except ValueError:
        raise ValueError(
            f'expected the address of "{host}" after "#", as in "https://{host}/dns-query#192.0.2.1", '
            f'got "{text}"'
        ) from None
    return Upstream("https", address, host, text.partition("#")[0], text)


def _is_host(text: str) -> bool:
    try:
        return bool(parse_endpoint(text, 1))
    except ValueError:
        return _HOST.fullmatch(text) is not None


def _endpoint(text: str, port: int, whole: str) -> Endpoint:
    try:
        return parse_endpoint(text, port)
    except ValueError:
        raise ValueError(f'{_EXPECTED}, got "{whole}"') from None
