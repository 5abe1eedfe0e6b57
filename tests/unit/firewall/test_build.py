"""From settings to chains: the order of DESIGN section 8, and what each setting changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.firewall import ruleset as rs
from dynallow.firewall.build import Way, build_ruleset, merge_ports
from dynallow.firewall.text import render_table
from dynallow.settings import Destination, RuleSettings, Settings
from dynallow.units import PortRange, Protocol, parse_endpoint, parse_port

SERVER = parse_endpoint("10.10.0.10:53")
WAYS: Sequence[Way] = ((SERVER, "udp"), (SERVER, "tcp"))
API = {"name": "api", "names": ["api.example.org"]}
NTP = {"name": "ntp", "addresses": ["192.0.2.7"], "ports": ["udp/123"]}


def build(uid: int = 0, upstreams: Sequence[Way] = WAYS, **tables: object) -> rs.Ruleset:
    """The ruleset of these settings; enforce unless told."""
    return build_ruleset(Settings.model_validate({"mode": "enforce", **tables}), upstreams, uid)


def chain(table: rs.Ruleset, name: str) -> rs.Chain:
    (found,) = (chain for chain in table.chains if chain.name == name)
    return found


def lines(table: rs.Ruleset, name: str) -> list[str]:
    """A chain's rules as text, without its braces and hook."""
    only = rs.Ruleset((), (), (rs.Chain(name, chain(table, name).rules),))
    return [line.strip() for line in render_table(only).splitlines()[2:-2]]


def test_output_rules_stand_in_their_order() -> None:
    table = build(rule=[API], destination=[NTP])
    marks = [
        "exthdr rt exists goto denied",
        "ip option lsrr exists goto denied",
        "ct state established meta l4proto { tcp, udp } th dport != { 53, 853, 5353, 5355 } jump standing",
        "ip saddr != 0.0.0.0 fib saddr type != local goto denied",
        'oif "lo" accept',
        "ct status dnat fib daddr type local accept",
        "meta mark 0x64796e61 ip daddr 10.10.0.10 udp dport 53 accept",
        "meta l4proto { tcp, udp } th dport { 53, 853, 5353, 5355 } goto denied",
        "ct state established jump standing",
        "ct state related meta l4proto { icmp, ipv6-icmp } jump standing",
        "nd-router-solicit",
        "mld-listener-report",
        '"DHCP"',
        '"DHCPv6"',
        "ip daddr 192.0.2.7 udp dport 123 goto used",
        "ip daddr @api_v4 tcp dport 443 goto used",
        "ip6 daddr @api_v6 tcp dport 443 goto used",
    ]
    text = lines(table, "output")
    places = [next(at for at, line in enumerate(text) if mark in line) for mark in marks]
    assert places == sorted(places)
    assert text[-1] == "goto denied"


def test_standing_counts_not_for_cut_flows_nor_towards_revoked_addresses_but_for_others_flows() -> None:
    assert lines(build(rule=[API]), "standing") == [
        "ct mark 0x64796e6a return",
        "ct direction reply accept",
        "ip daddr @revoked_v4 return",
        "ip6 daddr @revoked_v6 return",
        "accept",
    ]


def test_established_is_accepted_nowhere_but_in_standing() -> None:
    table = build(rule=[API], destination=[NTP])
    told = [line for line in lines(table, "output") if "established" in line and "!=" not in line[:12]]
    assert len(told) == 2
    assert all(line.endswith("jump standing") for line in told)


def test_output_has_a_conntrack_expression_in_every_mode() -> None:
    """Without one the kernel does not reassemble, and a lone fragment passes."""
    for mode in ("observe", "enforce"):
        assert any("ct state" in line for line in lines(build(mode=mode), "output"))


def test_observe_has_the_same_output_rules_and_blocks_nothing() -> None:
    enforced, watched = (
        build(rule=[API], destination=[NTP]),
        build(mode="observe", rule=[API], destination=[NTP]),
    )
    assert chain(enforced, "output").rules == chain(watched, "output").rules
    assert chain(enforced, "output").hook == rs.Hook("filter", "filter", "drop")
    assert chain(watched, "output").hook == rs.Hook("filter", "filter", "accept")
    assert enforced.sets == watched.sets
    ended = [type(rule.statement) for rule in chain(watched, "denied").rules]
    assert ended == [rs.Jump]
    assert {one.name for one in watched.chains} == {
        "output",
        "standing",
        "used",
        "denied",
        "noted",
        "tallied",
    }
    assert all(chain(enforced, name) == chain(watched, name) for name in ("used", "noted", "tallied"))


