"""The packed ruleset beside the text: `nft -f` of the one, our messages of the other, and no difference."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynallow.firewall import load
from dynallow.firewall import ruleset as rs
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.step import Flags
from dynallow.firewall.text import render_table
from dynallow.settings import Settings
from dynallow.units import PortRange, Rate
from tests.golden.cases import NAMES, build, golden
from tests.netns.kernel import bare_network, flush, listed, nft
from tests.netns.kernelraw import everything
from tests.unit.firewall.test_build import WAYS, some_settings

_SOME = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
_MANY = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with bare_network(tmp_path_factory.mktemp("net")):
        yield


def as_json() -> Any:
    """What `nft -j` lists, without the numbers that a table only happens to have."""

    def bare(found: Any) -> Any:
        if isinstance(found, dict):
            return {key: bare(value) for key, value in found.items() if key not in ("handle", "metainfo")}
        return [bare(one) for one in found] if isinstance(found, list) else found

    return bare(json.loads(nft("-j", "-s", "list", "table", "inet", "dynallow")))


def told_by_the_kernel() -> tuple[dict[str, Any], str, Any]:
    return everything(), listed(), as_json()


def assert_same(table: rs.Ruleset) -> None:
    """Load it both ways, each on an empty kernel."""
    flush()
    nft("-f", "-", stdin=render_table(table))
    by_text = told_by_the_kernel()
    flush()
    elements = ElementSocket()
    try:
        load.load(table, elements)
        assert told_by_the_kernel() == by_text
    finally:
        elements.close()


@pytest.mark.parametrize("name", NAMES)
def test_encode_golden_ruleset_is_what_nft_makes_of_its_text(name: str) -> None:
    assert_same(build(name))
    assert listed() == golden(name)


@_SOME
@given(some_settings(), st.sampled_from([0, 993]))
def test_encode_any_settings_are_what_nft_makes_of_their_text(found: Settings, uid: int) -> None:
    assert_same(build_ruleset(found, WAYS, uid))


@pytest.mark.slow
@_MANY
@given(some_settings(), st.sampled_from([0, 993]))
def test_encode_very_many_settings_are_what_nft_makes_of_their_text(found: Settings, uid: int) -> None:
    assert_same(build_ruleset(found, WAYS, uid))


def rules_of(*matches: rs.Match) -> rs.Ruleset:
    """A rule for each match."""
    rules = tuple(rs.Rule((match,), rs.Drop()) for match in matches)
    return rs.Ruleset((), (), (rs.Chain("output", rules, rs.Hook("filter", "filter", "accept")),))


@pytest.mark.parametrize("bits", [32, 128])
def test_encode_every_length_of_a_prefix_is_what_nft_makes_of_it(bits: int) -> None:
    """Whole bytes are compared as they are, other lengths masked."""
    network = IPv4Network if bits == 32 else IPv6Network
    whole = (1 << bits) - 1
    prefixes = [network((whole ^ whole >> length, length)) for length in range(1, bits + 1)]
    assert_same(rules_of(*(rs.ToNetworks((one,)) for one in prefixes)))


NETWORKS = {
    "all of IPv4": ["0.0.0.0/0"],
    "all of IPv6": ["::/0"],
    "the lowest and the highest": ["0.0.0.0/8", "255.255.255.0/24"],
    "the highest addresses": ["::/64", "ffff::/16"],
    "two that make one": ["10.0.0.0/9", "10.128.0.0/9"],
    "a range that is no prefix": ["192.0.2.2/31", "192.0.2.4/30"],
    "addresses alone": ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"],
    "addresses beside a prefix": ["192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24"],
}


def test_encode_networks_are_what_nft_makes_of_them() -> None:
    assert_same(rules_of(*(rs.ToNetworks(tuple(map(ip_network, which))) for which in NETWORKS.values())))


PORTS = {
    "one": [(443, 443)],
    "a range": [(6000, 6010)],
    "all": [(0, 65535)],
    "up to the last": [(1, 1), (1024, 65535)],
    "from the first": [(0, 7), (80, 80)],
    "single ones": [(80, 80), (81, 81), (443, 443)],
    "300 of them": [(port, port) for port in range(1, 900, 3)],
    "300 ranges": [(port, port + 1) for port in range(1, 1200, 4)],
}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_encode_ports_are_what_nft_makes_of_them(protocol: Any) -> None:
    matches = [rs.ToPorts(tuple(PortRange(protocol, *one) for one in which)) for which in PORTS.values()]
    assert_same(rules_of(*matches))


def test_encode_users_are_what_nft_makes_of_them() -> None:
    assert_same(rules_of(*(rs.ByUsers(uids) for uids in ((0,), (0, 1000, 2**32 - 2), tuple(range(400))))))


def test_encode_hundreds_of_addresses_are_what_nft_makes_of_them() -> None:
    """More than one message takes."""
    chance = random.Random(1)
    for bits, size in ((32, 900), (128, 500)):
        numbers = chance.sample(range(1 << 31), size)
        networks = tuple(ip_network((number << (bits - 32), bits)) for number in numbers)
        prefix = ip_network(("224.0.0.0" if bits == 32 else "ff00::", 8))
        assert_same(rules_of(rs.ToNetworks(networks), rs.ToNetworks((*networks, prefix))))


def test_encode_rates_are_what_nft_makes_of_them() -> None:
    rates = [Rate(count, per) for count in (1, 5, 1000) for per in ("second", "minute", "hour", "day")]
    rules = tuple(
        rs.Rule((), rs.Log(rate, "dynallow denied ", 65535, burst)) for rate in rates for burst in (5, 1000)
    )
    assert_same(rs.Ruleset((), (), (rs.Chain("denied", rules),)))


def test_load_owned_table_is_listed_as_rendered_but_for_its_owner() -> None:
    flush()
    elements = ElementSocket()
    try:
        assert load.load(build("enforce"), elements, Flags.OWNED).owned
        lines = listed().splitlines()
        assert "flags owner" in lines[1]
        head, first = lines[0].split(" #")[0], lines.index("\tcounter denied {")
        assert "\n".join([head, *lines[first:]]) + "\n" == golden("enforce")
        assert f"(pid {os.getpid()})" not in lines[0], "nft tells the owner's name alone"
    finally:
        elements.close()
    flush()
