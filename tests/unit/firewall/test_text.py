"""The one transaction that takes the kernel from what it holds to the ruleset wanted."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from dynallow.firewall import ruleset as rs
from dynallow.firewall.text import (
    Carried,
    Present,
    PresentChain,
    PresentSet,
    SetShape,
    remade,
    render_load,
    render_table,
)
from dynallow.units import PortRange, Rate

OUTPUT = rs.Chain("output", (rs.Rule((), rs.Goto("denied")),), rs.Hook("filter", "filter", "drop"))
DENIED = rs.Chain("denied", (rs.Rule((), rs.Drop()),))
WEB_4 = rs.AddressSet("web_v4", 4, 200, True)
WEB_6 = rs.AddressSet("web_v6", 6, 200, True)
TABLE = rs.Ruleset((), (WEB_4, WEB_6), (OUTPUT, DENIED))
ONE, SIX = ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed


def held(four: tuple[rs.Family, int], six: tuple[rs.Family, int]) -> Present:
    """A kernel that has web_v4 and web_v6 with these families and sizes."""
    return Present((PresentSet("web_v4", SetShape(*four, True)), PresentSet("web_v6", SetShape(*six, True))))


def load_lines(present: Present, *carried: Carried) -> list[str]:
    """The lines before and after the declaration of the table itself."""
    text = render_load(TABLE, present, carried)
    assert text.count(render_table(TABLE)) == 1
    return text.replace(render_table(TABLE), "").splitlines()


def rule_text(*matches: rs.Match, statement: rs.Statement | None = None) -> str:
    """One rule as it is printed."""
    table = rs.Ruleset((), (), (rs.Chain("c", (rs.Rule(matches, statement or rs.Accept()),)),))
    return render_table(table).splitlines()[2].strip()


def test_render_load_empty_kernel_only_declares() -> None:
    assert load_lines(Present()) == ["table inet dynallow {", "}"]


def test_render_load_flushes_every_chain_and_deletes_the_foreign_ones_after() -> None:
    present = Present(
        (),
        (
            PresentChain("output", ("filter", 3, 0)),
            PresentChain("denied", None),
            PresentChain("intruder", None),
        ),
    )
    assert load_lines(present)[2:] == [
        "flush chain inet dynallow output",
        "flush chain inet dynallow denied",
        "flush chain inet dynallow intruder",
        "delete chain inet dynallow intruder",
    ]


def test_render_load_chain_on_another_hook_is_made_anew() -> None:
    present = Present(
        (), (PresentChain("output", ("filter", 1, 0)), PresentChain("denied", ("filter", 3, 0)))
    )
    assert [line for line in load_lines(present) if line.startswith("delete")] == [
        "delete chain inet dynallow output",
        "delete chain inet dynallow denied",
    ]


def test_render_load_set_of_another_make_is_made_anew_without_its_elements() -> None:
    present = Present((PresentSet("web_v4", None), PresentSet("web_v6", SetShape(6, 200, False))))
    assert remade(TABLE, present) == [WEB_6]
    assert load_lines(present)[2:] == ["delete set inet dynallow web_v4", "delete set inet dynallow web_v6"]


def test_render_load_same_set_is_neither_flushed_nor_deleted() -> None:
    present = Present(
        (PresentSet("web_v4", SetShape(4, 200, True)), PresentSet("web_v6", SetShape(6, 200, True)))
    )
    assert not any("set" in line for line in load_lines(present))
    assert remade(TABLE, present) == []


def test_render_load_set_of_a_rule_that_went_is_deleted_and_not_remade() -> None:
    present = Present((PresentSet("old_v4", SetShape(4, 200, True)),))
    assert load_lines(present)[2:] == ["delete set inet dynallow old_v4"]
    assert remade(TABLE, present) == []


def test_render_load_set_of_another_size_or_family_is_made_anew() -> None:
    present = Present(
        (PresentSet("web_v4", SetShape(4, 100, True)), PresentSet("web_v6", SetShape(4, 200, True)))
    )
    assert remade(TABLE, present) == [WEB_4], "addresses of another family cannot go over"
    assert load_lines(present)[2:] == ["delete set inet dynallow web_v4", "delete set inet dynallow web_v6"]


def test_render_load_carried_elements_come_after_the_sets_with_their_time_and_name() -> None:
    present = Present(
        (PresentSet("web_v4", SetShape(4, 100, True)), PresentSet("web_v6", SetShape(6, 100, True)))
    )
    carried = [Carried("web_v4", ONE, 1500, "a.example"), Carried("web_v6", SIX, 0, "")]
    assert load_lines(present, *carried)[4:] == [
        'add element inet dynallow web_v4 { 192.0.2.1 timeout 1500ms expires 1500ms comment "a.example" }',
        "add element inet dynallow web_v6 { 2001:db8::1 timeout 1ms expires 1ms }",
    ]


def test_render_load_carried_comment_is_cut_to_what_nft_takes_and_never_ends_its_quotes() -> None:
    present = Present((PresentSet("web_v4", SetShape(4, 100, True)),))
    (long,) = load_lines(present, Carried("web_v4", ONE, 9, "x" * 240))[3:]
    assert long.endswith(f'comment "{"x" * 124}..." }}')
    (sly,) = load_lines(present, Carried("web_v4", ONE, 9, 'a" } ; flush ruleset'))[3:]
    assert sly.endswith('comment "..." }')


def test_render_load_carried_element_of_a_set_that_went_is_left_behind() -> None:
    assert not any("element" in line for line in load_lines(Present(), Carried("old_v4", ONE, 1500, "")))


def test_rule_text_of_each_match_and_statement() -> None:
    net, host = ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32")
    assert rule_text(rs.InSet("web_v6", 6)) == "ip6 daddr @web_v6 accept"
    assert rule_text(rs.ToNetworks((host,))) == "ip daddr 192.0.2.1 accept"
    assert rule_text(rs.ToNetworks((host, net))) == "ip daddr { 10.0.0.0/8, 192.0.2.1 } accept"
    assert rule_text(rs.ToNetworks((ip_network("2001:db8::/32"),))) == "ip6 daddr 2001:db8::/32 accept"
    ports = (PortRange("udp", 9, 12), PortRange("udp", 2, 2))
    assert rule_text(rs.ToPorts(ports)) == "udp dport { 2, 9-12 } accept"
    assert rule_text(rs.ToPorts(ports[:1])) == "udp dport 9-12 accept"
    assert rule_text(rs.ByUsers((7, 3, 7))) == "meta skuid { 3, 7 } accept"
    assert rule_text(statement=rs.Reject()) == "reject with icmpx admin-prohibited"
    assert rule_text(statement=rs.Reset()) == "reject with tcp reset"
    assert rule_text(statement=rs.Drop()) == "drop"
    assert rule_text(statement=rs.Return()) == "return"
    assert rule_text(statement=rs.Goto("denied")) == "goto denied"
    assert rule_text(statement=rs.Count("denied")) == 'counter name "denied"'
    assert rule_text(statement=rs.Redirect(5300)) == "redirect to :5300"
    log = rs.Log(Rate(9, "minute"), "no ", 3)
    assert rule_text(statement=log) == 'limit rate 9/minute burst 9 packets log prefix "no " group 3'


def test_rule_text_comment_stands_last() -> None:
    chain = rs.Chain("c", (rs.Rule((rs.InSet("web_v4", 4),), rs.Accept(), "web: why"),))
    assert render_table(rs.Ruleset((), (), (chain,))).splitlines()[2].endswith('accept comment "web: why"')
