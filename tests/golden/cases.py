"""The settings in this directory and the rulesets they render, side by side.

`NAME.toml` renders to `NAME.nft`. After a change that is meant:

    python -m tests.golden.regenerate && git diff tests/golden

and read the difference: it is what every host's chain will become.
"""

from __future__ import annotations

from pathlib import Path

from dynallow import settings as cfg
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.ruleset import Ruleset
from dynallow.firewall.text import render_table

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.toml")))
AGENT_UIDS = {"own-user": 993}
"""Who the agent runs as; root where nothing is said."""


def build(name: str) -> Ruleset:
    """The ruleset that NAME.toml asks for."""
    settings = cfg.load(HERE / f"{name}.toml").settings
    resolver = settings.resolver
    named = [*resolver.upstreams, *(upstream for zone in resolver.zones for upstream in zone.upstreams)]
    ways = [(one.endpoint, over) for one in named if one.endpoint is not None for over in one.protocols]
    return build_ruleset(settings, ways, AGENT_UIDS.get(name, 0))


def rendered(name: str) -> str:
    """The text that NAME.toml renders to now."""
    return render_table(build(name))


def golden(name: str) -> str:
    """The text that NAME.toml must render to."""
    return (HERE / f"{name}.nft").read_text()
