"""The rendered ruleset in the real kernel: what is loaded is what is listed, and steps keep leases."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from dynallow.errors import KernelError
from dynallow.firewall import load
from dynallow.firewall import ruleset as rs
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_present
from dynallow.firewall.step import PresentChain, PresentSet, SetShape
from dynallow.firewall.text import render_table
from tests.golden.cases import NAMES, build, golden
from tests.netns.kernel import bare_network, flush, listed, members, nft

ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
SIX = ip_address("2001:db8::1").packed


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with bare_network(tmp_path_factory.mktemp("net")):
        yield


@pytest.fixture
def elements() -> Iterator[ElementSocket]:
    flush()
    opened = ElementSocket()
    yield opened
    opened.close()


def put(elements: ElementSocket, *wanted: Element) -> None:
    batch = Batch()
    for element in wanted:
        batch.add(element)
    elements.commit(batch)


def small(budget: int = 100, *rules: str) -> rs.Ruleset:
    """A ruleset with a set of `budget` for each rule and family."""
    sets = tuple(
        rs.AddressSet(rs.set_name(rule, family), family, budget, True)
        for rule in rules or ("web",)
        for family in (4, 6)
    )
    chain = rs.Chain(
        "output",
        tuple(rs.Rule((rs.InSet(one.name, one.family),), rs.Drop()) for one in sets),
        rs.Hook("filter", "filter", "accept"),
    )
    return rs.Ruleset(("denied",), sets, (chain,))


@pytest.mark.parametrize("name", NAMES)
def test_load_golden_ruleset_is_listed_exactly_as_rendered(elements: ElementSocket, name: str) -> None:
    nft("-f", "-", stdin=golden(name))
    assert listed() == golden(name)


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(NAMES, 2)])
def test_load_from_any_ruleset_to_any_other_gives_the_other_and_keeps_what_stays(
    elements: ElementSocket, before: str, after: str
) -> None:
    old, new = build(before), build(after)
    load.load(old, elements)
    stays = {one.name for one in old.sets} & {one.name for one in new.sets}
    for declared in old.sets:
        address = ONE if declared.family == 4 else SIX
        put(elements, Element(declared.name, address, 500_000, b"a.example.org"))
    load.load(new, elements)
    text = listed().splitlines()
    wanted = render_table(new).splitlines()
    assert [line for line in text if "set " in line or "chain " in line or "hook" in line] == [
        line for line in wanted if "set " in line or "chain " in line or "hook" in line
    ]
    assert sum("accept" in line for line in text) == sum("accept" in line for line in wanted)
    for declared in new.sets:
        if declared.name in stays:
            (member,) = members(declared.name).values()
            assert member.comment == "a.example.org"
            assert member.expires_s is not None
            assert 480.0 < member.expires_s <= 500.0
        else:
            assert not members(declared.name)


def test_load_twice_changes_nothing(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements)
    put(elements, Element("api_v4", ONE, 500_000, b""))
    first = listed()
    load.load(build("enforce"), elements)
    assert listed() == first
    assert set(members("api_v4")) == {ONE}


def test_load_set_that_is_not_remade_keeps_its_counters(elements: ElementSocket) -> None:
    load.load(small(), elements)
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 counter packets 7 bytes 8 timeout 9m }")
    load.load(small(), elements)
    assert members("web_v4")[ONE].packets == 7


def test_read_present_sees_named_sets_with_size_and_every_chain(elements: ElementSocket) -> None:
    nft("add", "table", "inet", "other")
    nft("add", "set", "inet", "other", "foreign", "{ type ipv4_addr; }")
    nft("add", "table", "ip", "dynallow")
    nft("add", "chain", "ip", "dynallow", "elsewhere")
    assert read_present().sets == ()
    load.load(build("enforce"), elements)
    present = read_present()
    assert PresentSet("api_v4", SetShape(4, 131072, True)) in present.sets
    assert PresentSet("api_v6", SetShape(6, 131072, True)) in present.sets
    assert PresentSet("used_flows_v6", SetShape(6, 16384, False, 5400)) in present.sets
    table = build("enforce")
    named = {one.name for one in table.sets} | {one.name for one in table.flow_sets}
    assert {one.name for one in present.sets} == named
    assert set(present.chains) == {
        PresentChain("output", ("filter", 3, 0)),
        PresentChain("standing", None),
        PresentChain("used", None),
        PresentChain("denied", None),
        PresentChain("noted", None),
        PresentChain("tallied", None),
        PresentChain("nat_output", ("nat", 3, -100)),
        PresentChain("redirected", ("filter", 4, 0)),
    }


def test_load_other_tables_are_not_touched(elements: ElementSocket) -> None:
    nft("add", "table", "inet", "other")
    nft("add", "set", "inet", "other", "s", "{ type ipv4_addr; elements = { 192.0.2.9 }; }")
    nft("add", "chain", "inet", "other", "output")
    load.load(build("enforce"), elements)
    load.load(build("drop"), elements)
    assert "192.0.2.9" in nft("list", "set", "inet", "other", "s")
    assert "chain output" in nft("list", "table", "inet", "other")


def test_load_larger_and_smaller_budget_carries_every_element(elements: ElementSocket) -> None:
    load.load(small(100), elements)
    addresses = [bytes([198, 51, 100, number]) for number in range(50)]
    put(elements, *(Element("web_v4", one, 300_000, b"a.example.org") for one in addresses))
    put(elements, Element("web_v6", SIX, 300_000, b""))
    for budget in (200, 50):
        load.load(small(budget), elements)
        assert f"size {budget}" in listed()
        held = members("web_v4")
        assert set(held) == set(addresses)
        assert {one.comment for one in held.values()} == {"a.example.org"}
        assert all(one.expires_s is not None and 280.0 < one.expires_s <= 300.0 for one in held.values())
        assert set(members("web_v6")) == {SIX}


def test_load_budget_change_carries_an_element_with_the_longest_comment(elements: ElementSocket) -> None:
    """nft takes 128 bytes of comment, the kernel 255: such a one goes over whole."""
    load.load(small(100), elements)
    put(elements, Element("web_v4", ONE, 300_000, b"x" * 240))
    load.load(small(200), elements)
    assert [member.comment for member in elements.dump("web_v4")] == ["x" * 240]


def test_load_budget_below_what_is_held_still_loads(elements: ElementSocket) -> None:
    """Fewer leases than are live: the rest may lapse, but the new rules must come into force."""
    load.load(small(100), elements)
    put(elements, *(Element("web_v4", bytes([198, 51, 100, n]), 300_000, b"") for n in range(50)))
    load.load(small(10), elements)
    assert "size 10" in listed()
    assert len(members("web_v4")) <= 10


def test_load_element_with_a_comment_nft_cannot_read_is_carried(elements: ElementSocket) -> None:
    load.load(small(100), elements)
    put(elements, Element("web_v4", ONE, 300_000, b'a"; flush ruleset; "'))
    put(elements, Element("web_v4", TWO, 300_000, b"\xff"))
    load.load(small(200), elements)
    assert set(members("web_v4")) == {ONE, TWO}


def test_load_permanent_element_of_a_stranger_does_not_become_a_fault(elements: ElementSocket) -> None:
    load.load(small(100), elements)
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 }")
    load.load(small(200), elements)
    assert members("web_v4").get(ONE) is None or members("web_v4")[ONE].expires_s is not None


INTRUSIONS = {
    "rule": "insert rule inet dynallow output accept",
    "chain with a jump": (
        "add chain inet dynallow side\nadd rule inet dynallow side accept\n"
        "insert rule inet dynallow output jump side"
    ),
    "base chain": "add chain inet dynallow late { type filter hook output priority 100; policy drop; }",
    "set": "add set inet dynallow mine { type ipv4_addr; }",
    "set in use": (
        "add set inet dynallow mine { type inet_service; }\n"
        "insert rule inet dynallow output tcp dport @mine accept"
    ),
    "map": "add map inet dynallow mine { type ipv4_addr : verdict; }",
    "policy": "add chain inet dynallow output { type filter hook output priority filter; policy accept; }",
}


@pytest.mark.parametrize("kind", INTRUSIONS)
def test_load_what_a_stranger_added_goes(elements: ElementSocket, kind: str) -> None:
    table = build("enforce")
    load.load(table, elements)
    nft("-f", "-", stdin=INTRUSIONS[kind])
    assert listed() != render_table(table)
    load.load(table, elements)
    assert listed() == render_table(table)


STRANGERS = {
    "another hook": "add chain inet dynallow output { type filter hook input priority 0; }",
    "denied as a base chain": "add chain inet dynallow denied { type filter hook output priority 0; }",
    "an interval set": "add set inet dynallow api_v4 { type ipv4_addr; size 131072; flags interval; }",
    "a set without counter": "add set inet dynallow api_v4 { type ipv4_addr; size 131072; flags timeout; }",
    "another type": "add set inet dynallow api_v4 { type mark; size 131072; flags timeout; counter; }",
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_load_over_a_table_that_a_stranger_made_gives_ours(elements: ElementSocket, kind: str) -> None:
    """Also what an older version left: an upgrade may change a set's flags."""
    nft("-f", "-", stdin=f"add table inet dynallow\n{STRANGERS[kind]}")
    load.load(build("enforce"), elements)
    assert listed() == render_table(build("enforce"))


