"""What the road of a question takes from the settings.

Knows the settings' sections; must not know how they were read. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dynallow.lease.grant import Limits
from dynallow.policy.names import Name
from dynallow.policy.policy import Policy
from dynallow.resolver.local import DENIAL_TTL_S
from dynallow.settings import Loaded, Settings
from dynallow.wire import numbers as n
from dynallow.wire.question import Question


@dataclass(frozen=True, slots=True)
class Terms:
    """What a reload may change, replaced as a whole."""

    policy: Policy
    limits: Limits
    observe: bool
    denied: Literal["nxdomain", "refused"]
    suffixes: tuple[Name, ...] = ()
    """What the host's stub resolvers may put behind a name that they look for."""
    denied_ttl_s: int = DENIAL_TTL_S
    """How long clients may remember a denial."""
    dnssec: bool = False
    """Validators behind this road get what they need."""

    def how(self, question: Question) -> int:
        """Which of DO and CD go upstream with it.

        Always DO then, whoever asks: one answer serves all, but for what CD brings.
        """
        return n.DO | question.flags & n.CD if self.dnssec else 0


def limits_of(settings: Settings) -> Limits:
    """The bounds of leases."""
    lease = settings.lease
    return Limits(lease.grace, lease.min, lease.max, lease.max_addresses_per_name, lease.max_per_rule)


def terms_of(loaded: Loaded, settings: Settings) -> Terms:
    """The policy that was loaded, under these settings (whose mode may be another)."""
    resolver = settings.resolver
    return Terms(
        loaded.policy,
        limits_of(settings),
        settings.mode == "observe",
        resolver.denied,
        resolver.search_suffixes,
        resolver.denied_ttl,
        resolver.dnssec,
    )
