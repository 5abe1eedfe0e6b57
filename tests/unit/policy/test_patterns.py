"""Patterns: the forms of DESIGN section 7, and the public-suffix guard."""

from __future__ import annotations

import pytest

from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.settings.suffixes import covers_public_suffix


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("x.example", ["x.example"], ["a.x.example", "example", "notx.example", "xx.example"]),
        ("*.x.example", ["a.x.example", "a.b.x.example"], ["x.example", "ax.example"]),
        (".x.example", ["x.example", "a.x.example", "a.b.x.example"], ["notx.example", "example"]),
        ("s3.*.amazonaws.com", ["s3.eu.amazonaws.com"], ["s3.amazonaws.com", "s3.a.b.amazonaws.com"]),
        (
            "mirror-*.x.example",
            ["mirror-1.x.example", "mirror-.x.example"],
            ["mirror.x.example", "mirror-1.y.x.example"],
        ),
        (
            "*.s3.*.amazonaws.com",
            ["b.s3.eu.amazonaws.com", "a.b.s3.eu.amazonaws.com"],
            ["s3.eu.amazonaws.com"],
        ),
        (".s3.*.amazonaws.com", ["b.s3.eu.amazonaws.com", "s3.eu.amazonaws.com"], ["s3.amazonaws.com"]),
        ("*.*.x.example", ["a.b.x.example", "a.b.c.x.example"], ["a.x.example"]),
        ("a*z.example", ["az.example", "abz.example"], ["a.example", "z.example"]),
        ("aa*aa.example", ["aaaa.example"], ["aaa.example"]),
        ("_dmarc.x.example", ["_DMARC.x.example"], ["dmarc.x.example"]),
    ],
)
def test_pattern_form_matches_exactly_its_names(pattern: str, yes: list[str], no: list[str]) -> None:
    parsed = parse_pattern(pattern)
    assert [name for name in yes if not parsed.matches(parse_name(name))] == []
    assert [name for name in no if parsed.matches(parse_name(name))] == []


def test_pattern_label_with_a_dot_byte_does_not_fake_a_boundary() -> None:
    assert not parse_pattern(".debian.org").matches(b"\x0bevil.debian\x03org\0")
    assert not parse_pattern("deb.debian.org").matches(b"\x0adeb.debian\x03org\0")


@pytest.mark.parametrize(
    "text", ["x.example", "*.x.example", ".x.example", "*.s3.*.a.example", ".a-*b.example"]
)
def test_pattern_text_reads_back(text: str) -> None:
    assert str(parse_pattern(text)) == text
    assert parse_pattern(f"  {text.upper()}.  ") == parse_pattern(text)


def test_pattern_international_is_stored_as_a_label() -> None:
    assert str(parse_pattern("*.Bücher.example")) == "*.xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "expected a name such as"),
        ("*", "expected a name with the wildcard"),
        (".", "expected a name with the wildcard"),
        ("*.", "expected a name with the wildcard"),
        ("..", "without empty labels"),
        ("a..b", "without empty labels"),
        ("a.**.b", r'at most one "\*" in a label'),
        ("a*b*.example", r'at most one "\*" in a label'),
        ("http://x.example", "got the URL"),
        ("*.x.example/path", "without a path"),
        (".x.example:443", "without a port"),
        ("192.0.2.1", r"\[\[destination\]\]"),
        ("192.0.2.0/24", r"\[\[destination\]\]"),
        ("a" * 64 + ".example", "at most 63"),
        (".".join(["a" * 63] * 4), "at most 253"),
        ("bü*.example", "wildcard label in ASCII"),
        ("a!.example", "expected letters"),
    ],
)
def test_pattern_other_text_is_refused_with_the_reason(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        parse_pattern(text)
    assert str(caught.value).startswith("expected ")


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("*.com", "com"),
        (".com", "com"),
        (".co.uk", "co.uk"),
        ("*.github.io", "github.io"),
        (".github.io", "github.io"),
        ("*.*.com", "*.com"),
        ("www.*.com", "com"),
        ("mirror-*.co.uk", "co.uk"),
        ("*.co.*", "co.*"),
        ("www.*", "."),
        ("*.brand-new-tld", "brand-new-tld"),
        ("*.kawasaki.jp", "kawasaki.jp"),
        ("*.xn--p1ai", "xn--p1ai"),
    ],
)
def test_covers_public_suffix_wildcard_right_below_one_is_found(text: str, suffix: str) -> None:
    assert covers_public_suffix(parse_pattern(text)) == suffix


@pytest.mark.parametrize(
    "text",
    [
        "com",
        "co.uk",
        "*.example.com",
        ".example.co.uk",
        "*.x.github.io",
        "s3.*.amazonaws.com",
        "*.internal",
        ".home.arpa",
    ],
)
def test_covers_public_suffix_name_of_one_owner_is_fine(text: str) -> None:
    assert covers_public_suffix(parse_pattern(text)) is None
