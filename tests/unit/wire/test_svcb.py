"""HTTPS records: hints are addresses too, and ECH would hide the name."""

from __future__ import annotations

import struct

import pytest

from dynallow.errors import WireError
from dynallow.wire.svcb import check_params, hints, priority, rebuild, target
from tests.unit.wire.messages import ONE, TWO

SIX = bytes.fromhex("20010db8000000000000000000000001")
MANDATORY, ALPN, NO_DEFAULT, PORT, HINT4, ECH, HINT6 = range(7)
H2 = b"\x02h2"


def svcb(params: dict[int, bytes], *, rank: int = 1, name: bytes = b"\0") -> bytes:
    body = b"".join(struct.pack(">HH", key, len(value)) + value for key, value in params.items())
    return struct.pack(">H", rank) + name + body


def keys(*wanted: int) -> bytes:
    return struct.pack(f">{len(wanted)}H", *wanted)


FULL = svcb({MANDATORY: keys(ALPN, ECH), ALPN: H2, HINT4: ONE + TWO, ECH: b"secret", HINT6: SIX, 65000: b"?"})


def test_hints_both_families_come_in_order() -> None:
    check_params(FULL)
    assert hints(FULL) == (ONE, TWO, SIX)


def test_hints_absent_or_in_alias_mode_are_none() -> None:
    assert hints(svcb({ALPN: H2})) == ()
    assert hints(svcb({HINT4: ONE}, rank=0)) == ()


def test_rebuild_drops_ech_and_what_is_not_kept() -> None:
    assert rebuild(FULL, {TWO, SIX}) == svcb(
        {MANDATORY: keys(ALPN), ALPN: H2, HINT4: TWO, HINT6: SIX, 65000: b"?"}
    )


def test_rebuild_without_kept_hints_drops_their_params() -> None:
    rebuilt = rebuild(FULL, frozenset())
    assert rebuilt == svcb({MANDATORY: keys(ALPN), ALPN: H2, 65000: b"?"})
    check_params(rebuilt)


def test_rebuild_mandatory_that_names_only_removed_keys_goes() -> None:
    assert rebuild(svcb({MANDATORY: keys(HINT4, ECH), HINT4: ONE, ECH: b"x"}), ()) == svcb({})


def test_rebuild_alias_mode_keeps_only_the_target() -> None:
    name = b"\x03CDN\x07example\x03net\0"
    assert rebuild(svcb({HINT4: ONE, ECH: b"x"}, rank=0, name=name), {ONE}) == svcb({}, rank=0, name=name)


def test_rebuild_of_a_harmless_record_changes_nothing() -> None:
    harmless = svcb({ALPN: H2 + b"\x02h3", NO_DEFAULT: b"", PORT: b"\x20\xfb"}, rank=16, name=b"\x01a\0")
    check_params(harmless)
    assert rebuild(harmless, ()) == harmless


def test_target_and_priority_are_read() -> None:
    rdata = svcb({}, rank=258, name=b"\x03CDN\x07Example\x03net\0")
    assert (priority(rdata), target(rdata)) == (258, b"\x03cdn\x07example\x03net\0")


@pytest.mark.parametrize(
    "rdata",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\x03cd",
        b"\0\1\xc0\x0c",
        b"\0\1" + (b"\x3f" + b"a" * 63) * 4 + b"\0",
        svcb({}) + b"\0",
        svcb({ALPN: H2})[:-1],
        svcb({PORT: b"\1\xbb", ALPN: H2}),
        svcb({PORT: b"\1"}),
        svcb({HINT4: b""}),
        svcb({HINT4: ONE + b"\0"}),
        svcb({HINT6: SIX[:8]}),
        svcb({NO_DEFAULT: b"x", ALPN: H2}),
        svcb({NO_DEFAULT: b""}),
        svcb({ALPN: b""}),
        svcb({ALPN: b"\0"}),
        svcb({ALPN: b"\x03h2"}),
        svcb({MANDATORY: b""}),
        svcb({MANDATORY: b"\0"}),
        svcb({MANDATORY: keys(MANDATORY)}),
        svcb({MANDATORY: keys(ALPN)}),
        svcb({MANDATORY: keys(PORT, ALPN), ALPN: H2, PORT: b"\1\xbb"}),
    ],
)
def test_check_params_malformed_record_is_refused(rdata: bytes) -> None:
    with pytest.raises(WireError):
        check_params(rdata)
