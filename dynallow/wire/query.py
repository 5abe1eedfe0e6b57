"""The question that goes upstream.

Knows the message format only; whose question it is and where it goes is the
resolver's. Invariant: what is sent is exactly what `parse_response` compares
the echo with: the section as given, class IN.
"""

from __future__ import annotations

import struct
from typing import Final

from dynallow.wire import numbers as n
from dynallow.wire.names import Name

_head: Final = struct.Struct(">6H").pack
_tail: Final = struct.Struct(">HHBHHIH").pack
_type_and_class: Final = struct.Struct(">HH").pack
_opt: Final = struct.Struct(">BHHIH").pack
_option: Final = struct.Struct(">HH").pack
_u16: Final = struct.Struct(">H").pack
_OPT_FLAGS: Final = 7  # in an OPT record (RFC 6891 section 6.1.3)
_from_bytes: Final = int.from_bytes
_BEFORE_COOKIE: Final = 4 + 11 + 4  # type and class, a bare OPT, the option's code and length


def build_query(id: int, name: Name, qtype: int, how: int = 0, *, udp_size: int = n.UDP_SAFE) -> bytes:
    """A recursive query for `name`, `qtype`, IN, with an OPT record.

    `how` is DO (RFC 3225), CD (RFC 4035 section 3.2.2), both, or neither: two bits that do not overlap.
    """
    return (
        _head(id, n.RD | how & n.CD, 1, 0, 0, 1)
        + name
        + _tail(qtype, n.CLASS_IN, 0, n.OPT, udp_size, how & n.DO, 0)
    )


def build_mixed(id: int, name: Name, qtype: int, opt: bytes, noise: bytes, how: int = 0) -> bytes:
    """The same with the OPT record `opt`, and each letter in upper case where its byte of `noise` says so.

    That is in the bit 0x20, which gave the trick its name; `noise` is as long as the name, or empty for
    lower case throughout. Label lengths are below 64, where nothing has a case.
    """
    if noise:
        lower = _from_bytes(name)
        letters = lower ^ _from_bytes(name.upper())
        name = (lower ^ letters & _from_bytes(noise)).to_bytes(len(name))
    if how:
        opt = with_how(opt, how)
    return _head(id, n.RD | how & n.CD, 1, 0, 0, 1) + name + _type_and_class(qtype, n.CLASS_IN) + opt


def with_how(opt: bytes, how: int) -> bytes:
    """The OPT record, which has no flags, with DO if that is in `how`."""
    return opt[:_OPT_FLAGS] + _u16(how & n.DO) + opt[_OPT_FLAGS + 2 :]


def cookie_opt(cookie: bytes, udp_size: int = n.UDP_SAFE) -> bytes:
    """An OPT record with a COOKIE option (RFC 7873 section 4); with none when `cookie` is empty."""
    option = _option(n.COOKIE, len(cookie)) + cookie if cookie else b""
    return _opt(0, n.OPT, udp_size, 0, len(option)) + option


def cookie_in(query: bytes, name: Name, size: int) -> bytes:
    """The first `size` bytes of the cookie in such a query for `name`; empty without one."""
    start = n.HEADER_SIZE + len(name) + _BEFORE_COOKIE
    return query[start : start + size]
