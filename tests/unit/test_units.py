"""Quantities: what people write reads back, and what they must not write is refused with the reason."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dynallow.durations import format_duration, parse_duration
from dynallow.units import Endpoint, PortRange, Rate, parse_endpoint, parse_port, parse_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("5m", 300), ("1h30m", 5400), ("1d", 86400), ("1w", 604800), ("0s", 0)],
)
def test_duration_valid_text_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "5S", "1h 30m", "5sx", "٥s5"])
def test_duration_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59, "59s"), (60, "1m"), (5400, "1h30m"), (93784, "1d2h"), (86400, "1d")],
)
def test_format_duration_prints_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rate_valid_text_reads_back() -> None:
    assert parse_rate("50/second") == Rate(50, "second")
    assert str(parse_rate("3/hour")) == "3/hour"


@pytest.mark.parametrize("text", ["", "0/second", "50", "50/s", "-1/second", "50/second "])
def test_rate_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a rate"):
        parse_rate(text)


def test_port_single_and_range_read_back() -> None:
    assert parse_port("tcp/443") == PortRange("tcp", 443, 443)
    assert str(parse_port("udp/6000-6010")) == "udp/6000-6010"
    assert str(parse_port("tcp/65535")) == "tcp/65535"


@pytest.mark.parametrize("text", ["", "443", "tcp/0", "tcp/65536", "tcp/9-8", "sctp/1", "TCP/1", "tcp/1-"])
def test_port_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'^expected "tcp/PORT"'):
        parse_port(text)


def test_port_range_contains_only_what_it_covers() -> None:
    wide = PortRange("tcp", 10, 20)
    assert PortRange("tcp", 10, 20) in wide
    assert PortRange("tcp", 10, 21) not in wide
    assert PortRange("udp", 10, 11) not in wide


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("127.0.0.1:53", "127.0.0.1:53"),
        ("[::1]:5353", "[::1]:5353"),
        ("::1", "[::1]:53"),
        ("9.9.9.9", "9.9.9.9:53"),
    ],
)
def test_endpoint_valid_text_reads_back(text: str, printed: str) -> None:
    assert str(parse_endpoint(text, 53)) == printed


def test_endpoint_without_port_and_default_is_refused() -> None:
    with pytest.raises(ValueError, match=r'^expected "ADDRESS:PORT"'):
        parse_endpoint("127.0.0.1")
    assert parse_endpoint("127.0.0.1:1") == Endpoint(ip_address("127.0.0.1"), 1)


@pytest.mark.parametrize(
    "text", ["", "x:53", "127.0.0.1:0", "127.0.0.1:65536", "[127.0.0.1", "::1:53:x", "1.2.3:4"]
)
def test_endpoint_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'^expected "ADDRESS:PORT"'):
        parse_endpoint(text, 53)
