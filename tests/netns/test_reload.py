"""Reload: all or nothing, and nothing for whoever was not touched by it.

Needs the lab and dnsperf. What is shown: unchanged rules lose nothing,
removed rules' addresses are cut, broken settings change nothing.
"""

from __future__ import annotations

import errno
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Namespace, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.elements import Element
from tests.lab.faulty import faulty_agent
from tests.lab.needs import require_lab
from tests.netns import traffic

HEAD = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
"""
EXIT_SETTINGS, EXIT_KERNEL = 3, 6
ROUNDING_S = 0.05
BROKEN = (
    HEAD.replace("enforce", "enforced")
    + """
timeout = "soon"
[[rule]]
name = "kept"
names = ["kept.example.org"]
ports = ["tcp/99999"]
[[rule]]
name = "kept"
names = ["*.com"]
"""
)


def rule(name: str, *names: str, ports: str = '"tcp/443", "udp/443"') -> str:
    listed = ", ".join(f'"{pattern}"' for pattern in names or (f"{name}.example.org",))
    return f'[[rule]]\nname = "{name}"\nnames = [{listed}]\nports = [{ports}]\n'


BEFORE = HEAD + rule("kept") + rule("old-one") + rule("old-two")
AFTER = HEAD + rule("kept") + rule("new-one") + rule("new-two")
PLACES = {"kept": 10, "old-one": 11, "old-two": 12, "new-one": 13, "new-two": 14, "second": 15}


@pytest.fixture(scope="module")
def served() -> Iterator[Lab]:
    require_lab()
    with Lab() as lab:
        zone = Zone("example.org")
        for name, number in PLACES.items():
            zone.both(name, number)
        lab.serve(zone)
        yield lab


@pytest.fixture
def agent(served: Lab) -> Iterator[Agent]:
    """An agent under BEFORE with a lease for each rule; its table goes with it."""
    started = served.agent(BEFORE)
    for name in ("kept", "old-one", "old-two"):
        resolve(served.host, name)
    yield started
    started.kill()
    served.host.run(["nft", "flush", "ruleset"])


def resolve(host: Namespace, name: str) -> None:
    assert host.addresses(f"{name}.example.org") == [f"192.0.2.{PLACES[name]}"]
    assert host.addresses(f"{name}.example.org", "AAAA") == [f"2001:db8::{PLACES[name]:x}"]


def reaches(host: Namespace, name: str) -> bool:
    """Whether a new TCP connection to the name's address is let out; both families must agree."""
    code = "import socket, sys; [socket.create_connection((a, 443), 0.5).close() for a in sys.argv[1:]]"
    both = [
        host.python(code, address, check=False).returncode == 0
        for address in (f"192.0.2.{PLACES[name]}", f"2001:db8::{PLACES[name]:x}")
    ]
    assert both[0] == both[1]
    return both[0]


def set_names(host: Namespace) -> set[str]:
    return {item["set"]["name"] for item in host.nft_json("sets") if "set" in item}


def everything(host: Namespace) -> tuple[str, set[str]]:
    """Chains as text and the names of the sets: what a reload that changes nothing must leave."""
    text = host.run(["nft", "-s", "list", "table", "inet", "dynallow"]).stdout
    return text[text.index("\tchain ") :], set_names(host)


def lasted(before: Element, after: Element, elapsed_s: float) -> bool:
    return (
        before.expires_s is not None
        and after.expires_s is not None
        and after.expires_s >= before.expires_s - elapsed_s - ROUNDING_S
        and after.comment == before.comment
    )


