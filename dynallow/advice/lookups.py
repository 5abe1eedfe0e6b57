"""Names that were asked for and are nobody's need: tunnels through DNS, search lists, one-off looks.

Pure. Knows what was needed (`needs.py`). Must not know rules. Keeps: a name that somebody connected to is
left to the rules, unless nearly all of its like, long and many, were only asked for: those carry data out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from dynallow.advice.needs import Needs, Use
from dynallow.policy.names import labels, parse_name
from dynallow.settings.suffixes import registrable

NAMES_MAX = 2000
"""Names that rules are made for, at once."""
_REMEMBERED = 16384
_TUNNEL_NAMES = 5
"""So many names with payload below one domain are no accident."""
_TUNNEL_SHORT = 50
"""Nor are so many of any length that nobody connects to."""
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
    """Move what is no need to `needs.left`; returns below which names no wildcard may stand.

    known: all names that were asked for, whatever came of it. min_count: what was seen less often is left
    out; None: only what was asked for once and never connected to.
    """
    ends = _ends(needs)
    tunnels = {end for end, names in ends.items() if _is_tunnel(needs, names)}
    for end in tunnels:
        _leave_tunnel(needs, end, ends[end])
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
        elif bare := _suffixed(name, names):
            needs.leave_name("search", name, f"{bare} with a suffix of the host's search list, it seems")
        elif "." not in name:
            needs.leave_name("single", name)
        elif min_count is None and asked(uses) < 2:
            needs.leave_name("few", name)
    _leave_too_many(needs)
    return frozenset(ends)


def _leave_too_many(needs: Needs) -> None:
    """Whoever asks for names can make them up: rules are for those that were used most."""
    if len(needs.names) <= NAMES_MAX:
        return

    def order(name: str) -> tuple[int, int, str]:
        uses = needs.names[name].values()
        return (-connected(uses), -asked(uses), name)

    for name in sorted(needs.names, key=order)[NAMES_MAX:]:
        needs.leave_name("many", name, what=f"names beyond the {NAMES_MAX} that were used most")


@lru_cache(maxsize=_REMEMBERED)
def domain_of(name: str) -> str:
    """The part of a name that somebody registered; the name itself where nothing is known of it."""
    return registrable(name) or name


def _ends(needs: Needs) -> dict[str, list[str]]:
    """Names with many long ones below them, and these: as near to them as there are many, else the domain."""
    payload = [name for name in needs.names if _is_payload(name)]
    ends = _many(payload, _behind_payload)
    inside = {name for names in ends.values() for name in names}
    for domain, names in _many((name for name in payload if name not in inside), domain_of).items():
        ends.setdefault(domain, []).extend(names)
    inside |= {name for names in ends.values() for name in names}
    others = (name for name in needs.names if name not in inside)
    for domain, names in _many(others, domain_of, _TUNNEL_SHORT).items():
        if _is_tunnel(needs, names):
            ends.setdefault(domain, []).extend(names)
    return ends


def _many(
    names: Iterable[str], end_of: Callable[[str], str], count: int = _TUNNEL_NAMES
) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[end_of(name)].append(name)
    return {end: group for end, group in groups.items() if len(group) >= count}


def _is_payload(name: str) -> bool:
    prefix = _prefix(name)
    return len(prefix) >= _TUNNEL_PREFIX or any(len(label) >= _TUNNEL_LABEL for label in prefix.split("."))


def _behind_payload(name: str) -> str:
    """What stands behind the last long label; where none is long, the domain."""
    parts = _prefix(name).split(".")
    for count in range(len(parts), 0, -1):
        if len(parts[count - 1]) >= _TUNNEL_LABEL:
            return ".".join([*parts[count:], domain_of(name)])
    return domain_of(name)


def _prefix(name: str) -> str:
    return name.removesuffix(domain_of(name)).rstrip(".")


def _is_tunnel(needs: Needs, names: Sequence[str]) -> bool:
    """Whether hardly any of them was connected to.

    One may be, for nothing but having been the last to give an address that was used without any name.
    """
    used = sum(1 for name in names if connected(needs.names[name].values()))
    return used * 4 < len(names) - used


def _leave_tunnel(needs: Needs, end: str, names: Sequence[str]) -> None:
    """One line for all of them: they are as many as somebody likes."""
    shown = names[0] if len(names[0]) <= _SHOWN else f"{names[0][:_SHOWN]}…"
    for name in names:
        needs.leave_name("tunnel", name, f"{len(names)} names such as {shown}", end)


def _suffixed(name: str, known: frozenset[str]) -> str:
    """The name that was looked for, if this is one of at least two labels with others behind it."""
    parts = labels(parse_name(name))
    for count in range(len(parts) - 1, 1, -1):
        bare = b".".join(parts[:count]).decode("ascii", "replace")
        if bare in known and count < len(parts) - 1:
            return bare
    return ""
