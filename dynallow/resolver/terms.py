"""What the road of a question takes from the settings.

Knows the settings' sections; must not know how they were read. Pure.
"""

from __future__ import annotations

from dynallow.lease.grant import Limits
from dynallow.resolver.road import Terms
from dynallow.settings import Loaded, Settings


def limits_of(settings: Settings) -> Limits:
    """The bounds of leases."""
    lease = settings.lease
    return Limits(lease.grace, lease.min, lease.max, lease.max_addresses_per_name, lease.max_per_rule)


def terms_of(loaded: Loaded, settings: Settings) -> Terms:
    """The policy that was loaded, under these settings (whose mode may be another)."""
    resolver, observe = settings.resolver, settings.mode == "observe"
    more = resolver.search_suffixes, resolver.denied_ttl, resolver.dnssec
    return Terms(loaded.policy, limits_of(settings), observe, resolver.denied, *more)
