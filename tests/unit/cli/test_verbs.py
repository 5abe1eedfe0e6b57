"""The verbs that ask the agent, against the real server: what they print and end with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynallow.errors import Fault, KernelError, SettingsError
from dynallow.units import PortRange
from tests.unit.cli.command import dynallow
from tests.unit.control.agent import LEASE, MemoryAgent, serving


@pytest.fixture
def agent() -> MemoryAgent:
    return MemoryAgent()


@pytest.fixture
def socket(tmp_path: Path, agent: MemoryAgent) -> Iterator[Path]:
    path = tmp_path / "control.sock"
    with serving(agent, path):
        yield path


def test_status_prints_header_rules_and_leases(socket: Path) -> None:
    ran = dynallow("--socket", socket)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("mode        enforce: what no rule allows is blocked since ")
    assert any(line.startswith("agent       0.1.0, pid 4242 since ") for line in lines)
    checked = "gives cookies, changes case"
    assert (
        f"upstreams   192.0.2.1 FAILING, 9 asked, 2 failed, 1.5 ms, {checked}: no answer within 2 s" in lines
    )
    assert "warning     upstream 192.0.2.1 does not answer" in lines
    told = "2 questions, 8 connections in the last hour; 3 packets (180 B) in all"
    assert f"denied      {told}" in lines
    heading = "rule mirror: 1 lease, 12 packets (4.0 KiB); tcp/443; root; OS updates; owner platform team"
    assert heading in lines
    assert "rule api: no leases; tcp/443; root; OS updates; owner platform team" in lines
    row = next(line for line in lines if "198.51.100.7" in line)
    assert row.split() == ["198.51.100.7", "deb.example.org", "1m33s", "12", "4.0", "KiB"]
    assert "destination ntp: 192.0.2.123/32; udp/123; every user; time" in lines


def test_status_of_one_rule_leaves_the_others_out(socket: Path) -> None:
    ran = dynallow("status", "--rule", "api", "--socket", socket)
    assert "rule api" in ran.stdout
    assert "rule mirror" not in ran.stdout


def test_status_of_a_rule_that_is_not_there_fails_with_the_rules(socket: Path) -> None:
    ran = dynallow("status", "--rule", "nope", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "hint: rules: api, mirror" in ran.stderr


def test_status_json_is_the_report(socket: Path) -> None:
    report = json.loads(dynallow("status", "--json", "--socket", socket).stdout)
    assert report["agent"]["running"] is True
    assert report["rules"][0]["leases"] == [LEASE]


def test_hostile_name_cannot_reach_the_terminal(agent: MemoryAgent, socket: Path) -> None:
    agent.leases = [{**LEASE, "name": "a\x1b[2Jb\nrule fake\u202e"}]
    ran = dynallow("status", "--socket", socket)
    assert "a\\x1b[2Jb\\nrule fake\\u202e" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert "\x1b" not in dynallow("status", "--json", "--socket", socket).stdout


def test_explain_of_an_allowed_name_prints_the_verdict_first(agent: MemoryAgent, socket: Path) -> None:
    ran = dynallow("explain", "deb.example.org", "--port", "tcp/443", "--user", "root", "--socket", socket)
    assert ran.returncode == 0
    assert ran.stdout.startswith("allowed: deb.example.org is allowed by rule mirror\n")
    assert "pattern   *.example.org" in ran.stdout
    assert "/etc/dynallow/dynallow.toml:12" in ran.stdout
    assert "other names on its addresses: cdn.example.net" in ran.stdout
    assert agent.asked == [("explain", "deb.example.org", PortRange("tcp", 443, 443), 0)]


def test_explain_of_a_denied_name_exits_5(socket: Path) -> None:
    ran = dynallow("explain", "evil.example.net", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (5, "denied: evil.example.net is listed by no rule\n")
    ran = dynallow("explain", "evil.example.net", "--json", "--socket", socket)
    assert (ran.returncode, json.loads(ran.stdout)["verdict"]) == (5, "denied")


def test_explain_of_a_name_in_the_hosts_file_says_so(socket: Path) -> None:
    lines = dynallow("explain", "in.hosts.example", "--socket", socket).stdout.splitlines()
    assert lines[1].startswith("/etc/hosts says 192.0.2.9: ")
    assert "/etc/hosts" not in dynallow("explain", "evil.example.net", "--socket", socket).stdout


def test_explain_of_no_name_is_wrong_usage(socket: Path) -> None:
    ran = dynallow("explain", "a b", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "expected a name or an address" in ran.stderr


def test_reload_prints_what_changed(socket: Path) -> None:
    ran = dynallow("reload", "--socket", socket)
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "reloaded",
        "rules added: new",
        "rules removed: old",
        "settings changed: lease.grace",
        "in force only after a restart: resolver.listen",
        "rule a: b",
    ]


def test_reload_of_broken_settings_exits_3_with_every_fault(agent: MemoryAgent, socket: Path) -> None:
    agent.fault = SettingsError([Fault("a.toml", "mode", "one"), Fault("b.toml", "rule[0]", "two")])
    ran = dynallow("reload", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "a.toml:mode: one" in ran.stderr
    assert "b.toml:rule[0]: two" in ran.stderr


def test_kernel_refusal_exits_6_with_its_hint(agent: MemoryAgent, socket: Path) -> None:
    agent.fault = KernelError("loading the ruleset: nft said no", "run `dynallow check`")
    ran = dynallow("mode", "enforce", "--socket", socket)
    assert (ran.returncode, ran.stdout) == (6, "")
    assert "nft said no" in ran.stderr
    assert "hint: run `dynallow check`" in ran.stderr


def test_flush_passes_its_words_and_prints_the_revoked(agent: MemoryAgent, socket: Path) -> None:
    ran = dynallow("flush", "--rule", "api", "--name", "deb.example.org", "--socket", socket)
    assert agent.asked == [("flush", "api", "deb.example.org")]
    assert ran.stdout.splitlines()[1].split() == ["198.51.100.7", "deb.example.org", "api"]
    assert ran.stdout.splitlines()[-1] == "1 lease revoked, 1 connection cut"


def test_flush_without_words_flushes_everything(agent: MemoryAgent, socket: Path) -> None:
    assert dynallow("flush", "--socket", socket).returncode == 0
    assert agent.asked == [("flush", None, None)]


def test_mode_prints_was_and_is(socket: Path) -> None:
    ran = dynallow("mode", "observe", "--socket", socket)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "mode enforce → observe\n", "")


def test_mode_that_is_on_already_says_that_nothing_is_on_trial(socket: Path) -> None:
    ran = dynallow("mode", "enforce", "--confirm-within", "5m", "--yes", "--socket", socket)
    assert ran.returncode == 0
    assert ran.stdout.splitlines()[-1] == "nothing is on trial: it was enforce before, and stays so"
