"""Names: text and wire form, and what is no name."""

from __future__ import annotations

import pytest

from dynallow.policy.names import labels, parse_name, to_text


def test_parse_name_plain_gives_lower_wire_form() -> None:
    assert parse_name("Deb.Debian.ORG") == b"\x03deb\x06debian\x03org\x00"


def test_parse_name_trailing_dot_is_ignored() -> None:
    assert parse_name("deb.debian.org.") == parse_name("deb.debian.org")


def test_parse_name_dot_alone_is_the_root() -> None:
    assert parse_name(".") == b"\0"
    assert to_text(b"\0") == "."


@pytest.mark.parametrize("text", ["Bücher.example", "xn--bcher-kva.example", "BÜCHER。example"])
def test_parse_name_international_becomes_a_label(text: str) -> None:
    assert parse_name(text) == b"\x0dxn--bcher-kva\x07example\0"


def test_parse_name_63_byte_label_is_fine_and_64_is_not() -> None:
    assert labels(parse_name("a" * 63 + ".org")) == (b"a" * 63, b"org")
    with pytest.raises(ValueError, match="at most 63 characters, got 64"):
        parse_name("a" * 64 + ".org")


def test_parse_name_253_characters_are_fine_and_254_are_not() -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(parse_name(longest)) == 255
    with pytest.raises(ValueError, match="at most 253 characters, got 254"):
        parse_name(longest + "b")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "expected a name such as"),
        ("https://deb.debian.org/debian", "expected a host name alone, got the URL"),
        ("deb.debian.org/debian", "without a path"),
        ("deb.debian.org:443", "without a port"),
        ("192.0.2.1", "addresses go under"),
        ("2001:db8::1", "addresses go under"),
        ("[2001:db8::1]", "addresses go under"),
        ("10.0.0.0/8", "addresses go under"),
        ("a..b", "without empty labels"),
        (".a", "without empty labels"),
        ("a b.org", 'expected letters, digits, "-" and "_"'),
        ("*.org", 'expected letters, digits, "-" and "_"'),
        ("\u2260\u200b.org", "internationalized"),
    ],
)
def test_parse_name_other_than_a_name_is_refused_with_the_reason(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        parse_name(text)
    assert str(caught.value).startswith("expected ")
    assert ", got " in str(caught.value)


def test_to_text_odd_bytes_are_escaped_and_read_back() -> None:
    name = b"\x04a.b\x00\x01\\\x03\xff \x1b\x03org\0"
    assert to_text(name) == r"a\.b\000.\\.\255\032\027.org"
    assert parse_name(to_text(name)) == name


def test_labels_label_with_a_dot_byte_stays_one_label() -> None:
    assert labels(b"\x0bevil.debian\x03org\0") == (b"evil.debian", b"org")
