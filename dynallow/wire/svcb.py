"""HTTPS and SVCB rdata (RFC 9460): addresses out of it, and a trimmed copy back.

Knows parameters; must not know which addresses are allowed: the caller says
which to keep. Invariant: a copy from `rebuild` holds no address outside `keep`
and no ECH key. With ECH the server name that a client really wants is hidden
from everybody on the way, and an allow-list of names would be one in name only.

All functions but `check_params` take rdata that it has passed.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from typing import Final

from dynallow.errors import WireError
from dynallow.wire.names import LABEL_MAX, LABELS, NAME_MAX, Name

_two_words: Final = struct.Struct(">HH")

_MANDATORY: Final = 0
_ALPN: Final = 1
_NO_DEFAULT_ALPN: Final = 2
_PORT: Final = 3
_IPV4HINT: Final = 4
_ECH: Final = 5
_IPV6HINT: Final = 6
# More than any service has; without a bound one record could keep its reader busy for 30 ms.
_PARAMS_MAX: Final = 32
_PROTOCOLS_MAX: Final = 128
_HINT_SIZES: Final = {_IPV4HINT: 4, _IPV6HINT: 16}


def check_params(rdata: bytes) -> None:
    """Raise WireError unless `rdata` is a well-formed SVCB record.

    The target must be uncompressed and the keys strictly ascending (sections
    2.2 and 14.3.2); the values that clients act on must have their right form.
    """
    try:
        pos = _params_start(rdata)
        if pos > len(rdata):
            raise WireError("SVCB target is cut off")
        last = -1
        values: dict[int, bytes] = {}
        while pos < len(rdata):
            key, length = _two_words.unpack_from(rdata, pos)
            if key <= last:
                raise WireError(f"SVCB key {key} after key {last}")
            pos += 4 + length
            values[key] = rdata[pos - length : pos]
            last = key
            if len(values) > _PARAMS_MAX:
                raise WireError(f"more than {_PARAMS_MAX} SVCB parameters")
        if pos != len(rdata):
            raise WireError("SVCB parameter runs past its record")
    except (IndexError, struct.error) as error:
        raise WireError("SVCB record is cut off") from error
    _check_values(values)


def _check_values(values: dict[int, bytes]) -> None:
    """Raise WireError for a malformed value (RFC 9460 sections 7 and 8)."""
    for key, size in _HINT_SIZES.items():
        if key in values and (not values[key] or len(values[key]) % size):
            raise WireError(f"SVCB address hint of {len(values[key])} bytes")
    if len(values.get(_PORT, b"00")) != 2 or values.get(_NO_DEFAULT_ALPN):
        raise WireError("SVCB port or no-default-alpn of a wrong length")
    if _NO_DEFAULT_ALPN in values and _ALPN not in values:
        raise WireError("SVCB no-default-alpn without alpn")
    if _ALPN in values:
        _check_alpn(values[_ALPN])
    if _MANDATORY in values:
        _check_mandatory(values[_MANDATORY], values)


def _check_alpn(value: bytes) -> None:
    """Protocol ids: non-empty strings with a length byte, at least one and not too many."""
    pos = 0
    for _ in range(_PROTOCOLS_MAX):
        if pos >= len(value) or not value[pos]:
            break
        pos += value[pos] + 1
    if pos != len(value) or not value:
        raise WireError("SVCB alpn is malformed")


def _check_mandatory(value: bytes, values: dict[int, bytes]) -> None:
    """Keys strictly ascending, each present, and never `mandatory` itself."""
    if not value or len(value) % 2 or len(value) > 2 * len(values):
        raise WireError(f"SVCB mandatory of {len(value)} bytes")
    last = _MANDATORY
    for key in _keys(value):
        if key <= last or key not in values:
            raise WireError(f"SVCB mandatory key {key} is out of order or absent")
        last = key


def priority(rdata: bytes) -> int:
    """0 for AliasMode, else the order in which clients try the records."""
    return rdata[0] << 8 | rdata[1]


def target(rdata: bytes) -> Name:
    """The target name, lower-cased; the root stands for the owner itself (section 2.5)."""
    return rdata[2 : _params_start(rdata)].lower()


def hints(rdata: bytes) -> tuple[bytes, ...]:
    """The packed addresses in ipv4hint and ipv6hint, in order.

    None in AliasMode, where clients ignore every parameter (section 2.4.2).
    """
    found: list[bytes] = []
    for key, value in _params(rdata):
        size = _HINT_SIZES.get(key)
        if size:
            found.extend(_split(value, size))
    return tuple(found)


def rebuild(rdata: bytes, keep: Container[bytes]) -> bytes:
    """The record without `ech` and without the hints that are not in `keep`.

    A key that loses its parameter leaves `mandatory` as well: a client must
    treat a record that demands an absent key as malformed (section 8).
    """
    values: dict[int, bytes] = {}
    for key, value in _params(rdata):
        size = _HINT_SIZES.get(key)
        if size:
            value = b"".join(address for address in _split(value, size) if address in keep)
        if key != _ECH and (value or not size):
            values[key] = value
    if _MANDATORY in values:
        demanded = [key for key in _keys(values.pop(_MANDATORY)) if key in values]
        if demanded:
            # First again: keys ascend, and this one is 0.
            values = {_MANDATORY: struct.pack(f">{len(demanded)}H", *demanded), **values}
    params = (_two_words.pack(key, len(value)) + value for key, value in values.items())
    return rdata[: _params_start(rdata)] + b"".join(params)


def _params_start(rdata: bytes) -> int:
    """Where the parameters begin: after priority and an uncompressed name."""
    pos = 2
    for _ in LABELS:
        length = rdata[pos]
        if not 0 < length <= LABEL_MAX:
            break
        pos += length + 1
    if length or pos - 1 > NAME_MAX:
        raise WireError("SVCB target is compressed or too long")
    return pos + 1


def _params(rdata: bytes) -> Iterator[tuple[int, bytes]]:
    """Each key and value; none in AliasMode."""
    pos = _params_start(rdata) if priority(rdata) else len(rdata)
    while pos < len(rdata):
        key, length = _two_words.unpack_from(rdata, pos)
        pos += 4 + length
        yield key, rdata[pos - length : pos]


def _keys(value: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(value) // 2}H", value)


def _split(value: bytes, size: int) -> Iterator[bytes]:
    return (value[pos : pos + size] for pos in range(0, len(value), size))
