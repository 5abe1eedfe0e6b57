"""The table under its owner: nobody else changes it while the agent lives, and it outlives the agent.

Needs the lab, and a kernel with OWNER and PERSIST (6.9). What others do to the table of a kernel without
these is in test_tampering.py.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Zone, wait_until
from tests.lab.agent import SHARED, Agent
from tests.lab.needs import require_lab
from tests.netns import traffic
from tests.netns.tamperings import HOT_ADDRESS, PASSED_OVER, TAMPERINGS, script_of

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = [".example.org"]
ports = ["tcp/443", "udp/443"]
"""
NAMES = tuple(f"n{number}.example.org" for number in range(8))
HOT_ADDRESSES = (HOT_ADDRESS, "2001:db8:f::1")


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        lab.serve(Zone("example.org", ttl=900).numbered(60))
        lab.agent(SETTINGS).kill()
        if "flags" not in lab.host.run(["nft", "list", "table", "inet", "dynallow"]).stdout:
            pytest.skip("this kernel knows no owner that can be outlived")
        yield lab


@pytest.fixture
def bare(served: Lab) -> Lab:
    """Without a table."""
    served.host.run(["nft", "flush", "ruleset"])
    return served


@pytest.fixture
def agent(bare: Lab) -> Iterator[Agent]:
    """With a lease for each of NAMES."""
    started = bare.agent(SETTINGS)
    ask(bare)
    yield started
    started.kill()


def ask(lab: Lab) -> None:
    for name in NAMES:
        for kind in ("A", "AAAA"):
            assert lab.host.addresses(name, kind)


def table(lab: Lab) -> str:
    """The whole table but for what time and packets change: counters, and the flows that they fill."""
    listed = lab.host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout
    bare = re.sub(
        r" expires [0-9a-z]+| comment| timeout [0-9a-z]+| counter packets \d+ bytes \d+", "", listed
    )
    return re.sub(r"(set \w+_flows_v[46] \{[^{}]*?)\t\telements = \{[^}]*\}\n", r"\1", bare)


def shape(lab: Lab) -> list[str]:
    """Sets and chains without elements and owner, in whatever order they were made."""
    listed = lab.host.run(["nft", "-s", "-t", "list", "table", "inet", "dynallow"]).stdout
    body = [line for line in listed.splitlines()[1:-1] if not line.startswith("\tflags")]
    return sorted("\n".join(body).strip("\n").split("\n\n"))


def is_owned(agent: Agent) -> bool:
    return bool(agent.cli_json("status")["kernel"]["owned"])


def left(lab: Lab, wire_packets: list[object]) -> list[object]:
    return [
        p
        for p in wire_packets
        if getattr(p, "from_host", False) and getattr(p, "dst", "") in traffic.FORBIDDEN
    ]


def test_others_hands_change_nothing_and_no_denied_packet_leaves(bare: Lab, agent: Agent) -> None:
    assert is_owned(agent)
    before = table(bare)
    wire = bare.sniffer()
    with (
        traffic.running(bare, "connect", HOT_ADDRESSES) as connected,
        traffic.running(bare, "forbidden", traffic.FORBIDDEN) as forbidden,
    ):
        for kind in TAMPERINGS:
            done = bare.host.run(["nft", "-f", "-"], stdin=script_of(bare, kind), check=False)
            if kind in PASSED_OVER:
                assert done.returncode == 0, kind
            else:
                assert "Operation not permitted" in done.stderr, kind
            assert table(bare) == before, kind
    assert left(bare, list(wire.stop())) == []
    print(
        f"{len(TAMPERINGS)} tamperings: {forbidden.tries} denied rounds, "
        f"{connected.failed} of {connected.tries} connects failed"
    )
    assert forbidden.tries > 0
    assert connected.failed == 0
    assert "changed table inet dynallow" not in agent.log
    assert "chain forward" in bare.host.run(["nft", "list", "table", "inet", "filter"]).stdout, (
        "theirs is loaded"
    )