def test_load_flush_of_the_whole_ruleset_is_mended(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements)
    flush()
    load.load(build("enforce"), elements)
    assert listed() == golden("enforce")


def test_load_refused_changes_nothing(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements)
    bad = rs.Chain("output", (rs.Rule((), rs.Goto("nowhere")),), rs.Hook("filter", "filter", "drop"))
    with pytest.raises(KernelError) as caught:
        load.load(replace(build("enforce"), chains=(bad,)), elements)
    assert caught.value.exit_code == 6
    assert listed() == golden("enforce")


def test_load_many_destinations_are_listed_as_rendered_whatever_they_are(elements: ElementSocket) -> None:
    """Singles alone, no two of them neighbours: nft's own order is the one that is rendered."""
    chance = random.Random(1)
    addresses = [f"{chance.randrange(1, 200)}.{n}.{n}.{n}/32" for n in range(0, 200, 3)]
    networks = tuple(ip_network(text) for text in addresses)
    rule = rs.Rule((rs.ToNetworks(networks),), rs.Drop())
    chain = rs.Chain("output", (rule,), rs.Hook("filter", "filter", "accept"))
    table = rs.Ruleset((), (), (chain,))
    load.load(table, elements)
    assert "".join(listed().split()) == "".join(render_table(table).split())
