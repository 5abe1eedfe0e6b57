"""Names that no rule can list, and names as a search list makes them."""

from __future__ import annotations

import pytest

from dynallow.policy import parse_name, parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.reserved import CANARY, INVALID, LOCALHOST, ONION, reserved, without_suffix
from dynallow.policy.verdict import ALLOWED, DENIED

A, PTR = 1, 12
CORP, LAB = parse_name("corp.example"), parse_name("lab.corp.example")


def policy(*patterns: str) -> Policy:
    builder = PolicyBuilder()
    rule = builder.add_rule("web")
    for pattern in patterns:
        builder.add_pattern(rule, parse_pattern(pattern))
    builder.set_apart([CORP])
    return builder.build()


@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("localhost", LOCALHOST),
        ("a.b.localhost", LOCALHOST),
        ("x.invalid", INVALID),
        ("x.onion", ONION),
        ("use-application-dns.net", CANARY),
        ("www.use-application-dns.net", CANARY),
    ],
)
def test_reserved_name_is_found_and_no_pattern_lists_it(name: str, top: bytes) -> None:
    wire = parse_name(name)
    assert reserved(wire) == top
    wide = policy(name, f".{name.rpartition('.')[2]}", "*.*", "deb.example.org")
    assert wide.decide(wire, A, 0.0).outcome is DENIED
    assert wide.decide(parse_name("deb.example.org"), A, 0.0).outcome is ALLOWED


@pytest.mark.parametrize(
    "name",
    [
        b"\x0bx\x09localhost\0",  # one label that holds the other's ending
        parse_name("localhost.example.org"),
        parse_name("xlocalhost"),
        parse_name("xuse-application-dns.net"),
        b"\x19x\x13use-application-dns\x03net\0",
        b"\0",
    ],
)
def test_reserved_name_that_only_looks_like_one_is_none(name: bytes) -> None:
    assert reserved(name) is None


def test_decide_names_beside_the_canary_stay_allowed() -> None:
    wide = policy(".net")
    assert wide.decide(parse_name("www.xuse-application-dns.net"), A, 0.0).outcome is ALLOWED
    assert wide.decide(parse_name("example.net"), A, 0.0).outcome is ALLOWED


@pytest.mark.parametrize("name", ["a.arpa", "arpa", "a.in-addr.arpa", "a.example", "a.corp.example"])
def test_decide_names_set_apart_have_no_kin_above_them(name: str) -> None:
    """Else a denial of "a.arpa" would be given for "1.2.0.192.in-addr.arpa" again, leased or not."""
    verdict = policy("deb.example.org").decide(parse_name(name), PTR, 0.0)
    assert (verdict.outcome, verdict.kin) == (DENIED, 0)
    assert Policy().decide(parse_name("a.b.arpa"), PTR, 0.0).kin == 2


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("deb.example.org.corp.example", "deb.example.org"),
        ("x.lab.corp.example", "x.lab"),
        ("corp.example", None),
        ("corp.example.org", None),
        ("xcorp.example", None),
    ],
)
def test_without_suffix_strips_whole_labels_once(name: str, bare: str | None) -> None:
    expected = None if bare is None else parse_name(bare)
    assert without_suffix(parse_name(name), [CORP, LAB]) == expected


def test_without_suffix_label_that_holds_the_suffix_is_none() -> None:
    assert without_suffix(b"\x0ex" + CORP, [CORP]) is None
    assert without_suffix(parse_name("a.example"), [b"\0"]) is None
