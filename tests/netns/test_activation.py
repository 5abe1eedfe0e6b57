"""Sockets that are open before the agent is, as dynallow.socket holds them: taken over, and no question lost.

Needs the lab and other users than root. The tests hold the sockets, as systemd would.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab, require_users
from tests.netns.asking import V4, V6, Client, packet, read, read_frame
from tests.netns.steady import asking
from tests.netns.steady_tcp import keeping

AGENT_USER = 4711
ONE_CAPABILITY = "+net_admin"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
"""
NAMES = tuple(f"n{number}.example.org" for number in range(50))
EXIT_FAILED = 1


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_lab()
    require_users()
    with Lab(web=False) as built:
        built.serve(Zone("example.org", ttl=900).numbered(200))
        yield built


def hold(
    lab: Lab, kind: socket.SocketKind, address: str, port: int = 53, *, both: bool = False
) -> socket.socket:
    """A socket as a socket unit makes it."""
    with lab.host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(512)
    return sock


@pytest.fixture
def held(lab: Lab) -> Iterator[list[socket.socket]]:
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    sockets = [hold(lab, kind, address) for address in (V4, V6) for kind in kinds]
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.fixture
def agent(lab: Lab, held: list[socket.socket]) -> Iterator[Agent]:
    started = lab.agent(SETTINGS, user=AGENT_USER, sockets=held, capabilities=ONE_CAPABILITY)
    yield started
    started.kill()
    lab.host.run(["nft", "delete", "table", "inet", "dynallow"])


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    with contextlib.closing(Client(lab.host)) as made:
        yield made


