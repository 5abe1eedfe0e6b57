"""Within a second of a revocation no packet flows to an address that nothing justifies any more.

Needs the lab. A hundred flows at once, TCP and UDP, IPv4 and IPv6, both ends sending all the time; a sniffer
on the wire has the last word. What something else justifies goes on without losing a packet.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.lab import Lab, standing, wait_until
from tests.lab.waiting import in_time
from tests.netns.cutting import (
    FOUR,
    SETTINGS,
    SIX,
    WITHOUT_WEB,
    OldTrial,
    Trial,
    chatterer,
    furnished,
    process,
    resolve,
    say,
    started,
    to_them,
)

WITHIN_S = 1.0
EACH = 25
ALL = [[protocol, address, 6005, EACH] for protocol in ("tcp", "udp") for address in (FOUR, SIX)]
TWO = json.dumps([["tcp", FOUR, 6005, 5], ["udp", SIX, 6005, 5]])
WAIT = """
import errno, socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
sock.connect((sys.argv[2], 6006))
sock.send(b"hello")
sock.recv(100)
print("ready", flush=True)
try:
    sock.recv(100)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    with furnished() as lab:
        yield lab


@pytest.fixture(scope="module")
def peer(served: Lab) -> Iterator[subprocess.Popen[str]]:
    with chatterer(served) as running:
        yield running


@pytest.fixture(scope="module", params=[Trial, OldTrial], ids=["all features", "none of the newer features"])
def agent(request: pytest.FixtureRequest, served: Lab) -> Iterator[Trial]:
    running = started(served, request.param)
    yield running
    running.stop()
    served.host.run(["nft", "delete", "table", "inet", "dynallow"], check=False)


@pytest.fixture(autouse=True)
def _as_new(request: pytest.FixtureRequest) -> None:
    """Settings, leases and clock as at the start."""
    if "agent" in request.fixturenames:
        running: Trial = request.getfixturevalue("agent")
        running.later(0)
        assert running.reload(SETTINGS.format(expires="")).returncode == 0
        running.cli("flush")


def ended_by(agent: Trial, how: str) -> float:
    """Revoke; the wall-clock second from which on the promise counts."""
    if how == "flush":
        agent.cli_json("flush", "--rule", "web")
    elif how == "reload":
        assert agent.reload(WITHOUT_WEB.format(expires="")).returncode == 0
    else:
        agent.later(2 * 86400)
    return time.time()


# ---------------------------------------------------------------- within a second


@pytest.mark.alone
@pytest.mark.parametrize("how", ["flush", "reload", "expires"])
def test_hundred_flows_end_within_a_second_although_their_peers_go_on(
    served: Lab, agent: Trial, peer: subprocess.Popen[str], how: str
) -> None:
    if how == "expires":
        today = served.host.run(["date", "-u", "+%Y-%m-%d"]).stdout.strip()
        assert agent.reload(SETTINGS.format(expires=f"expires = {today}")).returncode == 0
    resolve(served.host, "www")
    with process(served.host, "flows_process", json.dumps(ALL)) as flows:
        wire = served.sniffer()
        wait_until(lambda: min(group["sent"] for group in say(flows)) > 5 * EACH, "flows in both directions")
        moment = ended_by(agent, how)
        began = standing.clock()  # which stands still with the machine, as the agent does
        wait_until(lambda: standing.clock() > began + WITHIN_S, "the second")
        over = time.time()
        sent = say(peer)
        wait_until(lambda: say(peer) > sent + 40, "the peer that goes on")
        told = say(flows)
        packets = wire.stop()
    outgoing = to_them(packets, 6005)
    assert len(outgoing) > 100
    last_s = outgoing[-1].time - moment
    print(f"{how}: the last of {len(outgoing)} packets {last_s:+.3f} s after it")
    in_time(last_s, over - moment, f"the last packet after {how}")
    assert [p for p in packets if not p.from_host and p.time > over], "the peer was silent"
    if agent.without:
        told = told[:2]  # refused by the chain when they sent; a refused datagram ends nothing
    assert [group["alive"] for group in told] == [0] * len(told)
    assert served.host.set_elements("web_v4") == {}


