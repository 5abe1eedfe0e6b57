"""A neighbour on the wire who asks 127.0.0.1, on a host with `route_localnet`: the agent does not hear him.

The kernel lets such packets in then, as the controls show: sockets beside the
agent's, on 127.0.0.1 as well but kept to no device, get theirs. ::1 has no such
setting: the kernel drops it on every device but loopback.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.packets import Packet
from tests.lab.topology import HOST, HOST_GATEWAY, WIRE
from tests.netns.asking import Client, packet

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
listen = ["127.0.0.1:53", "[::1]:53"]
upstreams = ["10.10.0.10"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
NEIGHBOUR = HOST_GATEWAY[0]
CONTROL_PORT, OUR_PORT = 5300, 40_000
SYN, ACK = 0x02, 0x10
ORDINARY_USER = 4711


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(web=False) as lab:
        lab.serve(Zone("example.org").both("www", 10))
        lab.host.sysctl(ipv4__conf__eth0__route_localnet=1)
        yield lab


@pytest.fixture(scope="module", params=["as root", "without CAP_NET_RAW"])
def agent(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Agent]:
    agent = lab.agent(SETTINGS, user=None if request.param == "as root" else ORDINARY_USER)
    yield agent
    agent.kill()
    lab.host.run(["nft", "delete", "table", "inet", "dynallow"])


@pytest.fixture
def client(lab: Lab, agent: Agent) -> Iterator[Client]:
    """The host's own programs are answered all the while."""
    with closing(Client(lab.host)) as client:
        for server in ("127.0.0.1", "::1"):
            for tcp in (False, True):
                assert client.ask("www.example.org", server=server, tcp=tcp).rcode == "NOERROR"
        yield client


def questions(agent: Agent) -> int:
    """All that it has counted so far."""
    found = re.findall(r'^dynallow_questions_total\{outcome="\w+"\} ([\d.]+)', agent.get("/metrics")[1], re.M)
    return sum(int(float(number)) for number in found)


def test_udp_question_from_the_wire_to_the_loopback_address_is_not_heard(
    lab: Lab, agent: Agent, client: Client
) -> None:
    before = questions(agent)
    wire = lab.sniffer()
    with control(lab, socket.SOCK_DGRAM) as heard, neighbour(lab) as send:
        send(udp("127.0.0.1", 53, packet("www.example.org")))
        send(udp("127.0.0.1", CONTROL_PORT, b"control"))
        assert heard.recv(100) == b"control"  # and so the kernel has let the one before in as well
        assert client.ask("www.example.org").rcode == "NOERROR"
    assert questions(agent) == before + 1
    # "Port unreachable" is what the kernel says of a port that nobody has.
    assert [str(one) for one in answers(wire.stop()) if one.protocol != "icmp"] == []


def test_tcp_connection_from_the_wire_to_the_loopback_address_is_not_accepted(
    lab: Lab, agent: Agent, client: Client
) -> None:
    wire = lab.sniffer()
    with control(lab, socket.SOCK_STREAM) as heard, neighbour(lab) as send:
        send(syn("127.0.0.1", 53))
        send(syn("127.0.0.1", CONTROL_PORT))
        wait_until(lambda: half_open(lab, CONTROL_PORT), "the control's half-open connection")
        assert not half_open(lab, 53)
        assert heard.fileno() > 0
        assert client.ask("www.example.org", tcp=True).rcode == "NOERROR"
    accepted = [one for one in answers(wire.stop()) if one.payload[13] & (SYN | ACK) == SYN | ACK]
    assert {one.sport for one in accepted} == {CONTROL_PORT}


def test_ipv6_loopback_address_from_the_wire_is_dropped_by_the_kernel(
    lab: Lab, agent: Agent, client: Client
) -> None:
    """Why the listener on ::1 is kept to no device: one that is on every address hears the second alone."""
    before = questions(agent)
    with control(lab, socket.SOCK_DGRAM, "::") as heard, neighbour(lab) as send:
        send(udp6("::1", 53, packet("www.example.org")))
        send(udp6("::1", CONTROL_PORT, b"to ::1"))
        send(udp6(HOST[1], CONTROL_PORT, b"to the host"))
        assert heard.recv(100) == b"to the host"
    assert questions(agent) == before


def answers(packets: list[Packet]) -> list[Packet]:
    return [one for one in packets if one.from_host and one.src == "127.0.0.1"]


def half_open(lab: Lab, port: int) -> bool:
    shown = lab.host.run(["ss", "-Htn", "state", "syn-recv", f"( sport = :{port} )"]).stdout
    return NEIGHBOUR in shown


@contextmanager
def control(lab: Lab, kind: socket.SocketKind, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A socket as the agent's would be, were it not kept to the loopback device."""
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(5)
        sock.bind((address, CONTROL_PORT))
        if kind is socket.SOCK_STREAM:
            sock.listen()
        yield sock


class Neighbour:
    """Puts IP packets on the host's wire as they are; routing would keep this address at home."""

    def __init__(self, lab: Lab) -> None:
        with lab.router.entered():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        mac = lab.host.run(["ip", "-o", "link", "show", "eth0"]).stdout.partition("link/ether ")[2].split()[0]
        self._mac = bytes.fromhex(mac.replace(":", ""))

    def __call__(self, data: bytes) -> None:
        self._sock.sendto(data, (WIRE, 0x86DD if data[0] >> 4 == 6 else 0x0800, 0, 0, self._mac))

    def close(self) -> None:
        self._sock.close()


@contextmanager
def neighbour(lab: Lab) -> Iterator[Neighbour]:
    with closing(Neighbour(lab)) as sender:
        yield sender


def udp(address: str, port: int, data: bytes) -> bytes:
    return ipv4(address, 17, struct.pack("!4H", OUR_PORT, port, 8 + len(data), 0) + data)  # no checksum


def udp6(address: str, port: int, data: bytes) -> bytes:
    datagram = struct.pack("!4H", OUR_PORT, port, 8 + len(data), 0) + data
    source, target = packed(HOST_GATEWAY[1]), packed(address)
    even = datagram + b"\0" * (len(datagram) % 2)
    checked = checksum(source + target + struct.pack("!II", len(datagram), 17) + even)
    head = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 64)
    return head + source + target + datagram[:6] + struct.pack("!H", checked) + data


def syn(address: str, port: int) -> bytes:
    segment = struct.pack("!HHIIBBHHH", OUR_PORT, port, 1, 0, 5 << 4, SYN, 64_000, 0, 0)
    pseudo = packed(NEIGHBOUR) + packed(address) + struct.pack("!HH", 6, len(segment))
    checked = struct.pack("!H", checksum(pseudo + segment))
    return ipv4(address, 6, segment[:16] + checked + segment[18:])


def ipv4(address: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    head += packed(NEIGHBOUR) + packed(address)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def packed(address: str) -> bytes:
    return ip_address(address).packed


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