def test_from_three_rules_to_three_others_under_load(served: Lab, agent: Agent) -> None:
    host = served.host
    wire = served.sniffer()
    with (
        traffic.questions(served, [f"{name}.example.org" for name in PLACES]) as load,
        traffic.running(served, "connect", ["192.0.2.10", "2001:db8::a"]) as connected,
        traffic.running(served, "forbidden", traffic.FORBIDDEN) as forbidden,
    ):
        read_at, before = time.monotonic(), host.set_elements("kept_v4")
        began = time.monotonic()
        reloaded = agent.reload(AFTER)
        took_ms = (time.monotonic() - began) * 1000
        assert reloaded.returncode == 0, reloaded
        after, elapsed_s = host.set_elements("kept_v4"), time.monotonic() - read_at
        assert lasted(before["192.0.2.10"], after["192.0.2.10"], elapsed_s)
        assert set_names(host) == {
            f"{name}_{family}"
            for name in ("used_flows", "denied_flows", "revoked", "kept", "new-one", "new-two")
            for family in ("v4", "v6")
        }
        assert not reaches(host, "old-one")
        assert not reaches(host, "old-two")
        for name in ("new-one", "new-two"):
            resolve(host, name)
            assert reaches(host, name)
        assert reaches(host, "kept")
    leaked = traffic.to_forbidden(wire.stop())
    print(
        f"reload: {took_ms:.0f} ms; {connected.tries} connects, {connected.failed} failed; "
        f"{forbidden.tries} forbidden rounds, {len(leaked)} leaked; dnsperf {load.completed}/{load.sent}"
    )
    assert connected.tries > 50
    assert connected.failed == 0, connected.first
    assert leaked == []


def test_reload_prints_what_changed(agent: Agent) -> None:
    agent.write_settings(AFTER)
    report = agent.cli_json("reload")
    assert report["changed"] is True
    assert sorted(report["rules_added"]) == ["new-one", "new-two"]
    assert sorted(report["rules_removed"]) == ["old-one", "old-two"]
    assert report["rules_changed"] == []
    assert report["needs_restart"] == []


def test_name_of_a_removed_rule_is_denied_at_once_even_when_it_was_cached(served: Lab, agent: Agent) -> None:
    assert agent.reload(AFTER).returncode == 0
    assert served.host.ask("old-one.example.org").rcode() == 3


def test_established_connection_of_a_removed_rule_is_cut(served: Lab, agent: Agent) -> None:
    settings = BEFORE.replace(rule("old-one"), rule("old-one", ports='"tcp/6001"'))
    code = (
        "import socket, sys; s = socket.create_connection(('192.0.2.11', 6001), 5); s.settimeout(0.5)\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    try: s.sendall(b'hello'); print('alive' if s.recv(100) else 'closed', flush=True)\n"
        "    except OSError: print('cut', flush=True)\n"
    )
    assert agent.reload(settings).returncode == 0
    process = served.host.popen([served.host.python_path, "-c", code], stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for expected, change in (("alive", None), ("cut", AFTER)):
            if change is not None:
                assert agent.reload(change).returncode == 0
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{expected}\n"
    finally:
        process.kill()
        process.communicate()


def test_broken_file_changes_nothing_exits_3_and_lists_every_fault(served: Lab, agent: Agent) -> None:
    before, leases = everything(served.host), served.host.set_elements("old-one_v4")
    refused = agent.reload(BROKEN)
    assert refused.returncode == EXIT_SETTINGS
    for got in ("enforced", "soon", "99999", "*.com", "kept"):
        assert got in refused.stderr, refused.stderr
    assert everything(served.host) == before
    assert served.host.set_elements("old-one_v4").keys() == leases.keys()
    assert reaches(served.host, "old-one")
    resolve(served.host, "old-two")


def test_sighup_with_a_broken_file_changes_nothing_and_logs_every_fault(served: Lab, agent: Agent) -> None:
    before = everything(served.host)
    agent.config.write_text(BROKEN)
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded" in agent.log and "*.com" in agent.log, "the report in the log")
    for got in ("enforced", "soon", "99999", "*.com"):
        assert got in agent.log
    assert everything(served.host) == before
    assert reaches(served.host, "old-one")


def test_sighup_with_a_good_file_is_a_reload(served: Lab, agent: Agent) -> None:
    agent.write_settings(AFTER)
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "new-one_v4" in set_names(served.host), "the new rule's set")
    assert not reaches(served.host, "old-one")
    resolve(served.host, "new-one")


def test_changed_max_per_rule_keeps_the_leases(served: Lab, agent: Agent) -> None:
    """The set is made anew with another size, in the same transaction."""
    read_at, before = time.monotonic(), served.host.set_elements("kept_v4")
    with traffic.running(served, "connect", ["192.0.2.10", "2001:db8::a"]) as connected:
        for size in (100, 200, 50):
            reloaded = agent.reload(BEFORE + f"[lease]\nmax-per-rule = {size}\n")
            assert reloaded.returncode == 0, reloaded
    after = served.host.set_elements("kept_v4")
    assert lasted(before["192.0.2.10"], after["192.0.2.10"], time.monotonic() - read_at)
    assert "size 100" in served.host.run(["nft", "list", "set", "inet", "dynallow", "kept_v4"]).stdout
    assert connected.failed == 0, connected.first