def test_own_table_with_an_accept_lets_nothing_out_that_ours_denies(bare: Lab, agent: Agent) -> None:
    """An accept ends one base chain, not the packet's way: before ours, at its place, behind it."""
    wire = bare.sniffer()
    with traffic.running(bare, "forbidden", traffic.FORBIDDEN) as forbidden:
        for priority in (-300, 0, 300):
            script = (
                "table inet allow {\n chain output {\n"
                f"  type filter hook output priority {priority}; policy accept;\n  accept\n }}\n}}\n"
            )
            bare.host.run(["nft", "-f", "-"], stdin=script)
            assert bare.host.addresses(NAMES[0], "A")
            bare.host.run(["nft", "delete", "table", "inet", "allow"])
    assert left(bare, list(wire.stop())) == []
    assert forbidden.tries > 0


def test_table_outlives_its_owner_and_the_next_one_adopts_it(bare: Lab, agent: Agent) -> None:
    leases = {name: set(bare.host.set_elements(name)) for name in ("web_v4", "web_v6")}
    before = shape(bare)
    wire = bare.sniffer()
    with (
        traffic.running(bare, "connect", HOT_ADDRESSES) as connected,
        traffic.running(bare, "forbidden", traffic.FORBIDDEN),
    ):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            agent.process.send_signal(number)
            agent.process.wait(60)
            assert shape(bare) == before, "an orphan, and whole"
            agent = bare.agent(SETTINGS)
            assert is_owned(agent)
            assert {name: set(bare.host.set_elements(name)) for name in leases} == leases
    agent.kill()
    assert left(bare, list(wire.stop())) == []
    assert connected.failed == 0, connected.first


def test_orphan_that_somebody_deletes_is_made_anew_by_the_next_agent(bare: Lab, agent: Agent) -> None:
    before = shape(bare)
    agent.kill()
    bare.host.run(["nft", "delete", "table", "inet", "dynallow"])
    second = bare.agent(SETTINGS)
    assert shape(bare) == before
    assert is_owned(second)
    second.kill()


def test_orphan_that_somebody_changes_is_mended_by_the_next_agent(bare: Lab, agent: Agent) -> None:
    before = shape(bare)
    agent.kill()
    bare.host.run(["nft", "insert", "rule", "inet", "dynallow", "output", "accept"])
    bare.host.run(["nft", "add", "table", "inet", "dynallow", "{ flags dormant; }"], check=False)
    second = bare.agent(SETTINGS)
    assert shape(bare) == before
    assert is_owned(second)
    second.kill()


def test_plain_table_of_an_older_agent_gets_its_owner_and_keeps_every_lease(bare: Lab) -> None:
    """One transaction: the table is deleted and made with an owner, chains, elements and all."""
    older = bare.agent(SETTINGS, options=SHARED)
    assert not is_owned(older)
    ask(bare)
    assert "flags" not in bare.host.run(["nft", "list", "table", "inet", "dynallow"]).stdout.splitlines()[1]
    before, leases = shape(bare), bare.host.set_elements("web_v4")
    older.kill()
    wire = bare.sniffer()
    with (
        traffic.running(bare, "connect", HOT_ADDRESSES) as connected,
        traffic.running(bare, "forbidden", traffic.FORBIDDEN) as forbidden,
    ):
        newer = bare.agent(SETTINGS)
    assert is_owned(newer)
    after = bare.host.set_elements("web_v4")
    newer.kill()
    assert left(bare, list(wire.stop())) == []
    print(
        f"{forbidden.tries} denied rounds meanwhile, {connected.failed} of {connected.tries} connects failed"
    )
    assert connected.failed == 0, connected.first
    assert shape(bare) == before
    assert after.keys() == leases.keys()
    assert {address: one.comment for address, one in after.items()} == {
        address: one.comment for address, one in leases.items()
    }
    assert after[HOT_ADDRESS].packets >= leases[HOT_ADDRESS].packets


def test_kernel_writes_messages_of_changes_only_where_others_may_make_them(bare: Lab, agent: Agent) -> None:
    assert not _hears_changes(agent)
    agent.kill()
    second = bare.agent(SETTINGS, options=SHARED)
    assert _hears_changes(second)
    second.kill()


