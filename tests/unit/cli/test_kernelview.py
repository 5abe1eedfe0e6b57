"""Status without an agent, from a real table in a network namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from dynallow.cli.kernelview import report
from dynallow.cli.output import plain
from dynallow.cli.statusview import status_blocks
from dynallow.firewall.inspect import TableView
from dynallow.firewall.members import SetMember
from tests.unit.cli.command import dynallow

TABLE = """
table inet dynallow {
  counter denied { packets 7 bytes 420 }
  set revoked_v4 { type ipv4_addr; flags timeout; }
  set revoked_v6 { type ipv6_addr; flags timeout; }
  set mirror_v4 { type ipv4_addr; flags timeout; counter; }
  set mirror_v6 { type ipv6_addr; flags timeout; counter; }
  chain output { type filter hook output priority filter; policy drop; }
}
add element inet dynallow mirror_v4 { 198.51.100.7 timeout 1h comment "deb.example.org" }
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")


def without_agent(tmp_path: Path, ruleset: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    rules = tmp_path / "rules.nft"
    rules.write_text(ruleset)
    prefix = ("unshare", "-n", "sh", "-c", 'nft -f "$0" && exec "$@"', str(rules))
    return dynallow("status", "--socket", tmp_path / "none.sock", *arguments, prefix=prefix)


@pytest.mark.netns
@needs_root
def test_status_without_agent_shows_the_kernels_sets_and_says_so(tmp_path: Path) -> None:
    ran = without_agent(tmp_path, TABLE)
    assert ran.returncode == 0
    assert "agent not reachable" in ran.stderr
    assert "read from the kernel" in ran.stderr
    assert "198.51.100.7  deb.example.org" in ran.stdout
    assert "denied      7 packets (420 B) in all" in ran.stdout


@pytest.mark.netns
@needs_root
def test_status_json_without_agent_has_the_same_schema(tmp_path: Path) -> None:
    found = json.loads(without_agent(tmp_path, TABLE, "--json").stdout)
    assert (found["agent"]["running"], found["mode"], found["kernel"]["table"]) == (False, "enforce", True)
    assert [lease["address"] for lease in found["rules"][0]["leases"]] == ["198.51.100.7"]


@pytest.mark.netns
@needs_root
def test_status_without_agent_and_table_exits_4_and_still_tells(tmp_path: Path) -> None:
    ran = without_agent(tmp_path, "")
    assert ran.returncode == 4
    assert "nothing is blocked" in ran.stdout


@pytest.mark.netns
@needs_root
def test_status_of_an_unknown_rule_without_agent_fails_with_the_rules(tmp_path: Path) -> None:
    ran = without_agent(tmp_path, TABLE, "--rule", "nope")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "it has: mirror" in ran.stderr


@needs_root
def test_status_where_neither_can_be_read_exits_4_with_both_reasons(tmp_path: Path) -> None:
    prefix = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    ran = dynallow("status", "--socket", tmp_path / "none.sock", prefix=prefix)
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "agent not reachable" in ran.stderr
    assert "nor can the kernel's table be read" in ran.stderr


def test_report_leaves_out_what_only_an_agent_knows() -> None:
    view = TableView(True, "enforce", {"mirror": [SetMember("192.0.2.1", "a.example.org", 60.0, 1, 2)]}, 0, 0)
    text = "\n".join(plain(status_blocks(report(view, "agent not reachable", None))))
    assert "every user" not in text
    assert "questions" not in text
    assert "192.0.2.1  a.example.org" in text