def test_name_removed_from_a_rule_that_stays_loses_its_lease(served: Lab, agent: Agent) -> None:
    both = HEAD + rule("kept", "kept.example.org", "second.example.org")
    assert agent.reload(both).returncode == 0
    resolve(served.host, "second")
    assert reaches(served.host, "second")
    assert agent.reload(HEAD + rule("kept")).returncode == 0
    assert "192.0.2.15" not in served.host.set_elements("kept_v4")
    assert "192.0.2.10" in served.host.set_elements("kept_v4")
    assert not reaches(served.host, "second")
    assert reaches(served.host, "kept")
    assert agent.reload(both).returncode == 0
    resolve(served.host, "second")
    assert reaches(served.host, "second")


def test_keys_that_a_reload_cannot_change_are_told_and_left(served: Lab, agent: Agent) -> None:
    agent.write_settings(BEFORE.replace("[resolver]", '[resolver]\nlisten = ["127.0.0.1:5300"]'))
    report = agent.cli_json("reload")
    assert [key for key in report["needs_restart"] if "resolver.listen" in key]
    resolve(served.host, "kept")


def test_ruleset_that_the_kernel_refuses_leaves_everything(lab: Lab) -> None:
    """The refusal comes before anything has changed."""
    lab.serve(Zone("example.org").both("kept", 10).both("old-one", 11))
    agent = faulty_agent(lab, BEFORE)
    resolve(lab.host, "kept")
    resolve(lab.host, "old-one")
    before = everything(lab.host)
    with traffic.running(lab, "connect", ["192.0.2.10", "2001:db8::a"]) as connected:
        agent.fault("ruleset", number=errno.EBUSY)
        refused = agent.reload(AFTER)
        agent.mend()
    assert refused.returncode == EXIT_KERNEL, refused
    assert "resource busy" in refused.stderr
    assert everything(lab.host) == before
    assert connected.failed == 0, connected.first
    assert reaches(lab.host, "old-one")
    assert lab.host.ask("new-one.example.org").rcode() == 3
    assert agent.reload(AFTER).returncode == 0
    assert not reaches(lab.host, "old-one")


@pytest.mark.parametrize("lost", [1, 2])
def test_load_whose_acknowledgement_is_lost_leaves_kernel_and_agent_of_one_mind(lost: int) -> None:
    """The kernel may have taken what the agent does not follow: it was open, and stayed so."""
    require_lab()
    with Lab(web=False) as lab:
        agent = faulty_agent(lab, BEFORE)
        before = everything(lab.host)
        agent.fault("deaf", lost)
        switched = agent.cli("mode", "observe")
        assert agent.struck["deaf"] == lost
        if lost == 1:  # done again, and heard
            assert switched.returncode == 0, switched
            assert agent.cli_json("status")["mode"] == "observe"
            assert "policy accept" in everything(lab.host)[0]
        else:
            assert switched.returncode == EXIT_KERNEL, switched
            assert agent.cli_json("status")["mode"] == "enforce"
            wait_until(lambda: everything(lab.host) == before, "what was in force")


def test_how_long_denials_may_be_remembered_is_told_anew_at_once(served: Lab, agent: Agent) -> None:
    def ttl_s() -> set[int]:
        replies = [served.host.ask(name) for name in ("a.example.net", "a.example.net", "org")]
        return {reply.authority[0].ttl for reply in replies}

    assert ttl_s() == {10}
    for told, seconds in (("1h", 3600), ("0s", 0), ("7s", 7)):
        agent.reload(HEAD + f'denied-ttl = "{told}"\n' + rule("kept"))
        assert ttl_s() == {seconds}
    broken = agent.reload(HEAD + 'denied-ttl = "2h"\n' + rule("kept"))
    assert broken.returncode == EXIT_SETTINGS
    assert "resolver.denied-ttl: expected whole seconds from 0s to 1h" in broken.stderr
    assert ttl_s() == {7}
