"""Flows and sockets as the kernel has them: found, marked, ended; and how its own filter errs.

In a bare network: needs conntrack, nothing of the lab's internet.
"""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from dynallow.firewall import conntrack, sock_destroy
from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.flows import flows_request, keys, parse_flows
from tests.lab.needs import require
from tests.netns.kernel import bare_network, nft

ADDRESSES = ("127.0.0.1", "127.0.0.2", "::1")
PACKED = [ip_address(address).packed for address in ADDRESSES]


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    require("conntrack")
    with bare_network(tmp_path_factory.mktemp("net")):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        chain = "chain o { type filter hook output priority 0; ct state new; }"
        nft("-f", "-", stdin=f"table inet t {{ {chain}; }}")
        yield


@pytest.fixture
def talk() -> Iterator[dict[tuple[int, str], socket.socket]]:
    """A TCP and a UDP flow to each address, by protocol and address."""
    with ExitStack() as stack:
        found = {}
        for address in ADDRESSES:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            server = stack.enter_context(socket.create_server((address, 0), family=family))
            found[6, address] = stack.enter_context(socket.create_connection(server.getsockname()[:2]))
            datagrams = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            datagrams.bind((address, 0))
            flow = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            flow.connect(datagrams.getsockname()[:2])
            flow.send(b"x")
            found[17, address] = flow
        yield found


def ends(flow: socket.socket) -> tuple[int, bytes, int, bytes, int]:
    (own, port), (its, its_port) = flow.getsockname()[:2], flow.getpeername()[:2]
    number = 6 if flow.type == socket.SOCK_STREAM else 17
    return number, ip_address(own).packed, port, ip_address(its).packed, its_port


def told(filtered: bool) -> dict[tuple[int, bytes, int, bytes, int], int]:
    flows = conntrack.flows_to(PACKED, filtered=filtered)
    return {(f.protocol, f.source, f.source_port, f.address, f.port): f.mark for f in flows}


@pytest.mark.parametrize("filtered", [True, False])
def test_flows_to_addresses_are_found_with_the_kernels_filter_and_without(
    talk: dict[tuple[int, str], socket.socket], filtered: bool
) -> None:
    assert {ends(flow) for flow in talk.values()} <= told(filtered).keys()
    assert {flow.address for flow in conntrack.flows_to([PACKED[1]], filtered=filtered)} == {PACKED[1]}


def test_disown_marks_these_flows_alone(talk: dict[tuple[int, str], socket.socket]) -> None:
    marked = {ends(talk[17, "::1"]), ends(talk[6, "127.0.0.2"])}
    flows = [
        flow
        for flow in conntrack.flows_to(PACKED, filtered=False)
        if (flow.protocol, flow.source, flow.source_port, flow.address, flow.port) in marked
    ]
    assert conntrack.disown(flows) == 2
    now = told(filtered=True)
    assert {key for key, mark in now.items() if mark == JUDGED_MARK} == marked


def test_sockets_are_ended_with_an_error_at_once_and_listeners_are_not(
    talk: dict[tuple[int, str], socket.socket],
) -> None:
    if not sock_destroy.works():
        pytest.skip("this kernel ends no sockets from outside")
    held = sock_destroy.sockets()
    victims = [talk[6, "127.0.0.1"], talk[17, "127.0.0.2"], talk[17, "::1"], talk[6, "::1"]]
    assert sock_destroy.destroy([held[ends(flow)] for flow in victims]) == 4
    for flow in victims:
        with pytest.raises(OSError, match="abort") as raised:
            flow.recv(10)
        assert raised.value.errno == errno.ECONNABORTED
    talk[6, "127.0.0.2"].send(b"lives")


def test_socket_that_is_gone_is_not_taken_for_another(talk: dict[tuple[int, str], socket.socket]) -> None:
    if not sock_destroy.works():
        pytest.skip("this kernel ends no sockets from outside")
    flow = talk[17, "127.0.0.1"]
    held, (own, peer) = sock_destroy.sockets()[ends(flow)], (flow.getsockname(), flow.getpeername())
    flow.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heir:
        heir.bind(own)
        heir.connect(peer)
        assert sock_destroy.destroy([held]) == 0
        heir.send(b"lives")


def test_kernels_filter_by_an_ipv6_destination_is_not_relied_on(
    talk: dict[tuple[int, str], socket.socket],
) -> None:
    """On 6.18 it tells all others. Whatever it does, ours are found: they are asked for without it."""
    with conntrack._open() as sock:
        sock.send(flows_request(16, 1, PACKED[2]))
        part = parse_flows(sock.recv(65536), keys(PACKED, 16), 16)
    found = {flow.address for flow in conntrack.flows_to([PACKED[2]], filtered=True)}
    assert found == {PACKED[2]}
    assert not part.errno
