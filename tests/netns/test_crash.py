"""kill -9 and start again under load, and starts that must not succeed.

Needs the lab and dnsperf. What is shown: no lease lost or shortened, nothing
refused that was leased, and no moment with an open chain.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import NOBODY, Lab, Zone, wait_until
from tests.lab.agent import STOP_WITHIN_S, Agent
from tests.lab.elements import Element
from tests.lab.needs import require_lab, require_users
from tests.netns import traffic

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443", "udp/443"]
"""
BROKEN = """
mode = "enforced"
[resolver]
timeout = "soon"
[[rule]]
name = "Web"
names = ["*.com"]
"""
NAMES = tuple(f"n{number}.example.org" for number in range(50))
DENIED_NAMES = tuple(f"n{number}.example.com" for number in range(50))
LEASED = tuple(address for n in (1, 2, 3) for address in (f"198.18.0.{n}", f"2001:db8:f::{n}"))
EXIT_SETTINGS, EXIT_FAILED, EXIT_KERNEL = 3, 1, 6
# The kernel counts timeouts in jiffies and prints milliseconds; two reads are never at one moment.
ROUNDING_S = 0.05

Sets = dict[str, dict[str, Element]]


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        lab.serve(Zone("example.org", ttl=900).numbered(200).both("www", 10))
        yield lab


@pytest.fixture
def agent(served: Lab) -> Iterator[Agent]:
    """An agent with a lease for every one of NAMES; its table goes with it."""
    started = served.agent(SETTINGS)
    for name in NAMES:
        for kind in ("A", "AAAA"):
            assert served.host.addresses(name, kind)
    yield started
    started.kill()
    served.host.run(["nft", "flush", "ruleset"])


def read_sets(lab: Lab) -> Sets:
    return {name: lab.host.set_elements(name) for name in ("web_v4", "web_v6")}


def assert_nothing_lost(before: Sets, after: Sets, elapsed_s: float) -> None:
    """Every lease of before is there, and its end has come no nearer than the clock brought it."""
    for name, elements in before.items():
        for address, old in elements.items():
            assert address in after[name], f"{address} lost from {name}"
            new = after[name][address]
            assert old.expires_s is not None
            assert new.expires_s is not None
            assert new.expires_s >= old.expires_s - elapsed_s - ROUNDING_S, f"{address} shortened"
            assert new.comment == old.comment


def answered(agent: Agent) -> int:
    """Questions of any kind since this start."""
    counts = agent.cli_json("status")["questions"]
    return int(counts["hot"] + counts["allowed"] + counts["denied"])


def kill_and_start(lab: Lab, agent: Agent, times: int) -> None:
    """kill -9 and start again under load, checking after each; how long the starts took is printed."""
    took: list[float] = []
    wire = lab.sniffer()
    with (
        traffic.questions(lab, NAMES + DENIED_NAMES) as load,
        traffic.running(lab, "connect", LEASED) as connected,
        traffic.running(lab, "forbidden", traffic.FORBIDDEN) as forbidden,
    ):
        for _ in range(times):
            read_at, before = time.monotonic(), read_sets(lab)
            agent.kill()
            assert_nothing_lost(before, read_sets(lab), time.monotonic() - read_at)
            began = time.monotonic()
            agent.start()
            took.append(time.monotonic() - began)
            # A load that had stalled would make all this prove nothing.
            wait_until(lambda: answered(agent) > 200, "questions reaching the agent that was started")
            assert_nothing_lost(before, read_sets(lab), time.monotonic() - read_at)
    packets = wire.stop()
    print(
        f"{times} kills: starts {min(took):.2f}-{max(took):.2f} s; dnsperf {load.completed} of {load.sent}; "
        f"{connected.tries} connects, {connected.failed} failed; {forbidden.tries} forbidden rounds, "
        f"{len(packets)} packets on the wire"
    )
    assert load.completed > 200 * times
    assert connected.tries > 100
    assert connected.failed == 0, connected.first
    assert forbidden.tries > 100
    assert traffic.to_forbidden(packets) == []


def test_forbidden_traffic_without_a_table_is_seen_on_the_wire(served: Lab) -> None:
    """The control: the generator of these tests is able to get out."""
    wire = served.sniffer()
    with traffic.running(served, "forbidden", traffic.FORBIDDEN):
        served.host.run(["true"])
    assert traffic.to_forbidden(wire.stop())


def test_kill_and_start_under_load_loses_no_lease_and_opens_nothing(served: Lab, agent: Agent) -> None:
    kill_and_start(served, agent, 5)


@pytest.mark.slow
def test_two_hundred_kills_and_starts_under_load_lose_no_lease_and_open_nothing(
    served: Lab, agent: Agent
) -> None:
    kill_and_start(served, agent, 200)


def test_adopted_leases_keep_their_names_in_status(served: Lab, agent: Agent) -> None:
    agent.kill()
    agent.start()
    (rule,) = agent.cli_json("status")["rules"]
    names = {lease["address"]: lease["name"] for lease in rule["leases"]}
    assert names["198.18.0.1"] == names["2001:db8:f::1"] == "n0.example.org"
    assert len(names) == 2 * len(NAMES)


