"""What is read from the kernel by hand is what pyroute2 and nft read there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from dynallow.firewall import load
from dynallow.firewall.addresses import read_addresses
from dynallow.firewall.inspect import read_table
from dynallow.firewall.members import read_members
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_denied, read_policy, read_present
from tests.golden.cases import build
from tests.lab.namespace import Namespace
from tests.netns.kernel import bare_network, flush, nft


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with bare_network(tmp_path_factory.mktemp("net")) as place:
        yield place


@pytest.fixture(autouse=True)
def _no_ruleset(network: Namespace) -> None:
    flush()


def by_pyroute2(place: Namespace) -> set[bytes]:
    """The namespace's addresses; in a thread, for pyroute2 runs a loop of its own."""

    def read() -> set[bytes]:
        from pyroute2 import IPRoute

        with place.entered(), IPRoute() as route:
            texts = [one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS") for one in route.get_addr()]
        return {ip_address(text).packed for text in texts}

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()


def test_addresses_are_those_that_pyroute2_reads(network: Namespace) -> None:
    network.ip(
        "link set lo up",
        "addr add 192.0.2.1/24 dev lo",
        "addr add 192.0.2.77 peer 198.51.100.1 dev lo",
        "addr add 2001:db8::5/64 dev lo nodad",
        *(f"addr add 203.0.113.{number}/32 dev lo" for number in range(200)),
    )
    found = read_addresses()
    assert found == by_pyroute2(network)
    assert ip_address("192.0.2.77").packed in found
    assert ip_address("198.51.100.1").packed not in found  # the other end is not the host


def load_plain(name: str) -> None:
    elements = ElementSocket()
    load.load(build(name), elements)
    elements.close()


def test_policy_and_counter_are_those_that_nft_lists() -> None:
    assert read_policy("output") is None
    assert not read_table().present
    for mode, policy in (("enforce", "drop"), ("observe", "accept")):
        load_plain(mode)
        chain = json.loads(nft("-j", "list", "chain", "inet", "dynallow", "output"))["nftables"]
        assert read_policy("output") == policy == next(o["chain"]["policy"] for o in chain if "chain" in o)
        assert read_table().mode == mode
    assert read_policy("denied") == "none"
    nft("delete", "table", "inet", "dynallow")
    nft("add", "table", "inet", "dynallow")
    nft("add", "counter", "inet", "dynallow", "denied", "{ packets 7 bytes 5000000000 }")
    nft("add", "table", "inet", "other")
    nft("add", "counter", "inet", "other", "denied", "{ packets 1 bytes 2 }")
    assert read_denied() == (7, 5_000_000_000)


def test_present_sees_through_anonymous_sets_and_odd_ones() -> None:
    nft("add", "table", "inet", "dynallow")
    nft("add", "chain", "inet", "dynallow", "c", "{ type filter hook output priority -7; }")
    nft("add", "rule", "inet", "dynallow", "c", "tcp dport { 1, 2 } accept")
    nft("add", "set", "inet", "dynallow", "ranges", "{ type ipv4_addr; flags interval,timeout; }")
    nft("add", "map", "inet", "dynallow", "m", "{ type ipv4_addr : verdict; }")
    present = read_present()
    assert {one.name: one.shape for one in present.sets} == {"ranges": None, "m": None}
    assert [(one.name, one.hook) for one in present.chains] == [("c", ("filter", 3, -7))]


def test_members_of_many_datagrams_are_each_told_once() -> None:
    load_plain("enforce")
    wanted = {f"198.51.{number // 250}.{number % 250 + 1}" for number in range(3000)}
    nft(
        "-f",
        "-",
        stdin=f"add element inet dynallow api_v4 {{ {', '.join(f'{a} timeout 9m' for a in wanted)} }}",
    )
    nft("add", "element", "inet", "dynallow", "api_v6", "{ 2001:db8::1 timeout 9m }")
    found = [member.address for member in read_members("api")]
    assert sorted(found) == sorted({*wanted, "2001:db8::1"})