@pytest.mark.parametrize(
    ("word", "refusal"),
    [
        (
            "reject",
            [
                "fib saddr type != local drop",
                "meta l4proto tcp reject with tcp reset",
                "reject with icmpx admin-prohibited",
            ],
        ),
        ("drop", ["drop"]),
    ],
)
def test_denied_logs_counts_and_then_refuses(word: str, refusal: list[str]) -> None:
    table = build(firewall={"denied": word, "log-rate": "9/minute", "log-group": 3})
    noted, *rest = lines(table, "denied")
    assert noted == "jump noted"
    log, count, tally = lines(table, "noted")
    assert log == 'limit rate 9/minute burst 180 packets log prefix "dynallow denied " group 3'
    assert count == 'counter name "denied"'
    assert tally == "jump tallied"
    assert rest == refusal
    assert chain(table, "denied").rules[-1].matches == (), "nothing may fall through"


def test_dns_reject_has_no_nat_chain() -> None:
    names = {one.name for one in build(firewall={"dns": "reject"}).chains}
    assert names == {"output", "standing", "used", "denied", "noted", "tallied"}


def test_nat_turns_stray_dns_to_the_loopback_listeners_after_the_agents_own() -> None:
    table = build(uid=993)
    text = lines(table, "nat_output")
    assert text[:2] == ["meta mark 0x64796e61 meta skuid 993 return", 'oif "lo" return']
    assert [line.rpartition(" ")[2] for line in text[2:]] == ["noted", ":53", "noted", ":53"]
    assert chain(table, "nat_output").hook == rs.Hook("nat", "-100", "accept")


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (["[::1]:5300"], ["ipv6 :5300"]),
        (["127.0.0.1:54", "[::1]:55"], ["ipv4 :54", "ipv6 :55"]),
        (["0.0.0.0:53"], ["ipv4 :53"]),
        (["192.0.2.1:53", "[2001:db8::1]:53"], []),
        (["127.0.0.53:53"], []),
    ],
)
def test_nat_only_where_a_listener_gets_what_is_redirected(listen: list[str], expected: list[str]) -> None:
    """`redirect` turns to 127.0.0.1 and ::1: nowhere else may a listener be taken for one."""
    text = lines(build(resolver={"listen": listen}), "nat_output")[3::2]
    assert [f"{line.split()[2]} {line.split()[-1]}" for line in text] == expected


def test_upstreams_only_the_agents_own_sockets_may_ask_them() -> None:
    rules = [rule for rule in chain(build(uid=993), "output").rules if rule.comment == "upstream"]
    assert len(rules) == 2
    for rule in rules:
        assert rs.Test("meta mark", ("0x64796e61",)) in rule.matches
        assert rs.ByUsers((993,)) in rule.matches
    rules = [rule for rule in chain(build(), "output").rules if rule.comment == "upstream"]
    assert all(not isinstance(match, rs.ByUsers) for rule in rules for match in rule.matches)


def test_upstreams_of_both_families_are_all_opened() -> None:
    """Endpoints of two families cannot be compared: resolv.conf with both once broke the start."""
    ways: list[Way] = [(parse_endpoint("[2001:db8::53]:53"), "tcp"), *WAYS, *WAYS]
    text = "\n".join(lines(build(upstreams=ways), "output"))
    assert text.count('accept comment "upstream"') == 3
    assert "ip6 daddr 2001:db8::53 udp" not in text  # each by what it is asked over, no other
    assert "ip6 daddr 2001:db8::53 tcp dport 53" in text


def test_sets_have_twice_the_budget_and_count_their_packets() -> None:
    table = build(rule=[API], lease={"max-per-rule": 7})
    sizes = {declared.name: (declared.family, declared.size, declared.counter) for declared in table.sets}
    assert sizes["api_v4"] == (4, 14, True)
    assert sizes["api_v6"] == (6, 14, True)
    assert {"revoked_v4", "revoked_v6"} < set(sizes)


