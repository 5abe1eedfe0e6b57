"""`check` and `ruleset`: no agent, every fault, and an unprivileged user's warning."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.command import dynallow

GOOD = """
mode = "enforce"
[resolver]
upstreams = ["192.0.2.53"]
search-suffixes = ["corp.example.com"]
[[rule]]
name = "mirror"
names = ["deb.example.org", "*.example.net", ".onion"]
[[destination]]
name = "ntp"
addresses = ["192.0.2.123"]
ports = ["udp/123"]
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "dynallow.toml"
    path.write_text(GOOD)
    return path


def test_check_of_good_settings_prints_the_summary(good: Path) -> None:
    ran = dynallow("check", good)
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"valid: {good}\n")
    assert "rules         mirror (3 patterns)" in ran.stdout


def test_check_names_what_is_listed_without_effect(good: Path) -> None:
    lines = [line for line in dynallow("check", "--config", good).stdout.splitlines() if "no effect" in line]
    assert len(lines) == 1
    assert lines[0].startswith("rule mirror: .onion has no effect")


def test_check_of_bad_settings_exits_3_with_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "dynallow.toml"
    path.write_text('mode = "off"\n[lease]\ngrace = "soon"\n[[rule]]\nname = "A"\nnames = ["x.example"]\n')
    ran = dynallow("check", path)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.count(f"{path}:") == 3
    ran = dynallow("check", path, "--json")
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["valid"] is False
    assert len(json.loads(ran.stdout)["faults"]) == 3


def test_check_of_a_file_that_is_not_there_exits_3(tmp_path: Path) -> None:
    assert dynallow("check", tmp_path / "none.toml").returncode == 3


def test_check_json_has_every_key(good: Path) -> None:
    report = json.loads(dynallow("check", good, "--json").stdout)
    assert report["mode"] == "enforce"
    assert report["destinations"] == ["ntp"]
    assert report["ruleset"] in ("accepted", "not checked")


@pytest.mark.skipif(os.geteuid() != 0, reason="drops a right that only root has")
def test_check_without_the_right_warns_and_succeeds(good: Path) -> None:
    prefix = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    ran = dynallow("check", good, prefix=prefix)
    assert ran.returncode == 0
    assert "ruleset       not checked" in ran.stdout
    assert "warning: the ruleset was not checked" in ran.stderr


def test_schema_is_json_schema() -> None:
    ran = dynallow("check", "--schema")
    assert ran.returncode == 0
    assert "resolver" in json.loads(ran.stdout)["properties"]


def test_ruleset_prints_the_table(good: Path) -> None:
    text = dynallow("ruleset", good).stdout
    assert text.startswith("table inet dynallow {\n")
    assert "set mirror_v4" in text
    assert "192.0.2.53" in text
    assert json.loads(dynallow("ruleset", good, "--json").stdout)["ruleset"] == text


def test_ruleset_of_bad_settings_prints_no_table(tmp_path: Path) -> None:
    path = tmp_path / "dynallow.toml"
    path.write_text("mode = 1\n")
    ran = dynallow("ruleset", path)
    assert (ran.returncode, ran.stdout) == (3, "")
