"""The kinds of values in the settings: how each is read, checked and described to editors.

Knows the parsers of `units` and `policy`, and the user database. Must not know which
key holds what. Keeps: every parser raises ValueError "expected …, got …"; a value of another TOML
type than the expected one is refused, never converted.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from datetime import date, datetime
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator, Strict, WithJsonSchema

from dynallow.durations import format_duration, parse_duration
from dynallow.policy.names import Name, parse_name, to_text
from dynallow.policy.patterns import Pattern, parse_pattern
from dynallow.policy.rrtypes import is_data_type, parse_type, type_text
from dynallow.settings.shown import shown
from dynallow.settings.upstream import Upstream, parse_upstream
from dynallow.units import (
    Endpoint,
    PortRange,
    Rate,
    format_size,
    parse_endpoint,
    parse_port,
    parse_rate,
    parse_size,
)

T = TypeVar("T")
Network = IPv4Network | IPv6Network

_RULE_NAME = re.compile(r"[a-z][a-z0-9-]{0,27}")
# The kernel sets `revoked_v4`, `probe_v6` … are dynallow's own.
_TAKEN = ("probe", "revoked")
_UNIX_PATH_MAX = 107  # sun_path less its zero byte, unix(7)
_DENIED_TTL_MAX_S = 3600  # longer, and a rule that is added would not be felt
_UID_MAX = 2**32 - 2  # 2³²-1 is "no user", chown(2)


def _from_text(kind: str, parse: Callable[[str], T]) -> PlainValidator:
    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise ValueError(f"expected {kind}, got {shown(value)}")
        return parse(value)

    return PlainValidator(read)


def _text_schema(description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, **more})


def _parse_denied_ttl(text: str) -> int:
    seconds = parse_duration(text)
    if seconds != int(seconds) or seconds > _DENIED_TTL_MAX_S:
        raise ValueError(
            f'expected whole seconds from 0s to {format_duration(_DENIED_TTL_MAX_S)}, got "{text}"'
        )
    return int(seconds)


def _parse_rule_name(text: str) -> str:
    if _RULE_NAME.fullmatch(text) is None:
        raise ValueError(
            "expected a name of 1 to 28 lower-case letters, digits and hyphens, a letter first, "
            f"got {shown(text)}"
        )
    if text in _TAKEN:
        raise ValueError(f'expected another name (dynallow\'s own kernel sets are called so), got "{text}"')
    return text


def _parse_network(text: str) -> Network:
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(f'expected an address or a prefix such as "10.0.0.0/8", got "{text}"') from None
    network = ip_network(interface.network)
    if interface.ip != network.network_address:
        raise ValueError(f'expected a prefix without host bits, "{network}", got "{text}"')
    return network


def _parse_user(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _UID_MAX:
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a user name or a number from 0 to {_UID_MAX}, got {shown(value)}")
    try:
        return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):  # ValueError: a zero byte in the name
        raise ValueError(f"expected a user that exists on this host, got {shown(value)}") from None


def _parse_data_type(text: str) -> int:
    number = parse_type(text)
    if not is_data_type(number):
        raise ValueError(f'expected a type whose records can be leased or passed on, got "{text}"')
    return number


def _parse_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"expected a date such as 2027-01-31, got {shown(value)}")


def _parse_socket(text: str) -> Path:
    if not text.startswith("/") or "\0" in text or len(text.encode()) > _UNIX_PATH_MAX:
        raise ValueError(f"expected an absolute path of at most {_UNIX_PATH_MAX} bytes, got {shown(text)}")
    return Path(text)


def _parse_list_path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(f"expected a file's path, got {shown(text)}")
    if "://" in text:
        raise ValueError(f"expected a file's path (lists are not fetched), got the URL {shown(text)}")
    return text


def _parse_metrics(text: str) -> Endpoint | None:
    return parse_endpoint(text) if text else None


def _parse_listen(text: str) -> Endpoint:
    return parse_endpoint(text, 53)


def _parse_text(text: str) -> str:
    # It goes into the log, into EDE texts and onto terminals.
    if not text.isprintable():
        raise ValueError(f"expected one line of printable text, got {shown(text)}")
    return text


_AS_TEXT = PlainSerializer(str, return_type=str)

Duration = Annotated[
    float,
    _from_text('a duration such as "30s"', parse_duration),
    PlainSerializer(format_duration, return_type=str),
    _text_schema("a duration: 500ms, 30s, 5m, 1h30m, 1d", pattern=r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$"),
]
ListenEndpoint = Annotated[
    Endpoint,
    _from_text('an endpoint such as "127.0.0.1:53"', _parse_listen),
    _AS_TEXT,
    _text_schema('"ADDRESS:PORT" or "[ADDRESS]:PORT"'),
]
MetricsEndpoint = Annotated[
    Endpoint | None,
    _from_text('an endpoint such as "127.0.0.1:9953", or ""', _parse_metrics),
    PlainSerializer(lambda endpoint: str(endpoint or ""), return_type=str),
    _text_schema('"ADDRESS:PORT", or empty'),
]
UpstreamText = Annotated[
    Upstream, _from_text("an upstream", parse_upstream), _AS_TEXT, _text_schema("a DNS server to ask")
]
PatternText = Annotated[
    Pattern, _from_text("a name pattern", parse_pattern), _AS_TEXT, _text_schema("a name pattern")
]
NameText = Annotated[
    Name,
    _from_text("a name", parse_name),
    PlainSerializer(to_text, return_type=str),
    _text_schema("a DNS name"),
]
PortText = Annotated[
    PortRange,
    _from_text('a port such as "tcp/443"', parse_port),
    _AS_TEXT,
    _text_schema("tcp/PORT, udp/PORT or tcp/FIRST-LAST", pattern=r"^(tcp|udp)/\d{1,5}(-\d{1,5})?$"),
]
RateText = Annotated[
    Rate,
    _from_text('a rate such as "50/second"', parse_rate),
    _AS_TEXT,
    _text_schema("COUNT/second, /minute, /hour or /day", pattern=r"^\d+/(second|minute|hour|day)$"),
]
NetworkText = Annotated[
    Network,
    _from_text('a prefix such as "10.0.0.0/8"', _parse_network),
    _AS_TEXT,
    _text_schema("an IPv4 or IPv6 address or prefix"),
]
RecordType = Annotated[
    int,
    _from_text('a record type such as "A"', _parse_data_type),
    PlainSerializer(type_text, return_type=str),
    _text_schema("a DNS record type, by name or TYPE123"),
]
User = Annotated[
    int,
    PlainValidator(_parse_user),
    WithJsonSchema({"type": ["string", "integer"], "description": "a user's name or number"}),
]
Day = Annotated[
    date | None,
    PlainValidator(_parse_date),
    _text_schema("a date, YYYY-MM-DD", format="date"),
]
RuleName = Annotated[
    str, _from_text("a name", _parse_rule_name), _text_schema("a name", pattern=r"^[a-z][a-z0-9-]{0,27}$")
]
SocketPath = Annotated[Path, _from_text("a path", _parse_socket), _AS_TEXT, _text_schema("an absolute path")]
ListPath = Annotated[str, _from_text("a path", _parse_list_path), _text_schema("a file, one pattern a line")]
Text = Annotated[str, _from_text("a text", _parse_text), _text_schema("one line of text")]
Flag = Annotated[bool, Strict()]
DeniedTtl = Annotated[
    int,
    _from_text("whole seconds from 0s to 1h", _parse_denied_ttl),
    PlainSerializer(format_duration, return_type=str),
    _text_schema("whole seconds, from 0s to 1h", pattern=r"^(\d+(ms|s|m|h))+$"),
]
Size = Annotated[
    int,
    _from_text('a size such as "64MiB"', parse_size),
    PlainSerializer(format_size, return_type=str),
    _text_schema("a size: 512KiB, 64MiB, 1GiB", pattern=r"^\d+(KiB|MiB|GiB)$"),
]
LogGroup = Annotated[int, Strict(), Field(ge=0, le=65535)]
Count = Annotated[int, Strict(), Field(ge=1, le=2**31 - 1)]
CountOrNone = Annotated[int, Strict(), Field(ge=0, le=2**31 - 1)]