def device_of(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0")


def test_inherited_sockets_are_served_with_one_capability_alone(
    held: list[socket.socket], agent: Agent, client: Client
) -> None:
    with open(f"/proc/{agent.process.pid}/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    assert int(fields["CapEff"], 16) == 1 << 12
    for server in (V4, V6):
        for tcp in (False, True):
            assert client.ask("n1.example.org", server=server, tcp=tcp).addresses.keys() == {"198.18.0.2"}
    assert agent.cli_json("status")["warnings"] == []
    assert [device_of(sock) for sock in held] == [b"lo", b"lo", b"", b""]


def test_inherited_sockets_are_not_handed_on(held: list[socket.socket], agent: Agent, client: Client) -> None:
    assert client.ask("n1.example.org").addresses
    with open(f"/proc/{agent.process.pid}/environ", "rb") as environment:
        assert b"LISTEN_FDS=4" in environment.read().split(b"\0")  # what it was started with
    for number in range(3, 7):
        with open(f"/proc/{agent.process.pid}/fdinfo/{number}") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags"))
        assert flags & 0o2000000, f"descriptor {number} would be inherited by nft"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_questions_asked_while_no_agent_runs_are_answered_by_the_next(
    lab: Lab, agent: Agent, client: Client, how: str
) -> None:
    if how == "stopped":
        assert agent.stop() == 0
    else:
        agent.kill()
    data = {server: [packet(name) for name in NAMES] for server in (V4, V6)}
    connections = [(client.connect(server), questions) for server, questions in data.items()]
    with lab.host.entered():
        udp = {V4: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)}
        udp[V6] = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for server, sock in udp.items():
        sock.connect((server, 53))
        sock.settimeout(30)
        for question in data[server]:
            sock.send(question)
    for connection, questions in connections:
        connection.settimeout(30)
        for question in questions[:10]:
            connection.sendall(struct.pack("!H", len(question)) + question)
    agent.start()
    for server, sock in udp.items():
        replies = [read(sock.recv(65535)) for _ in data[server]]
        assert {told.message.id for told in replies} == {int.from_bytes(q[:2], "big") for q in data[server]}
        assert all(told.addresses for told in replies)
        sock.close()
    for connection, questions in connections:
        replies = [read(read_frame(connection)) for _ in questions[:10]]
        assert all(told.addresses for told in replies)
        connection.close()


def restarted(lab: Lab, agent: Agent, client: Client, times: int) -> None:
    """Restart under 500 questions a second over UDP and 100 on TCP connections that are kept."""
    for name in NAMES:
        assert client.ask(name).addresses
    with (
        asking(lab, NAMES, per_second=500) as asked,
        keeping(lab, NAMES, clients=5, per_second=20) as kept,
    ):
        for _ in range(times):
            assert agent.stop() == 0
            agent.start()
            before = len(asked.answered), [one.answered for one in kept]
            wait_until(lambda least=before[0]: len(asked.answered) > least + 100, "answers")  # type: ignore[misc]
            for one, least in zip(kept, before[1], strict=True):
                wait_until(lambda one=one, least=least: one.answered > least, "answers over TCP")  # type: ignore[misc]
    cut = [why for one in kept for why in one.cut]
    print(
        f"{len(asked.sent)} asked over {times} restarts, {asked.lost} lost, slowest {asked.slowest_s:.2f} s; "
        f"{sum(one.answered for one in kept)} over TCP, {len(cut)} lost, "
        f"{sum(one.crossed for one in kept)} crossed by a FIN, slowest "
        f"{max(one.slowest_s for one in kept):.2f} s, {sum(one.opened for one in kept)} connections"
    )
    assert len(asked.sent) > 250 * times
    assert asked.lost == 0
    assert cut == []


def test_restarts_under_load_lose_no_question_over_udp_and_tcp(
    lab: Lab, agent: Agent, client: Client
) -> None:
    restarted(lab, agent, client, 2)


@pytest.mark.slow
def test_eight_restarts_under_load_lose_no_question_over_udp_and_tcp(
    lab: Lab, agent: Agent, client: Client
) -> None:
    restarted(lab, agent, client, 8)


def test_reload_that_names_another_address_needs_a_restart(lab: Lab, agent: Agent, client: Client) -> None:
    elsewhere = SETTINGS.replace("[resolver]", '[resolver]\nlisten = ["127.0.0.1:5353"]')
    reloaded = agent.reload(elsewhere)
    assert reloaded.returncode == 0
    assert "resolver.listen" in reloaded.stdout
    assert client.ask("n1.example.org").addresses


def test_socket_that_no_setting_names_is_a_warning_and_the_rest_is_served(
    lab: Lab, held: list[socket.socket]
) -> None:
    spare = hold(lab, socket.SOCK_DGRAM, "127.0.0.9", 53)
    settings = SETTINGS.replace("[resolver]", '[resolver]\nlisten = ["127.0.0.1:53", "127.0.0.2:5301"]')
    agent = lab.agent(
        settings, user=AGENT_USER, sockets=[*held[:2], spare], capabilities=ONE_CAPABILITY, resolv_conf=False
    )
    try:
        (warning,) = agent.cli_json("status")["warnings"]
        assert "udp 127.0.0.9:53" in warning
        assert "resolver.listen" in warning
        assert warning in agent.log
        assert lab.host.addresses("n1.example.org") == ["198.18.0.2"]
        with lab.host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.connect(("127.0.0.2", 5301))  # no socket was handed over for it: bound by the agent
            sock.send(packet("n1.example.org"))
            assert read(sock.recv(65535)).addresses
    finally:
        spare.close()
        agent.kill()
        lab.host.run(["nft", "delete", "table", "inet", "dynallow"])


def test_port_that_nobody_opened_and_no_capability_says_what_would_open_it(
    lab: Lab, held: list[socket.socket]
) -> None:
    lab.host.sysctl(ipv4__ip_unprivileged_port_start=1024)
    agent = lab.agent(
        SETTINGS,
        user=AGENT_USER,
        sockets=held[:2],
        capabilities=ONE_CAPABILITY,
        wait=False,
        resolv_conf=False,
    )
    held[2].close()
    held[3].close()
    assert agent.process.wait(60) == EXIT_FAILED
    assert "[::1]:53" in agent.log
    assert "dynallow.socket" in agent.log
    assert "Traceback" not in agent.log
    assert "dynallow" not in lab.host.run(["nft", "list", "tables"]).stdout


def test_socket_that_takes_both_families_is_refused(lab: Lab) -> None:
    with hold(lab, socket.SOCK_DGRAM, "::", 5302, both=True) as both:
        settings = SETTINGS.replace("[resolver]", '[resolver]\nlisten = ["[::]:5302"]')
        agent = lab.agent(settings, sockets=[both], wait=False, resolv_conf=False)
        assert agent.process.wait(60) == EXIT_FAILED
    assert "BindIPv6Only=ipv6-only" in agent.log
