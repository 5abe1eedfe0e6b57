"""Names that were asked for and are nobody's need: tunnels through DNS, search lists, one-off looks.

Pure. Knows what was needed (`needs.py`). Must not know rules. Keeps: a name that somebody connected to is
left to the rules, whatever it looks like (but below a domain that looks like a tunnel no wildcard stands).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dynallow.advice.needs import Needs, Use
from dynallow.policy.names import labels, parse_name
from dynallow.settings.suffixes import registrable

_TUNNEL_NAMES = 5
"""So many names with payload below one domain are no accident."""
_TUNNEL_LABEL = 24
_SHOWN = 60
_OTHER_RESOLVERS = (
    *("adguard-dns.com", "cloudflare-dns.com", "dns.alidns.com", "dns.cloudflare.com", "dns.controld.com"),
    *("dns.google", "dns.google.com", "dns.mullvad.net", "dns.nextdns.io", "dns.quad9.net", "dns.sb"),
    *("dns9.quad9.net", "dns10.quad9.net", "dns11.quad9.net", "doh.cleanbrowsing.org", "doh.opendns.com"),
    *("doh.pub", "one.one.one.one"),
)
"""Public resolvers, and domains of such, that answer over HTTPS: who may ask them needs no other way out."""
_TUNNEL_PREFIX = 40  # characters below the domain: hex or base32 of more than a host's name


def connected(uses: Iterable[Use]) -> int:
    """How many connections."""
    return sum(use.times for use in uses if use.port is not None)


def asked(uses: Iterable[Use]) -> int:
    """How often the name was asked for: of A and AAAA, asked for together, the more frequent one."""
    by_type: dict[str, int] = defaultdict(int)
    for use in uses:
        for qtype, times in use.types.items():
            by_type[qtype] += times
    return max(by_type.values(), default=0)


def leave_lookups(needs: Needs, known: Iterable[str], min_count: int | None) -> frozenset[str]:
    """Move what is no need to `needs.left`; returns the domains that look like a tunnel's end.

    known: all names that were asked for, whatever came of it. min_count: what was seen less often is left
    out; None: only what was asked for once and never connected to.
    """
    tunnels = _tunnels(needs)
    names = frozenset(known)
    for name in list(needs.names):
        uses = needs.names[name].values()
        flows = connected(uses)
        if any(f".{name}".endswith(f".{resolver}") for resolver in _OTHER_RESOLVERS):
            needs.leave_name("dns", name, "a public resolver over HTTPS")
        elif min_count is not None and flows + asked(uses) < min_count:
            needs.leave_name("few", name)
        elif flows:
            continue
        elif why := needs.used_otherwise.get(name):
            needs.leave_name(why, name, "asked for; its connections are left out too")
        elif (domain := domain_of(name)) in tunnels:
            _leave_tunnel(needs, domain, name, tunnels[domain])
        elif bare := _suffixed(name, names):
            needs.leave_name("search", name, f"{bare} with a suffix of the host's search list, it seems")
        elif "." not in name:
            needs.leave_name("single", name)
        elif min_count is None and asked(uses) < 2:
            needs.leave_name("few", name)
    return frozenset(tunnels)


def domain_of(name: str) -> str:
    """The part of a name that somebody registered; the name itself where nothing is known of it."""
    return registrable(name) or name


def _tunnels(needs: Needs) -> dict[str, int]:
    below: dict[str, int] = defaultdict(int)
    for name, uses in needs.names.items():
        if not connected(uses.values()) and _is_payload(name):
            below[domain_of(name)] += 1
    return {domain: count for domain, count in below.items() if count >= _TUNNEL_NAMES}


def _is_payload(name: str) -> bool:
    prefix = name.removesuffix(domain_of(name)).rstrip(".")
    return len(prefix) >= _TUNNEL_PREFIX or any(len(label) >= _TUNNEL_LABEL for label in prefix.split("."))


def _leave_tunnel(needs: Needs, domain: str, name: str, count: int) -> None:
    """One line for all names of a tunnel: they are as many as somebody likes."""
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
    needs.leave_name("tunnel", name, f"{count} names such as {shown}", domain)


def _suffixed(name: str, known: frozenset[str]) -> str:
    """The name that was looked for, if this is one of at least two labels with others behind it."""
    parts = labels(parse_name(name))
    for count in range(len(parts) - 1, 1, -1):
        bare = b".".join(parts[:count]).decode("ascii", "replace")
        if bare in known and count < len(parts) - 1:
            return bare
    return ""
