"""Taking leases away: elements gone, flows cut, what others still allow left alone. And budgets.

Needs the lab. Revocation is the one act that shortens a lease (invariant 3).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import Lab, Namespace, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import require_lab

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = ["www.example.org", "twin.example.org", "other.example.org"]
ports = ["tcp/6001", "udp/6001"]
[[rule]]
name = "api"
names = ["api.example.org", "shared.example.org"]
ports = ["tcp/6001"]
"""
EXPIRING = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = ["www.example.org"]
ports = ["tcp/6001"]
expires = {expires}
"""
FOUR = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[lease]
max-per-rule = 4
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/6001"]
"""
TALK = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 6001), 5)
sock.settimeout(1)
print("ready", flush=True)
for line in sys.stdin:
    try:
        sock.sendall(b"hello")
        print("alive" if sock.recv(100) else "closed", flush=True)
    except OSError:
        print("cut", flush=True)
"""
# The peer sends all the time; what of it is still acknowledged can be told by how much more it may send.
CHATTER = """
import select, socket, sys
server = socket.create_server(("203.0.113.9", 6005))
print("ready", flush=True)
sock, _ = server.accept()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
sock.settimeout(0.02)
sent = 0
while True:
    try:
        sent += sock.send(b"chatter" * 100)
    except TimeoutError:
        pass
    except OSError:
        break
    if select.select([0], [], [], 0)[0]:
        sys.stdin.readline()
        print(sent, flush=True)
"""
LISTEN = """
import socket, sys
sock = socket.create_connection(("203.0.113.9", 6005), 5)
print("ready", flush=True)
while sock.recv(65536):
    pass
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        zone = Zone("example.org").both("www", 10).both("twin", 10).both("other", 11)
        zone.both("api", 12).both("shared", 10).a("far", "203.0.113.9")
        zone.a("five", *(f"192.0.2.{n}" for n in range(101, 106))).numbered(20)
        lab.serve(zone)
        yield lab


@pytest.fixture
def agent(served: Lab) -> Iterator[Agent]:
    started = served.agent(SETTINGS)
    yield started
    started.kill()
    served.host.run(["nft", "flush", "ruleset"])


def resolve(host: Namespace, *names: str) -> None:
    for name in names:
        for kind in ("A", "AAAA"):
            assert host.addresses(f"{name}.example.org", kind), name


def reaches(host: Namespace, address: str) -> bool:
    code = "import socket, sys; socket.create_connection((sys.argv[1], 6001), 0.5).close()"
    return host.python(code, address, check=False).returncode == 0


@contextmanager
def spoken(host: Namespace, code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process on `host` that has said "ready"."""
    process = host.popen([host.python_path, "-c", code, *arguments], stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str]) -> str:
    """One line in, one line out."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def metric(agent: Agent, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", agent.get("/metrics")[1], re.MULTILINE)
    assert found is not None, line
    return float(found[1])


def flush(agent: Agent, *words: str) -> set[tuple[str, str]]:
    """`dynallow flush`; (rule, address) of everything that it says it has revoked."""
    report = agent.cli_json("flush", *words)
    return {(lease["rule"], lease["address"]) for lease in report["revoked"]}


# -- flush --------------------------------------------------------------------


