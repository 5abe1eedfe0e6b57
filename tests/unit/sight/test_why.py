"""Why something was denied, in one word, and the rule that comes nearest."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.rrtypes import A, parse_type
from dynallow.settings import Settings
from dynallow.sight.why import Flow, Held, allowing, of_flow, of_question, openers_of, port_text

TXT = parse_type("TXT")
HOST, OTHER = ip_address("192.0.2.10").packed, ip_address("198.51.100.7").packed
SETTINGS = Settings.model_validate(
    {
        "rule": [
            {"name": "web", "names": ["www.example.org"], "ports": ["tcp/443", "udp/443"]},
            {"name": "apt", "names": ["deb.example.org"], "ports": ["tcp/80"], "users": [42]},
        ],
        "destination": [
            {"name": "ntp", "addresses": ["198.51.100.0/24"], "ports": ["udp/123"], "users": [7]}
        ],
    }
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    builder = PolicyBuilder()
    web = builder.add_rule("web")
    builder.add_pattern(web, parse_pattern(".example.org"))
    builder.add_exception(web, parse_pattern("tracker.example.org"))
    builder.add_pattern(builder.add_rule("old", expires_at=100.0), parse_pattern("old.example.com"))
    return builder.build()


@pytest.mark.parametrize(
    ("name", "qtype", "filtered", "expected"),
    [
        ("evil.example.net", A, False, ("not-listed", "")),
        ("tracker.example.org", A, False, ("excepted", "web")),
        ("old.example.com", A, False, ("expired", "old")),
        ("printer.onion", A, False, ("reserved", "")),
        ("www.example.org", TXT, True, ("type", "web")),
    ],
)
def test_of_question_says_the_word_and_the_rule(
    policy: Policy, name: str, qtype: int, filtered: bool, expected: tuple[str, str]
) -> None:
    assert of_question(policy, parse_name(name), qtype, filtered, 200.0) == expected


@pytest.mark.parametrize(
    ("flow", "held", "expected"),
    [
        (Flow(OTHER, 17, 53, 0), Held(), ("dns", "")),
        (Flow(OTHER, 6, 853, 0), Held(), ("dns", "")),
        (Flow(HOST, 6, 80, 0), Held(live=["web"]), ("port", "web")),
        (Flow(HOST, 6, 80, 0), Held(live=["web", "apt"]), ("user", "apt")),
        (Flow(HOST, 6, 80, None), Held(live=["apt"]), ("user", "apt")),
        (Flow(HOST, 1, 0, 0), Held(live=["web"]), ("port", "web")),
        (Flow(OTHER, 17, 123, 0), Held(), ("user", "ntp")),
        (Flow(OTHER, 17, 124, 7), Held(), ("port", "ntp")),
        (Flow(HOST, 6, 443, 0), Held(lapsed=["web"], name="www.example.org"), ("lapsed", "web")),
        (Flow(HOST, 6, 443, 0), Held(live=["web"]), ("lapsed", "web")),
        (Flow(HOST, 6, 443, 0), Held(name="evil.example", unlisted=True), ("name", "")),
        (Flow(HOST, 6, 443, 0), Held(), ("no-name", "")),
        (Flow(HOST, 6, 443, 0), Held(live=["gone"]), ("no-name", "")),
    ],
)
def test_of_flow_says_the_word_and_what_comes_nearest(
    flow: Flow, held: Held, expected: tuple[str, str]
) -> None:
    assert of_flow(openers_of(SETTINGS), flow, held) == expected


@pytest.mark.parametrize(
    ("flow", "held", "expected"),
    [
        (Flow(OTHER, 17, 123, 7), Held(live=["web"]), "ntp"),
        (Flow(HOST, 17, 443, 5), Held(live=["web", "apt"]), "web"),
        (Flow(HOST, 6, 80, 42), Held(lapsed=["apt"]), "apt"),
        (Flow(HOST, 6, 80, 41), Held(live=["apt"]), ""),
    ],
)
def test_allowing_is_the_first_that_opens_the_port_to_the_user(flow: Flow, held: Held, expected: str) -> None:
    assert allowing(openers_of(SETTINGS), flow, held) == expected


@pytest.mark.parametrize(
    ("protocol", "port", "expected"),
    [(6, 443, "tcp/443"), (17, 53, "udp/53"), (1, 0, "icmp"), (58, 0, "icmpv6"), (47, 0, "47")],
)
def test_port_text_of_what_has_no_ports_is_the_protocol(protocol: int, port: int, expected: str) -> None:
    assert port_text(protocol, port) == expected