def test_revoked_sets_hold_what_all_rules_can_lose_at_once() -> None:
    """A reload that drops every rule revokes every lease, in one go."""
    rules = [{"name": f"r{number}", "names": ["a.example.org"]} for number in range(5)]
    table = build(rule=rules, lease={"max-per-rule": 7})
    (size,) = {declared.size for declared in table.sets if declared.name == "revoked_v4"}
    assert size is None or size >= 5 * 7


def test_comment_is_one_line_without_quotes_and_within_what_nft_takes() -> None:
    reason = 'say "x" \\ ' + "ü" * 200
    table = build(rule=[{**API, "reason": reason}])
    comments = {rule.comment for rule in chain(table, "output").rules if rule.comment.startswith("api")}
    (comment,) = comments
    assert comment.startswith("api: say 'x' ' üüü")
    assert len(comment.encode()) <= 120
    assert not {'"', "\\", "\n", "\ufffd"} & set(comment)


def test_destination_prefixes_of_both_families_are_apart_and_joined() -> None:
    many = {**NTP, "addresses": ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "2001:db8::/32"]}
    text = [line for line in lines(build(destination=[many]), "output") if "dport 123" in line]
    assert text == [
        'ip daddr 10.0.0.0/8 udp dport 123 goto used comment "ntp"',
        'ip6 daddr 2001:db8::/32 udp dport 123 goto used comment "ntp"',
    ]


def test_rule_of_two_protocols_and_users_has_one_accept_each() -> None:
    rule = {**API, "ports": ["udp/443", "tcp/443", "tcp/80"], "users": [5, 0]}
    text = [line for line in lines(build(rule=[rule]), "output") if "@api_v4" in line]
    assert text == [
        'ip daddr @api_v4 tcp dport { 80, 443 } meta skuid { 0, 5 } goto used comment "api"',
        'ip daddr @api_v4 udp dport 443 meta skuid { 0, 5 } goto used comment "api"',
    ]


# ---------------------------------------------------------------- properties

_protocols: st.SearchStrategy[Protocol] = st.sampled_from(["tcp", "udp"])
_ranges = st.tuples(_protocols, st.integers(1, 65535), st.integers(0, 40)).map(
    lambda parts: PortRange(parts[0], parts[1], min(parts[1] + parts[2], 65535))
)


def _opened(ports: Sequence[PortRange]) -> set[tuple[str, int]]:
    return {(port.protocol, number) for port in ports for number in range(port.first, port.last + 1)}


@given(st.lists(_ranges, max_size=12))
def test_merge_ports_opens_the_same_ports_in_ranges_that_do_not_touch(ports: list[PortRange]) -> None:
    merged = merge_ports(ports)
    assert _opened(merged) == _opened(ports)
    for before, after in pairwise(merged):
        assert before < after
        assert before.protocol != after.protocol or before.last + 1 < after.first


def test_merge_ports_neighbours_and_nested_become_one() -> None:
    ports = [parse_port(text) for text in ("tcp/82-90", "tcp/80", "tcp/81", "tcp/10-1000", "udp/81")]
    assert [str(port) for port in merge_ports(ports)] == ["tcp/10-1000", "udp/81"]


_port_texts = st.lists(_ranges.map(str), min_size=1, max_size=4)
_users = st.lists(st.integers(0, 70000), max_size=3)
_names = st.lists(
    st.sampled_from(["a", "web-1", "tcp", "a-name-of-twenty-eight-bytes"]), max_size=3, unique=True
)
_addresses = st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), min_size=1, max_size=4)


@st.composite
def some_settings(draw: st.DrawFn) -> Settings:
    rules = [
        {"name": name, "names": ["a.example.org"], "ports": draw(_port_texts), "users": draw(_users)}
        for name in draw(_names)
    ]
    destinations = [
        {
            "name": f"x{name}"[:28],
            "addresses": draw(_addresses),
            "ports": draw(_port_texts),
            "users": draw(_users),
        }
        for name in draw(_names)
    ]
    firewall = {"dns": draw(st.sampled_from(["redirect", "reject"]))}
    mode = draw(st.sampled_from(["observe", "enforce"]))
    return Settings.model_validate(
        {"mode": mode, "firewall": firewall, "rule": rules, "destination": destinations}
    )


