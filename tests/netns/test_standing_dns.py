"""DNS flows that stood before mode enforce began: no question leaves by them, though conntrack knows them.

Needs the lab and conntrack. What conntrack calls established is let out
everywhere else, so the flow's own port is what has to tell.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dns.message
import pytest

from tests.lab import Lab, Packet, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require, require_lab
from tests.lab.topology import WIRE

SETTINGS = """
mode = "observe"
[resolver]
upstreams = ["10.10.0.10"]
[firewall]
denied = "{denied}"
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443"]
"""
OTHER = "10.10.0.11"  # an honest name server that is not the upstream
TALKER = "10.10.0.12"  # one of the test's own, which goes on by itself
QUESTION = dns.message.make_query("secret.example.com", "TXT").to_wire()
FRAMED = struct.pack("!H", len(QUESTION)) + QUESTION
TIMES = 20


@pytest.fixture(scope="module")
def lab_and_agent() -> Iterator[tuple[Lab, Agent]]:
    require_lab()
    require("conntrack")
    with Lab(web=False) as lab:
        lab.serve(Zone("example.org").both("www", 10), Zone("example.com").txt("*", "out"))
        yield lab, lab.agent(SETTINGS.format(denied="reject"))


def observe(agent: Agent, denied: str) -> None:
    """Whatever the test before this one left; enforcing, what is denied will be rejected or dropped."""
    reloaded = agent.reload(SETTINGS.format(denied=denied))
    assert reloaded.returncode == 0, reloaded


def opened(lab: Lab, kind: socket.SocketKind, server: str) -> socket.socket:
    """A socket of the host's that has asked `server` and was answered."""
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET, kind)
    sock.settimeout(30)
    sock.connect((server, 53))
    sock.send(QUESTION if kind is socket.SOCK_DGRAM else FRAMED)
    assert sock.recv(65535)
    return sock


def asks_again(sock: socket.socket) -> None:
    """The same question, many times over; whatever the kernel says to it."""
    for _ in range(TIMES):
        try:
            sock.send(QUESTION if sock.type is socket.SOCK_DGRAM else FRAMED)
        except OSError:
            continue


def enforce(agent: Agent) -> None:
    switched = agent.cli("mode", "enforce")
    assert switched.returncode == 0, switched


def is_known(lab: Lab, sock: socket.socket, port: int) -> bool:
    """Whether conntrack has the flow, and has seen an answer in it."""
    protocol = "udp" if sock.type is socket.SOCK_DGRAM else "tcp"
    flow = ["-p", protocol, "-d", sock.getpeername()[0], "--sport", str(port), "--dport", "53"]
    lines = lab.host.run(["conntrack", "-L", *flow], check=False).stdout.splitlines()
    return any("[UNREPLIED]" not in line for line in lines)


def out(packets: list[Packet], server: str) -> list[str]:
    return [str(packet) for packet in packets if packet.from_host and packet.dst == server]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_question_by_a_flow_from_mode_observe_does_not_leave(
    lab_and_agent: tuple[Lab, Agent], kind: socket.SocketKind
) -> None:
    lab, agent = lab_and_agent
    observe(agent, "reject")
    before = lab.sniffer()
    with closing(opened(lab, kind, OTHER)) as sock:
        assert out(before.stop(), OTHER)  # the control: this socket does get out
        port = sock.getsockname()[1]
        assert is_known(lab, sock, port)
        enforce(agent)
        assert is_known(lab, sock, port)
        wire = lab.sniffer()
        asks_again(sock)
    assert out(wire.stop(), OTHER) == []


@contextmanager
def talking(lab: Lab, kind: socket.SocketKind) -> Iterator[None]:
    """A server at TALKER that sends for as long as the block lasts, once it was spoken to."""
    with lab.internet.entered():
        server = socket.socket(socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((TALKER, 53))
    if kind is socket.SOCK_STREAM:
        server.listen(1)
    server.settimeout(60)
    ended = threading.Event()
    worker = threading.Thread(target=_talk, args=(server, ended))
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join(60)
        server.close()


def _talk(server: socket.socket, ended: threading.Event) -> None:
    if server.type is socket.SOCK_DGRAM:
        _, client = server.recvfrom(65535)
        while not ended.wait(0.005):
            server.sendto(b"more", client)
        return
    peer, _ = server.accept()
    with peer:
        peer.settimeout(0.05)
        while not ended.wait(0.005):
            try:
                peer.send(b"more" * 300)
            except TimeoutError:
                continue
            except OSError:
                return


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_flow_from_mode_observe_whose_server_keeps_sending_carries_nothing_out(
    lab_and_agent: tuple[Lab, Agent], kind: socket.SocketKind
) -> None:
    """The server keeps conntrack's entry alive for ever; not even an acknowledgement may go back.

    With `drop`: a reject would reset the socket, and leave it nothing to try with.
    """
    lab, agent = lab_and_agent
    observe(agent, "drop")
    with talking(lab, kind), closing(opened(lab, kind, TALKER)) as sock:
        port = sock.getsockname()[1]
        enforce(agent)
        assert is_known(lab, sock, port)
        wire, before = lab.sniffer(), to_host(lab)
        asks_again(sock)
        wait_until(lambda: to_host(lab) >= before + 2, "the server's going on")
        asks_again(sock)
        packets = wire.stop()
    assert [packet for packet in packets if packet.src == TALKER]
    assert out(packets, TALKER) == []


def to_host(lab: Lab) -> int:
    """Packets that the router has sent to the host so far."""
    (link,) = json.loads(lab.router.run(["ip", "-j", "-s", "link", "show", WIRE]).stdout)
    return int(link["stats64"]["tx"]["packets"])