def _hears_changes(agent: Agent) -> bool:
    """Whether the agent is in the multicast group of nf_tables' messages (7, of protocol 12)."""
    rows = Path(f"/proc/{agent.process.pid}/net/netlink").read_text().splitlines()[1:]
    columns = [row.split() for row in rows]
    return any(words[1] == "12" and int(words[3], 16) & 1 << 6 for words in columns)


def test_owned_table_is_shared_again_with_an_agent_that_does_without(bare: Lab, agent: Agent) -> None:
    leases = set(bare.host.set_elements("web_v4"))
    agent.kill()
    second = bare.agent(SETTINGS, options=SHARED)
    assert not is_owned(second)
    assert set(bare.host.set_elements("web_v4")) == leases
    assert second.cli("status").stdout.count(", shared") == 1
    bare.host.run(["nft", "flush", "ruleset"])
    wait_until(lambda: "is whole again" in second.log, "the table's rebuilding")
    second.kill()


def test_reload_of_an_owned_table_keeps_leases_and_owner(bare: Lab, agent: Agent) -> None:
    leases = set(bare.host.set_elements("web_v4"))
    agent.write_settings(SETTINGS.replace('"tcp/443", ', '"tcp/443", "tcp/80", '))
    assert agent.cli("reload").returncode == 0
    assert "dport { 80, 443 }" in bare.host.run(["nft", "list", "chain", "inet", "dynallow", "output"]).stdout
    assert set(bare.host.set_elements("web_v4")) == leases
    done = bare.host.run(["nft", "delete", "table", "inet", "dynallow"], check=False)
    assert "Operation not permitted" in done.stderr


def test_firewall_verb_while_the_agent_lives_leaves_the_table_to_it(bare: Lab, agent: Agent) -> None:
    before = table(bare)
    done = agent.cli("firewall", "--config", str(agent.config))
    assert done.returncode == 0
    assert "held by the agent" in done.stdout
    assert table(bare) == before


def test_check_while_the_agent_lives_checks(bare: Lab, agent: Agent) -> None:
    """Nobody else may touch the owned table, not even to check it: it is checked beside it."""
    done = agent.cli("check", str(agent.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert "accepted" in done.stdout
    listed = bare.host.run(["nft", "list", "tables"]).stdout
    assert listed.split("\n")[0] == "table inet dynallow"
    assert "check" not in listed


def test_ruleset_verb_is_what_nft_lists_but_for_the_owner(bare: Lab, agent: Agent) -> None:
    listed = bare.host.run(["nft", "-s", "-t", "list", "table", "inet", "dynallow"]).stdout
    lines = [line for line in listed.splitlines() if not line.startswith("\tflags")]
    printed = agent.cli("ruleset", str(agent.config)).stdout.splitlines()
    assert lines[0].split(" #")[0] == printed[0]
    assert sorted(filter(None, lines[1:])) == sorted(filter(None, printed[1:]))


def test_doctor_tells_each_feature_and_what_follows_without(bare: Lab) -> None:
    without = (*SHARED, "--without", "in-place-refresh", "--without", "counting")
    for options, there in (((), True), (without, False)):
        agent = bare.agent(SETTINGS, options=options)
        found = [
            one["found"] for one in agent.cli_json("doctor")["findings"] if one["check"] == "kernel feature"
        ]
        assert len(found) == 4
        for feature in ("ownership of the table", "refresh in place"):
            assert any(text.startswith(feature if there else f"no {feature}") for text in found), found
        listed = bare.host.run(["nft", "list", "table", "inet", "dynallow"]).stdout
        assert ("used_flows_v4" in listed) == ("goto used" in listed) == there
        told = any("does not count flows" in text for text in agent.cli_json("status")["warnings"])
        assert told != there
        agent.kill()


def test_own_user_owns_the_table_by_its_capability_alone(bare: Lab) -> None:
    agent = bare.agent(SETTINGS, user=993)
    assert is_owned(agent)
    done = bare.host.run(["nft", "flush", "table", "inet", "dynallow"], check=False)
    assert "Operation not permitted" in done.stderr
    agent.kill()
