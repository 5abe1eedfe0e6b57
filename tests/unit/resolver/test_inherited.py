"""Sockets handed over by a service manager: which are ours, and where they belong."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from dynallow.errors import DynallowError
from dynallow.resolver.inherited import Inherited, inherit
from dynallow.units import Endpoint

FIRST = 400
"""Where the tests put what systemd puts at 3."""


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """Those handed over; whatever is still open of them is closed at the end."""
    given: list[int] = []
    yield given
    for number in given:
        try:
            os.close(number)
        except OSError:
            pass


def hand_over(given: list[int], sock: socket.socket) -> Endpoint:
    """Put it at the next number; what it is bound to."""
    address, port = sock.getsockname()[:2]
    number = os.dup2(sock.fileno(), FIRST + len(given))
    given.append(number)
    sock.close()
    return Endpoint(ip_address(address), port)


def bound(kind: socket.SocketKind, address: str, *, listening: bool = True) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, 0))
    if kind == socket.SOCK_STREAM and listening:
        sock.listen()
    return sock


def take_over(count: object, pid: object = None, names: str = "") -> Inherited:
    environ = {"LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid() if pid is None else pid)}
    environ |= {"LISTEN_FDNAMES": names, "PATH": "/bin"}
    try:
        return inherit(environ, FIRST)
    finally:
        assert environ == {"PATH": "/bin"}, "children must not think the sockets are theirs"


def test_inherit_sockets_of_all_kinds_go_to_their_addresses_once(descriptors: list[int]) -> None:
    places = [
        (protocol, hand_over(descriptors, bound(kind, address)))
        for address in ("127.0.0.1", "::1", "0.0.0.0", "::")
        for kind, protocol in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp"))
    ]
    inherited = take_over(len(places))
    for number, (protocol, endpoint) in enumerate(places):
        sock = inherited.take("tcp" if protocol == "tcp" else "udp", endpoint)
        assert sock is not None
        assert sock.fileno() == FIRST + number
        assert not sock.getblocking()
        assert fcntl.fcntl(sock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert inherited.take("tcp" if protocol == "tcp" else "udp", endpoint) is None
        sock.detach()
    assert inherited.close() == []


def test_inherit_socket_of_the_other_protocol_is_not_taken(descriptors: list[int]) -> None:
    endpoint = hand_over(descriptors, bound(socket.SOCK_DGRAM, "127.0.0.1"))
    inherited = take_over(1)
    assert inherited.take("tcp", endpoint) is None
    assert inherited.take("udp", Endpoint(endpoint.address, endpoint.port ^ 1)) is None
    assert inherited.close() == [f"udp {endpoint}"]


def test_inherit_what_no_setting_can_name_is_told_by_its_units_name(descriptors: list[int]) -> None:
    for sock in (
        bound(socket.SOCK_STREAM, "127.0.0.1", listening=False),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    ):
        number = os.dup2(sock.fileno(), FIRST + len(descriptors))
        descriptors.append(number)
        sock.close()
    inherited = take_over(3, names="a.socket:b.socket:")
    assert inherited.close() == ["a.socket", "b.socket", f"descriptor {FIRST + 2}"]
    assert inherited.close() == []


def test_inherit_second_socket_at_one_address_is_strange(descriptors: list[int]) -> None:
    sock = bound(socket.SOCK_DGRAM, "127.0.0.1")
    endpoint = hand_over(descriptors, sock.dup())
    hand_over(descriptors, sock)
    inherited = take_over(2, names="a.socket:b.socket")
    taken = inherited.take("udp", endpoint)
    assert taken is not None
    taken.detach()
    assert inherited.close() == ["b.socket"]


@pytest.mark.parametrize("pid", ["", "1", "nobody"])
def test_inherit_what_is_meant_for_another_process_is_left_alone(descriptors: list[int], pid: str) -> None:
    hand_over(descriptors, bound(socket.SOCK_DGRAM, "127.0.0.1"))
    assert take_over(1, pid).close() == []
    os.fstat(descriptors[0])  # still open


def test_inherit_without_variables_is_nothing() -> None:
    assert inherit({}).close() == []


@pytest.mark.parametrize("count", ["-1", "two", "1e3", "100000", "²"])
def test_inherit_a_count_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(DynallowError, match="LISTEN_FDS"):
        take_over(count)


def test_inherit_descriptor_that_is_not_open_or_no_socket_is_refused(descriptors: list[int]) -> None:
    with pytest.raises(DynallowError, match=f"descriptor {FIRST}, .* is no socket"):
        take_over(1)
    descriptors.append(os.dup2(os.open(os.devnull, os.O_RDONLY), FIRST))
    with pytest.raises(DynallowError, match=r"a\.socket, .* is no socket"):
        take_over(1, names="a.socket")


def test_inherit_socket_of_both_families_is_refused_with_the_directive(descriptors: list[int]) -> None:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    hand_over(descriptors, sock)
    with pytest.raises(DynallowError) as raised:
        take_over(1)
    assert "BindIPv6Only=ipv6-only" in raised.value.hint