def test_flush_of_everything_empties_every_set(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www", "other", "api")
    assert reaches(served.host, "192.0.2.10")
    assert flush(agent) == {
        (rule, address)
        for rule, last in (("web", 10), ("web", 11), ("api", 12))
        for address in (f"192.0.2.{last}", f"2001:db8::{last:x}")
    }
    for name in ("web_v4", "web_v6", "api_v4", "api_v6"):
        assert served.host.set_elements(name) == {}
    for address in ("192.0.2.10", "2001:db8::b", "192.0.2.12"):
        assert not reaches(served.host, address)


def test_flush_of_a_rule_leaves_the_others(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www", "other", "api")
    assert {rule for rule, _ in flush(agent, "--rule", "web")} == {"web"}
    assert served.host.set_elements("web_v4") == {}
    assert served.host.set_elements("api_v4").keys() == {"192.0.2.12"}
    assert not reaches(served.host, "192.0.2.10")
    assert reaches(served.host, "192.0.2.12")


def test_flush_of_a_name_leaves_the_others(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www", "other")
    assert flush(agent, "--name", "other.example.org") == {("web", "192.0.2.11"), ("web", "2001:db8::b")}
    assert served.host.set_elements("web_v4").keys() == {"192.0.2.10"}
    assert not reaches(served.host, "192.0.2.11")
    assert reaches(served.host, "192.0.2.10")


def test_address_that_another_name_of_the_rule_holds_lives_on(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www", "twin")
    assert flush(agent, "--name", "www.example.org") == set()
    assert reaches(served.host, "192.0.2.10")
    assert flush(agent, "--name", "twin.example.org") == {("web", "192.0.2.10"), ("web", "2001:db8::a")}
    assert not reaches(served.host, "192.0.2.10")


def test_address_that_another_rule_holds_lives_on_with_its_connections(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www", "shared")
    with spoken(served.host, TALK, "192.0.2.10") as flow:
        assert say(flow) == "alive"
        assert ("web", "192.0.2.10") in flush(agent, "--rule", "web")
        assert served.host.set_elements("web_v4") == {}
        assert served.host.set_elements("api_v4").keys() == {"192.0.2.10"}
        assert say(flow) == "alive"
        assert reaches(served.host, "192.0.2.10")


@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::a"])
def test_established_connection_to_a_flushed_address_is_cut(served: Lab, agent: Agent, address: str) -> None:
    resolve(served.host, "www")
    with spoken(served.host, TALK, address) as flow:
        assert say(flow) == "alive"
        flush(agent, "--rule", "web")
        assert say(flow) == "cut"


def test_connection_whose_peer_keeps_sending_is_cut(served: Lab, agent: Agent) -> None:
    """The peer's next packet makes a new conntrack entry from its side: no way back in (DESIGN 8.2)."""
    settings = SETTINGS.replace('"other.example.org"]', '"far.example.org"]').replace("6001", "6005")
    assert agent.reload(settings).returncode == 0
    assert served.host.addresses("far.example.org") == ["203.0.113.9"]
    # The echo of the lab redirects every port: this one is served by the test itself.
    served.elsewhere.run(["nft", "insert", "rule", "inet", "lab", "pre", "tcp", "dport", "6005", "accept"])
    with spoken(served.elsewhere, CHATTER) as peer, spoken(served.host, LISTEN):
        first = int(say(peer))
        wait_until(lambda: int(say(peer)) > first + 1000, "the peer's data flowing")
        wire = served.sniffer()
        assert flush(agent, "--rule", "web") == {("web", "203.0.113.9")}
        cut_at = served.sniffer()
        full: list[int] = []

        def stalled() -> bool:
            full.append(int(say(peer)))
            return len(full) > 20 and len(set(full[-20:])) == 1

        wait_until(stalled, "the peer's window closing")
        assert [str(p) for p in cut_at.stop() if p.from_host and p.dst == "203.0.113.9"] == []
        arriving = [p for p in wire.stop() if not p.from_host and p.src == "203.0.113.9"]
        assert arriving  # it does keep sending
    assert not reaches(served.host, "203.0.113.9")


def test_flushed_address_that_is_granted_again_is_reachable_again(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www")
    flush(agent)
    assert served.host.set_elements("revoked_v4").keys() == {"192.0.2.10"}
    assert not reaches(served.host, "192.0.2.10")
    resolve(served.host, "www")
    assert served.host.set_elements("revoked_v4") == {}
    assert reaches(served.host, "192.0.2.10")
    assert reaches(served.host, "2001:db8::a")


def test_revocation_survives_a_crash(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www")
    with spoken(served.host, TALK, "192.0.2.10") as flow:
        assert say(flow) == "alive"
        flush(agent)
        agent.kill()
        agent.start()
        assert say(flow) == "cut"
        assert not reaches(served.host, "192.0.2.10")
        resolve(served.host, "www")
        assert reaches(served.host, "192.0.2.10")


def test_flush_of_an_unknown_rule_is_an_error_and_revokes_nothing(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www")
    refused = agent.cli("flush", "--rule", "wab")
    assert refused.returncode not in (0, 4)
    assert "wab" in refused.stderr
    assert reaches(served.host, "192.0.2.10")


# -- rules that expire ----------------------------------------------------------


def _day(served: Lab, shift: str) -> str:
    return served.host.run(["date", "-u", "-d", shift, "+%Y-%m-%d"]).stdout.strip()


def test_rule_that_expired_yesterday_allows_nothing_and_its_leases_go(served: Lab, agent: Agent) -> None:
    assert agent.reload(EXPIRING.format(expires=_day(served, "tomorrow"))).returncode == 0
    resolve(served.host, "www")
    assert reaches(served.host, "192.0.2.10")
    assert agent.reload(EXPIRING.format(expires=_day(served, "yesterday"))).returncode == 0
    assert served.host.ask("www.example.org").rcode() == dns_nxdomain()
    assert served.host.set_elements("web_v4") == {}
    assert not reaches(served.host, "192.0.2.10")


def test_rule_that_expires_today_still_allows_but_no_lease_outlives_the_day(
    served: Lab, agent: Agent
) -> None:
    import datetime

    assert agent.reload(EXPIRING.format(expires=_day(served, "today"))).returncode == 0
    resolve(served.host, "www")
    assert reaches(served.host, "192.0.2.10")
    now = datetime.datetime.now(datetime.UTC)
    midnight = (now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    expires_s = served.host.set_elements("web_v4")["192.0.2.10"].expires_s
    assert expires_s is not None
    assert expires_s <= (midnight - now).total_seconds() + 1


def test_lease_of_a_rule_that_expired_while_no_agent_ran_goes_at_the_start(served: Lab, agent: Agent) -> None:
    resolve(served.host, "www")
    agent.kill()
    agent.write_settings(EXPIRING.format(expires=_day(served, "yesterday")))
    agent.start()
    assert served.host.set_elements("web_v4") == {}
    assert not reaches(served.host, "192.0.2.10")


def dns_nxdomain() -> int:
    return 3


# -- budgets ----------------------------------------------------------------------


@pytest.fixture
def small(served: Lab) -> Iterator[Agent]:
    """An agent that leases four addresses a rule."""
    started = served.agent(FOUR)
    yield started
    started.kill()
    served.host.run(["nft", "flush", "ruleset"])


def test_answer_larger_than_the_budget_is_trimmed_to_what_fits(served: Lab, small: Agent) -> None:
    told = served.host.addresses("five.example.org")
    assert len(told) == 4
    assert served.host.set_elements("web_v4").keys() == set(told)
    assert all(reaches(served.host, address) for address in told)
    assert metric(small, 'dynallow_questions_total{outcome="trimmed"}') == 1


def test_answer_that_fits_nowhere_is_servfail_and_counted(served: Lab, small: Agent) -> None:
    for number in range(4):
        assert served.host.addresses(f"n{number}.example.org")
    refused = served.host.ask("n4.example.org")
    assert refused.rcode() == 2
    assert refused.answer == []
    assert len(served.host.set_elements("web_v4")) == 4
    assert not reaches(served.host, "198.18.0.5")
    assert metric(small, 'dynallow_questions_total{outcome="servfail"}') >= 1
    assert metric(small, 'dynallow_questions_total{outcome="trimmed"}') >= 1


def test_name_that_holds_a_lease_is_refreshed_though_the_rule_is_full(served: Lab, small: Agent) -> None:
    for number in range(4):
        assert served.host.addresses(f"n{number}.example.org")
    assert served.host.ask("n5.example.org").rcode() == 2
    small.kill()
    small.start()  # its cache is gone: the answer is fresh and the lease is asked for again
    assert served.host.addresses("n0.example.org") == ["198.18.0.1"]
    assert reaches(served.host, "198.18.0.1")


def test_full_rule_leaves_room_after_a_flush(served: Lab, small: Agent) -> None:
    for number in range(4):
        assert served.host.addresses(f"n{number}.example.org")
    assert served.host.ask("n6.example.org").rcode() == 2
    flush(small, "--name", "n0.example.org")
    assert served.host.addresses("n6.example.org") == ["198.18.0.7"]
    assert reaches(served.host, "198.18.0.7")


def test_grace_of_zero_still_answers(served: Lab, agent: Agent) -> None:
    reloaded = agent.reload(SETTINGS + '[lease]\ngrace = "0s"\n')
    assert reloaded.returncode == 0, reloaded
    assert served.host.addresses("www.example.org") == ["192.0.2.10"]
    assert reaches(served.host, "192.0.2.10")
