"""What survives a restart beside the leases: derived, further and whole names, cached answers; what must not.

Needs the lab. The agent is the real one, stopped or killed, and the next one is asked what it knows.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Zone, dnsbytes, wait_until
from tests.lab.agent import Agent
from tests.lab.dying import POINTS, DyingAgent, start_dying
from tests.netns.asking import Client

pytestmark = pytest.mark.netns

MIRROR, EDGE = "mirror.example.org", "edge.cdn.example.org"
ONE, TWO, NONE = "one.example.org", "two.example.org", "none.example.org"
LONG = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 50, "example.org"])
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [%s]
ports = ["tcp/80"]
[[rule]]
name = "mirror"
names = ["mirror.example.org"]
ports = ["tcp/80"]
"""
LISTED = ("one.example.org", "two.example.org", "none.example.org", f"*.{LONG.partition('.')[2]}")


def settings(*names: str) -> str:
    return SETTINGS % ", ".join(f'"{name}"' for name in names or LISTED)


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> None:
    org = Zone("example.org", ttl=600).cname("mirror", "edge.cdn").both("edge.cdn", 62).txt("none", "nothing")
    org.a("one", "192.0.2.60").a("two", "192.0.2.60").a(f"*.{LONG.partition('.')[2][:-12]}", "192.0.2.61")
    shared_lab.serve(org)


@pytest.fixture
def agent(shared_lab: Lab, upstream: None) -> Iterator[Agent]:
    started = shared_lab.agent(settings())
    yield started
    started.kill()
    shared_lab.host.run(["nft", "flush", "ruleset"])
    assert "Traceback" not in started.log, started.log


@pytest.fixture
def client(shared_lab: Lab) -> Iterator[Client]:
    opened = Client(shared_lab.host)
    yield opened
    opened.close()


def checkpoint(agent: Agent) -> Path:
    return agent.socket.with_name("checkpoint")


def again(agent: Agent, how: str = "stopped") -> None:
    """Another agent in its place."""
    if how == "stopped":
        assert agent.stop() == 0
    else:
        agent.kill()
    agent.start()


def written(agent: Agent, *lines: str) -> None:
    """Return when a checkpoint has lines that begin so; one of a moment ago need not have all of them."""
    file = checkpoint(agent)
    wait_until(
        lambda: file.exists() and all(f"\n{line} " in file.read_text() for line in lines), "the checkpoint"
    )


def answer_of(name: str) -> str:
    """How the line of its answer begins."""
    return f"answer {dnsbytes.name(name).hex()}"


def queries(agent: Agent) -> int:
    """Questions to upstreams since its start."""
    return sum(upstream["asked"] for upstream in agent.cli_json("status")["upstreams"])


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_derived_name_and_cache_survive_a_restart(
    shared_lab: Lab, agent: Agent, client: Client, how: str
) -> None:
    assert client.ask(EDGE).rcode == "NXDOMAIN"
    before = client.ask(MIRROR)
    assert before.addresses.keys() == {"192.0.2.62"}
    assert client.ask(EDGE).addresses.keys() == {"192.0.2.62"}
    assert client.ask(NONE).rcode == "NOERROR"  # nothing of this type
    if how == "killed":
        written(agent, "derived mirror", *map(answer_of, (MIRROR, EDGE, NONE)))
    again(agent, how)
    assert client.ask(EDGE).addresses.keys() == {"192.0.2.62"}
    after = client.ask(MIRROR)
    assert after.addresses.keys() == {"192.0.2.62"}
    assert after.longest_ttl <= before.longest_ttl
    held = shared_lab.host.set_elements("mirror_v4")["192.0.2.62"]
    assert held.expires_s is not None
    assert after.longest_ttl <= held.expires_s
    assert client.ask(NONE).rcode == "NOERROR"
    assert queries(agent) == 0