def test_adopted_lease_is_lengthened_by_the_next_answer_and_not_shortened(served: Lab, agent: Agent) -> None:
    read_at, before = time.monotonic(), read_sets(served)
    agent.kill()
    agent.start()
    assert served.host.addresses("n0.example.org") == ["198.18.0.1"]
    after = read_sets(served)
    assert_nothing_lost(before, after, time.monotonic() - read_at)
    old, new = (sets["web_v4"]["198.18.0.1"].expires_s for sets in (before, after))
    assert old is not None
    assert new is not None
    assert new > old - (time.monotonic() - read_at)


@pytest.mark.alone
def test_sigterm_under_load_ends_within_a_second_and_leaves_the_table(served: Lab, agent: Agent) -> None:
    table = served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout
    wire = served.sniffer()
    with (
        traffic.questions(served, NAMES, per_second=5000),
        traffic.running(served, "connect", LEASED) as connected,
        traffic.running(served, "forbidden", traffic.FORBIDDEN),
    ):
        wait_until(lambda: agent.cli_json("status")["questions"]["hot"] > 1000, "load")
        began = time.monotonic()
        assert agent.stop(within_s=STOP_WITHIN_S) == 0
        print(f"SIGTERM to exit: {(time.monotonic() - began) * 1000:.0f} ms")
    assert connected.failed == 0, connected.first
    assert traffic.to_forbidden(wire.stop()) == []
    after = served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout
    assert "policy drop" in after
    assert _chains(after) == _chains(table)


def test_second_instance_is_refused_and_changes_nothing(served: Lab, agent: Agent) -> None:
    generation, heals = _generation(served), _heals(agent)
    argv = [served.host.python_path, "-m", "dynallow", "run", "--config", str(agent.config)]
    second = served.host.run(argv, check=False)
    assert second.returncode == EXIT_FAILED
    assert f"another agent (pid {agent.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert _generation(served) == generation
    assert _heals(agent) == heals
    assert served.host.addresses("n0.example.org") == ["198.18.0.1"]


def test_second_instance_with_a_control_socket_of_its_own_changes_nothing(served: Lab, agent: Agent) -> None:
    """The table is taken: it must notice before it loads its own rules."""
    chains = _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout)
    generation, heals = _generation(served), _heals(agent)
    second = served.agent(SETTINGS.replace("443", "8443"), resolv_conf=False, wait=False)
    assert second.process.wait(60) == EXIT_FAILED
    assert _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout) == chains
    assert _generation(served) == generation
    assert _heals(agent) == heals
    assert f"another agent (pid {agent.process.pid})" in second.log
    assert "Traceback" not in second.log


def test_port_taken_by_another_program_is_a_clear_error_and_leaves_the_table(
    served: Lab, agent: Agent
) -> None:
    """No agent runs, so only the port says that this one must not load its rules."""
    agent.kill()
    table = _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout)
    generation = _generation(served)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53));"
        "print('ready', flush=True); sys.stdin.read()"
    )
    holder = served.host.popen([served.host.python_path, "-c", code], stdin=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        refused = served.agent(SETTINGS.replace("443", "8443"), resolv_conf=False, wait=False)
        assert refused.process.wait(60) == EXIT_FAILED
        assert "127.0.0.1:53" in refused.log
        assert "in use" in refused.log
        assert "Traceback" not in refused.log
        assert _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout) == table
        assert _generation(served) == generation
    finally:
        holder.kill()
        holder.communicate()


def test_start_with_broken_settings_exits_3_with_every_fault_and_leaves_the_table(
    served: Lab, agent: Agent
) -> None:
    read_at, before = time.monotonic(), read_sets(served)
    table = _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout)
    agent.kill()
    agent.config.write_text(BROKEN)
    agent.start(wait=False)
    assert agent.process.wait(60) == EXIT_SETTINGS
    for fault in ("mode", "resolver.timeout", "rule", "names"):
        assert fault in agent.log
    for got in ("enforced", "soon", "Web", "*.com"):
        assert got in agent.log
    assert "Traceback" not in agent.log
    assert _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout) == table
    assert_nothing_lost(before, read_sets(served), time.monotonic() - read_at)


def test_start_without_privilege_exits_6_with_a_hint_and_leaves_the_table(served: Lab, agent: Agent) -> None:
    require_users()
    agent.kill()
    table = _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout)
    argv = [served.host.python_path, "-m", "dynallow", "run", "--config", str(agent.config)]
    refused = served.host.run(argv, user=NOBODY, check=False)
    assert refused.returncode == EXIT_KERNEL
    assert "hint: " in refused.stderr
    assert "CAP_NET_ADMIN" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert _chains(served.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout) == table


def _chains(table: str) -> str:
    """The listing from the chains on: what a lease or a counter does not change."""
    return table[table.index("\tchain ") :]


def _generation(lab: Lab) -> list[int]:
    """The handles of the chain's rules: a load, even of the same text, gives new ones."""
    listed = lab.host.nft_json("chain", "inet", "dynallow", "output")
    return [item["rule"]["handle"] for item in listed if "rule" in item]


def _heals(agent: Agent) -> str:
    return next(
        line for line in agent.get("/metrics")[1].splitlines() if line.startswith("dynallow_table_healed")
    )