@given(some_settings(), st.integers(0, 5))
def test_build_every_accept_to_the_outside_names_protocol_and_ports(settings: Settings, uid: int) -> None:
    rules = chain(build_ruleset(settings, WAYS, uid), "output").rules
    for rule in rules:
        kinds = {type(match) for match in rule.matches}
        if rule.statement == rs.Goto("used"):
            assert rs.ToPorts in kinds
        if isinstance(rule.statement, rs.Accept) and rs.ToPorts not in kinds:
            # What names no ports is the host's own plumbing: state, loopback, ND, MLD, DHCP.
            assert kinds <= {rs.Test, rs.ToNetworks}
            fields = {match.field for match in rule.matches if isinstance(match, rs.Test)}
            assert fields & {"ct state", "ct status", "oif", "icmpv6 type", "udp sport"}, fields


@given(some_settings())
def test_build_every_rule_opens_its_ports_for_its_users_and_no_more(settings: Settings) -> None:
    rules = chain(build_ruleset(settings, WAYS, 0), "output").rules
    settled_all: list[RuleSettings | Destination] = [*settings.rules, *settings.destinations]
    for settled in settled_all:
        own = [rule for rule in rules if rule.comment == settled.name]
        ports = [port for rule in own for m in rule.matches if isinstance(m, rs.ToPorts) for port in m.ports]
        assert _opened(ports) == _opened(settled.ports)
        for rule in own:
            (to,) = (match for match in rule.matches if isinstance(match, rs.ToPorts))
            assert len({port.protocol for port in to.ports}) == 1
            users = [match.uids for match in rule.matches if isinstance(match, rs.ByUsers)]
            assert users == ([tuple(settled.users)] if settled.users else [])


def test_used_lets_every_packet_go_whether_or_not_it_can_be_counted() -> None:
    """A set that is full ends the rule that counts: the last one has no condition."""
    rules = chain(build(rule=[API]), "used").rules
    assert rules[0] == rs.Rule((rs.Test("ct state", ("established",)),), rs.Accept())
    assert all(isinstance(rule.statement, rs.Tally) and not rule.matches for rule in rules[1:-1])
    assert all(rule.statement.then == rs.Accept() for rule in rules if isinstance(rule.statement, rs.Tally))
    assert rules[-1] == rs.Rule((), rs.Accept())


def test_tallied_decides_nothing() -> None:
    """It is asked before the refusal: a verdict there would open the chain."""
    for rule in chain(build(rule=[API]), "tallied").rules:
        assert isinstance(rule.statement, rs.Tally)
        assert rule.statement.then == rs.Return()


def test_flow_sets_are_called_as_no_rules_sets_can_be() -> None:
    for flows in build(rule=[API]).flow_sets:
        with pytest.raises(ValueError, match="name"):
            build(rule=[{**API, "name": flows.name[:-3]}])
    assert {flows.name for flows in build().flow_sets} == {
        "used_flows_v4",
        "used_flows_v6",
        "denied_flows_v4",
        "denied_flows_v6",
    }


@pytest.mark.parametrize(
    ("rate", "burst"), [("50/second", 1000), ("5/minute", 100), ("1/day", 20), ("3000/second", 3000)]
)
def test_denied_logs_at_once_what_a_program_tries_when_it_starts(rate: str, burst: int) -> None:
    log = chain(build(firewall={"log-rate": rate}), "noted").rules[0].statement
    assert isinstance(log, rs.Log)
    assert log.burst == burst


@given(some_settings())
def test_uncounted_lets_through_and_refuses_the_same(settings: Settings) -> None:
    table = build_ruleset(settings, WAYS, 0)
    less = rs.uncounted(table)
    text = render_table(less)
    assert not less.flow_sets
    assert "update" not in text
    assert "flows" not in text
    assert {one.name for one in table.chains} - {one.name for one in less.chains} == {"used", "tallied"}
    assert render_table(table).count("goto used") + sum(
        render_table(rs.Ruleset((), (), (one,))).count(" accept")
        for one in table.chains
        if one.name not in ("used", "tallied")
    ) == text.count(" accept")
    assert rs.uncounted(less) is less


def test_build_everything_else_ends_in_denied() -> None:
    for one in (build(), build(mode="observe", rule=[API])):
        assert chain(one, "output").rules[-1] == rs.Rule((), rs.Goto("denied"))