def test_whole_and_further_names_of_leases_survive_although_no_comment_holds_them(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    for name in (LONG, ONE, TWO):
        assert client.ask(name).addresses
    assert shared_lab.host.set_elements("web_v4")["192.0.2.61"].comment.endswith("...")
    again(agent)
    (lease,) = agent.cli_json("explain", "192.0.2.61")["leases"]
    assert lease["name"] == LONG
    assert agent.cli("flush", "--name", LONG).returncode == 0
    assert "192.0.2.61" not in shared_lab.host.set_elements("web_v4")
    assert agent.reload(settings(TWO)).returncode == 0
    assert "192.0.2.60" in shared_lab.host.set_elements("web_v4")


def test_rule_that_was_changed_while_no_agent_ran_counts_for_all_that_comes_back(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    for name in (ONE, TWO, MIRROR, EDGE):
        assert client.ask(name).addresses
    assert agent.stop() == 0
    agent.write_settings(settings(TWO).replace('"mirror.example.org"]', f'"{NONE}"]\nexcept = ["{EDGE}"]'))
    agent.start()
    for name in (ONE, MIRROR, EDGE):
        assert client.ask(name).rcode == "NXDOMAIN"
    assert shared_lab.host.set_elements("mirror_v4") == {}
    assert client.ask(TWO).addresses
    assert queries(agent) == 0  # its answer and its claim to the shared address have survived


def test_flushed_names_do_not_come_back_when_the_process_dies_after_it(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    for name in (ONE, MIRROR, EDGE):
        assert client.ask(name).addresses
    again(agent)
    assert "\nderived " in checkpoint(agent).read_text()
    assert agent.cli("flush", "--name", MIRROR).returncode == 0
    with contextlib.suppress(FileNotFoundError):  # gone, or written anew
        left = checkpoint(agent).read_text()
        assert "\nderived " not in left
        assert MIRROR.partition(".")[0].encode().hex() not in left
    again(agent, "killed")
    assert client.ask(EDGE).rcode == "NXDOMAIN"
    assert shared_lab.host.set_elements("mirror_v4") == {}


def test_checkpoint_beside_sets_that_hold_nothing_is_not_believed(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    for name in (ONE, MIRROR, EDGE, NONE):
        assert client.ask(name).rcode == "NOERROR"
    assert agent.stop() == 0
    shared_lab.host.run(["nft", "flush", "ruleset"])
    agent.start()
    assert client.ask(EDGE).rcode == "NXDOMAIN"
    assert queries(agent) == 0
    assert client.ask(ONE).addresses
    asked = queries(agent)  # once, or again where the machine stood still
    assert asked > 0
    assert client.ask(NONE).rcode == "NOERROR"
    assert queries(agent) > asked
    assert "192.0.2.60" in shared_lab.host.set_elements("web_v4")


def test_answer_with_an_address_that_left_its_set_is_asked_anew_and_leased(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    for name in (ONE, TWO, MIRROR):
        assert client.ask(name).addresses
    assert agent.stop() == 0
    shared_lab.host.run(["nft", "delete", "element", "inet", "dynallow", "web_v4", "{", "192.0.2.60", "}"])
    agent.start()
    assert client.ask(MIRROR).addresses
    assert queries(agent) == 0
    assert client.ask(ONE).addresses
    assert queries(agent) > 0
    assert "192.0.2.60" in shared_lab.host.set_elements("web_v4")


def test_checkpoint_that_is_torn_is_left_alone_and_replaced_by_the_next(agent: Agent, client: Client) -> None:
    assert client.ask(ONE).addresses
    assert agent.stop() == 0
    file = checkpoint(agent)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(file.read_bytes()[:-7])
    agent.start()
    assert "is left alone: it is damaged" in agent.log
    assert client.ask(ONE).addresses
    assert queries(agent) > 0
    again(agent)
    assert client.ask(ONE).addresses
    assert queries(agent) == 0


def test_counters_of_leases_and_of_denied_packets_go_on_over_a_restart(
    shared_lab: Lab, agent: Agent, client: Client
) -> None:
    assert client.ask(MIRROR).addresses
    code = (
        "import socket\n"
        "for address in ('192.0.2.62', '192.0.2.99'):\n"
        "    try: socket.create_connection((address, 80), 10).close()\n"
        "    except OSError: pass\n"
    )
    shared_lab.host.python(code)
    before = shared_lab.host.set_elements("mirror_v4")["192.0.2.62"]
    denied = agent.cli_json("status")["kernel"]["denied_packets"]
    assert denied
    assert before.packets
    again(agent, "killed")
    after = shared_lab.host.set_elements("mirror_v4")["192.0.2.62"]
    assert (after.packets, after.bytes) >= (before.packets, before.bytes)
    assert agent.cli_json("status")["kernel"]["denied_packets"] >= denied


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_its_worst_moments_the_next_agent_tells_nothing_that_the_kernel_does_not_hold(
    shared_lab: Lab, upstream: None, client: Client, point: str
) -> None:
    agent = start_dying(shared_lab, settings(), point)
    try:
        for name in (ONE, MIRROR, EDGE):
            assert client.ask(name).addresses
        if "revoked" in point:
            again(agent)  # leaves a checkpoint
        before = {name: shared_lab.host.set_elements(name) for name in ("web_v4", "mirror_v4")}
        agent.armed.touch()
        trigger(agent, client, point)
        agent.process.wait(60)
        assert agent.process.returncode == -signal.SIGKILL
        assert "policy drop" in shared_lab.host.run(["nft", "list", "table", "inet", "dynallow"]).stdout
        agent.armed.unlink()
        agent.start()
        assert_all_told_is_held(shared_lab, client)
        if "ledger does not know" not in point or "acknowledged" in point:
            for name, elements in before.items():
                assert elements.keys() <= shared_lab.host.set_elements(name).keys()
        else:
            assert queries(agent) > 0  # what was flushed is not told from anything that was remembered
        assert "Traceback" not in agent.log, agent.log
    finally:
        agent.kill()
        shared_lab.host.run(["nft", "flush", "ruleset"])


def trigger(agent: DyingAgent, client: Client, point: str) -> None:
    """Bring it there."""
    if "acknowledged" in point or "half" in point:
        with contextlib.suppress(TimeoutError, ConnectionError):
            client.ask(TWO, within_s=1.0)
        if "half" in point:
            agent.process.send_signal(signal.SIGTERM)
    elif "rules" in point:
        assert agent.reload(settings(TWO)).returncode != 0
        agent.write_settings(settings())
    else:
        assert agent.cli("flush").returncode != 0


def assert_all_told_is_held(lab: Lab, client: Client) -> None:
    for name, rule in ((ONE, "web"), (TWO, "web"), (MIRROR, "mirror"), (EDGE, "mirror")):
        told = client.ask(name)
        held = lab.host.set_elements(f"{rule}_v4")
        for address, ttl in told.addresses.items():
            assert ttl <= (held[address].expires_s or 0.0) + 1.0
    assert client.ask(ONE).addresses
