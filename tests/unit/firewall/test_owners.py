"""Whose sockets are, asked of the real kernel: on loopback, where the ends are known."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from dynallow.firewall.owners import Owners

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
TCP, UDP = 6, 17


@pytest.fixture
def owners() -> Iterator[Owners]:
    asked = Owners()
    yield asked
    asked.close()


def packed(sock: socket.socket) -> tuple[bytes, int]:
    address, port = sock.getsockname()[:2]
    return socket.inet_pton(sock.family, address.removeprefix("::ffff:")), port


@pytest.mark.parametrize("family", LOOPBACK)
def test_owner_of_a_tcp_connection_is_its_clients_user_and_inode(family: int, owners: Owners) -> None:
    with socket.create_server((LOOPBACK[socket.AddressFamily(family)], 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]) as client:
            ends = (*packed(client), *packed(server))
            owner = owners.look_up(TCP, *ends)
            assert owner is not None
            assert (owner.uid, owner.inode) == (os.getuid(), os.fstat(client.fileno()).st_ino)
        assert owners.look_up(TCP, ends[0], ends[1], ends[2], 1) is None
    assert owners.failed == 0


@pytest.mark.parametrize("family", LOOPBACK)
@pytest.mark.parametrize("connected", [True, False])
def test_owner_of_a_udp_socket_is_found_connected_or_not(
    family: int, connected: bool, owners: Owners
) -> None:
    address = LOOPBACK[socket.AddressFamily(family)]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        if connected:
            sock.connect((address, 53))
        own = packed(sock)
        owner = owners.look_up(UDP, *own, own[0], 53)
        assert owner is not None
        assert (owner.uid, owner.inode) == (os.getuid(), os.fstat(sock.fileno()).st_ino)
        listed = owners.at_port(UDP, family, own[1])
        assert owner in listed
    assert owners.look_up(UDP, *own, own[0], 53) is None
    assert owners.failed == 0


def test_owner_of_an_ipv6_socket_that_speaks_ipv4_is_found(owners: Owners) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect(("::ffff:127.0.0.1", 53))
        port = sock.getsockname()[1]
        local = socket.inet_aton("127.0.0.1")
        owner = owners.look_up(UDP, local, port, local, 53)
        assert owner is not None
        assert owner.inode == os.fstat(sock.fileno()).st_ino


def test_what_has_no_socket_or_no_ports_is_nobodys(owners: Owners) -> None:
    local = socket.inet_aton("127.0.0.1")
    assert owners.look_up(1, local, 0, local, 0) is None
    assert owners.look_up(TCP, local, 0, local, 443) is None
    assert owners.look_up(TCP, local, 1, bytes(16), 443) is None
    owners.close()
    assert owners.look_up(TCP, local, 1, local, 2) is None
