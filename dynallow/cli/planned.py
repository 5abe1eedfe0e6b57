"""The ruleset that settings give, as nft text, with no agent at hand.

Knows the pure builder and renderer, and the agent's own choice of servers.
Must not load anything into the kernel.
"""

from __future__ import annotations

from dynallow.firewall.build import build_ruleset
from dynallow.firewall.text import render_table
from dynallow.resolver.upstream.choose import choose
from dynallow.settings import Settings

_ROOT = 0


def planned_ruleset(settings: Settings) -> str:
    """The table for these settings, for an agent that runs as root."""
    return render_table(build_ruleset(settings, choose(settings).ways(), _ROOT))