def test_flows_by_another_rules_and_a_destinations_ports_go_on_without_a_lost_packet(
    served: Lab, agent: Trial, peer: subprocess.Popen[str]
) -> None:
    resolve(served.host, "www", "api")
    others = [
        [proto, addr, port, 2] for proto in ("tcp", "udp") for addr in (FOUR, SIX) for port in (6006, 6007)
    ]
    with (
        process(served.host, "flows_process", TWO) as web,
        nullcontext(served.sniffer()) as whole,
        process(served.host, "flows_process", json.dumps(others)) as going,
    ):
        agent.cli_json("flush", "--rule", "web")
        before = [group["received"] for group in say(going)]
        cut = served.sniffer()
        wait_until(
            lambda: all(g["received"] > b + 40 for g, b in zip(say(going), before, strict=True)),
            "what goes on",
        )
        told = say(going, "hush")
        assert [(group["alive"], group["errors"]) for group in told] == [(2, {})] * len(others)
        wire = [packet.protocol for packet in to_them(whole.stop(), 6006, 6007)]
        assert wire.count("udp") == sum(group["sent"] for group in told[4:])
        wait_until(lambda: all(g["received"] == g["sent"] for g in say(going)[:4]), "what TCP carries")
        assert to_them(cut.stop(), 6005) == []
        assert say(web)[0]["alive"] == 0
    # What something else opens is not judged any longer than it takes to tell the flows apart.
    wait_until(lambda: served.host.set_elements("revoked_v4") == {}, "the end of the judging")


def test_address_earned_again_at_once_by_another_rule_opens_that_rules_port_alone(
    served: Lab, agent: Trial, peer: subprocess.Popen[str]
) -> None:
    resolve(served.host, "www")
    with process(served.host, "flows_process", TWO) as web:
        agent.cli_json("flush", "--rule", "web")
        resolve(served.host, "api")
        assert served.host.set_elements("revoked_v4") == {}
        wire = served.sniffer()
        with process(
            served.host, "flows_process", json.dumps([["udp", FOUR, 6006, 1], ["tcp", SIX, 6006, 1]])
        ):
            sent = say(peer)
            wait_until(lambda: say(peer) > sent + 40, "the peer that goes on")
        assert to_them(wire.stop(), 6005) == []
        wait_until(lambda: say(web)[0]["alive"] == 0, "the end of the flows, as their program sees it")
    resolve(served.host, "www")
    with process(served.host, "flows_process", json.dumps([["tcp", FOUR, 6005, 1], ["udp", SIX, 6005, 1]])):
        pass  # it is ready: answered


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", [FOUR, SIX])
def test_program_that_only_waits_is_told_at_once(
    served: Lab, agent: Trial, protocol: str, address: str
) -> None:
    if "sock-destroy" in agent.without:
        pytest.xfail("a program that does not send is not told where the kernel cannot end its socket")
    resolve(served.host, "api")
    with served.host.popen([served.host.python_path, "-c", WAIT, protocol, address]) as waiting:
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "ready\n"
            agent.cli_json("flush", "--rule", "api")
            assert waiting.stdout.readline() == "ECONNABORTED\n"
        finally:
            waiting.kill()


SERVE = """
import socket
server = socket.create_server(("::", 2222), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
flows = []
while True:
    sock, _ = server.accept()
    import threading
    def talk(sock):
        while data := sock.recv(100):
            sock.sendall(data)
    threading.Thread(target=talk, args=(sock,), daemon=True).start()
"""
COME_IN = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 2222), 60, (sys.argv[2], 0))
print("ready", flush=True)
for line in sys.stdin:
    sock.sendall(b"hello")
    print(sock.recv(100).decode(), flush=True)
"""


@pytest.mark.parametrize(("host", "guest"), [("10.10.1.2", "192.0.2.30"), ("fd00:10:1::2", "2001:db8::1e")])
def test_session_that_was_opened_from_a_revoked_address_goes_on(
    served: Lab, agent: Trial, host: str, guest: str
) -> None:
    """An administrator's own SSH session, from an address that a rule happened to allow."""
    for kind in ("A", "AAAA"):
        assert served.host.addresses("far.example.org", kind)
    python = served.host.python_path
    with served.host.popen([python, "-c", SERVE]) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            guests = []
            for _ in range(2):
                argv = [python, "-c", COME_IN, host, guest]
                guests.append(served.internet.popen(argv, stdin=subprocess.PIPE))
                out, into = guests[-1].stdout, guests[-1].stdin
                assert out is not None
                assert into is not None
                assert out.readline() == "ready\n"
                into.write("go\n")
                into.flush()
                assert out.readline() == "hello\n"
                agent.cli_json("flush", "--rule", "far")  # the second comes when it is revoked already
                into.write("go\n")
                into.flush()
                assert out.readline() == "hello\n"
                revoked = served.host.set_elements("revoked_v4") | served.host.set_elements("revoked_v6")
                assert guest in revoked
        finally:
            for one in (*guests, server):
                one.kill()
                one.communicate()
