"""The ruleset as nft text."""

from __future__ import annotations

from ipaddress import ip_network

from dynallow.firewall import ruleset as rs
from dynallow.firewall.text import render_table
from dynallow.units import PortRange, Rate


def rule_text(*matches: rs.Match, statement: rs.Statement | None = None) -> str:
    """One rule as it is printed."""
    table = rs.Ruleset((), (), (rs.Chain("c", (rs.Rule(matches, statement or rs.Accept()),)),))
    return render_table(table).splitlines()[2].strip()


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
    log = rs.Log(Rate(9, "minute"), "no ", 3, 40)
    tally = rs.Tally("used_flows_v6", 6, rs.Accept(), user=False)
    key = "ip6 daddr . meta l4proto . th dport . 4294967295"
    assert rule_text(statement=tally) == f"update @used_flows_v6 {{ {key} counter }} accept"
    tally = rs.Tally("denied_flows_v4", 4, rs.Return(), protocol=False, port=False)
    key = "ip daddr . 255 . 0 . meta skuid"
    assert rule_text(statement=tally) == f"update @denied_flows_v4 {{ {key} counter }} return"
    assert rule_text(statement=log) == 'limit rate 9/minute burst 40 packets log prefix "no " group 3'


def test_rule_text_of_a_test_of_one_value_and_of_several() -> None:
    assert rule_text(rs.Test("ct state", ("established",))) == "ct state established accept"
    assert rule_text(rs.Test("th dport", (53, 853), negated=True)) == "th dport != { 53, 853 } accept"


def test_rule_text_comment_stands_last() -> None:
    chain = rs.Chain("c", (rs.Rule((rs.InSet("web_v4", 4),), rs.Accept(), "web: why"),))
    assert render_table(rs.Ruleset((), (), (chain,))).splitlines()[2].endswith('accept comment "web: why"')
