"""What a start must not load: each of these costs megabytes, or tenths of a second.

Figures would depend on the machine; which modules are loaded does not.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.cli.command import environment

# Loaded when they are needed: after the first answer, at the first scrape, at the first cut, never.
_LATER = (
    "aiohttp",
    "prometheus_client",
    "pyroute2",
    "rich",
    "dns",
    "http.client",
    "httpx",
    "hypothesis",
    "h2",
)


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    return set(ran.stdout.split())


def test_agent_before_its_first_answer_has_loaded_only_what_answers() -> None:
    modules = loaded_by("import dynallow.agent")
    assert "dynallow.resolver.road" in modules
    assert modules.isdisjoint(_LATER)


@pytest.mark.parametrize(
    "verb", ["status", "reload", "mode", "flush", "explain", "check", "ruleset", "doctor"]
)
def test_verb_that_is_not_run_yet_has_loaded_no_library(verb: str) -> None:
    modules = loaded_by(f"import dynallow.cli.{verb}")
    heavy = {*_LATER, "asyncio", "ssl", "email", "pydantic", "dnslib", "tenacity", "publicsuffixlist"}
    assert modules.isdisjoint(heavy)


def test_policy_without_a_wildcard_has_not_read_the_public_suffix_list() -> None:
    script = (
        "from dynallow.settings import suffixes\nfrom dynallow.policy.patterns import parse_pattern\n"
        "assert suffixes.covers_public_suffix(parse_pattern('a.example.org')) is None\n"
        "assert suffixes._suffix_list.cache_info().currsize == 0"
    )
    loaded_by(script)
