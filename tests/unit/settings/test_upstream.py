"""Upstreams: every spelling, its default port, and what is refused."""

from __future__ import annotations

import pytest

from dynallow.settings.upstream import parse_upstream


@pytest.mark.parametrize(
    ("text", "kind", "endpoint", "server_name", "url"),
    [
        ("system", "system", "None", "", ""),
        ("192.0.2.1", "udp", "192.0.2.1:53", "", ""),
        ("192.0.2.1:5353", "udp", "192.0.2.1:5353", "", ""),
        ("2001:db8::1", "udp", "[2001:db8::1]:53", "", ""),
        ("[2001:db8::1]:5353", "udp", "[2001:db8::1]:5353", "", ""),
        ("udp://192.0.2.1", "udp", "192.0.2.1:53", "", ""),
        ("tcp://192.0.2.1", "tcp", "192.0.2.1:53", "", ""),
        ("tls://192.0.2.1#dns.example", "tls", "192.0.2.1:853", "dns.example", ""),
        ("tls://[2001:db8::1]:8853", "tls", "[2001:db8::1]:8853", "", ""),
        ("https://dns.example/q#192.0.2.1", "https", "192.0.2.1:443", "dns.example", "https://dns.example/q"),
        (
            "https://dns.example:8443/q#::1",
            "https",
            "[::1]:8443",
            "dns.example",
            "https://dns.example:8443/q",
        ),
        ("https://192.0.2.1/q", "https", "192.0.2.1:443", "192.0.2.1", "https://192.0.2.1/q"),
    ],
)
def test_parse_upstream_spelling_is_read_and_given_back(
    text: str, kind: str, endpoint: str, server_name: str, url: str
) -> None:
    upstream = parse_upstream(text)
    assert (upstream.kind, str(upstream.endpoint)) == (kind, endpoint)
    assert (upstream.server_name, upstream.url) == (server_name, url)
    assert str(upstream) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "System",
        "dns.example",
        "quic://192.0.2.1",
        "tls://dns.example",
        "tls://192.0.2.1#",
        "tls://192.0.2.1#a b",
        "https://dns.example/q",
        "https://dns.example#192.0.2.1",
        "https://u@dns.example/q#192.0.2.1",
        "https:///q#192.0.2.1",
        "https://dns.example/q\r\nx: y#192.0.2.1",
        "https://dns.example/a b#192.0.2.1",
        "https://d\u00e4s.example/q#192.0.2.1",
        "https://dns.example/q{?dns}#192.0.2.1",
        "https://dns..example/q#192.0.2.1",
        "https://[x/q#192.0.2.1",
        "https://dns.example:99999/q#192.0.2.1",
        "192.0.2.1:0",
    ],
)
def test_parse_upstream_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, got "):
        parse_upstream(text)
