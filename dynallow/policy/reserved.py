"""Names that are nobody's to list: answered on this host, or nowhere.

Knows the names and the reasons, and what a search list makes of a name. Must not know replies.
Keeps: no rule allows such a name, whatever its patterns say (`PolicyBuilder.build`), because an upstream
has nothing true to say of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynallow.policy.names import ROOT, Name, parse_name, to_text

LOCALHOST: Name = parse_name("localhost")
INVALID: Name = parse_name("invalid")
ONION: Name = parse_name("onion")
CANARY: Name = parse_name("use-application-dns.net")
REVERSE_V4: Name = parse_name("in-addr.arpa")
REVERSE_V6: Name = parse_name("ip6.arpa")

_WHY = {
    LOCALHOST: "localhost is this host (RFC 6761)",
    INVALID: "no name ends in invalid (RFC 6761)",
    ONION: "names that end in onion are not in the DNS (RFC 7686)",
    CANARY: "browsers keep to this resolver because this name does not exist",
}
UNLISTABLE = tuple(_WHY)
"""Nobody lists these, nor any name below them."""
_UNDERIVABLE = (*UNLISTABLE, REVERSE_V4, REVERSE_V6)


def reserved(name: Name) -> Name | None:
    """Which of `UNLISTABLE` covers `name`, if one does."""
    if not name.endswith(UNLISTABLE):  # nearly every name; a label may still hold another's ending
        return None
    return next((top for top in UNLISTABLE if _is_at_or_below(name, top)), None)


def may_be_derived(name: Name) -> bool:
    """Whether a record may lead to `name` although no rule lists it (`Policy.derive`).

    Not to what nobody lists, not to what is said of addresses, and to no single label: that is nobody's host.
    """
    size = name[0]
    if not size or not name[size + 1]:
        return False
    return not name.endswith(_UNDERIVABLE) or not any(_is_at_or_below(name, top) for top in _UNDERIVABLE)


def why_reserved(ancestor: Name) -> str:
    """What to tell people who ask for a name that `reserved` found `ancestor` for."""
    return _WHY[ancestor]


def without_suffix(name: Name, suffixes: Sequence[Name]) -> Name | None:
    """The name that a stub resolver's search list made `name` from; None when no suffix stands behind it."""
    for suffix in suffixes:
        if suffix not in (name, ROOT) and _is_at_or_below(name, suffix):
            return name[: -len(suffix)] + ROOT
    return None


def why_absent(name: Name, suffixes: Sequence[Name]) -> str | None:
    """Why the name does not exist, whatever denied names are told: a stub then goes on to the next."""
    top = reserved(name)
    if top is not None and top in (INVALID, ONION):
        return why_reserved(top)
    bare = without_suffix(name, suffixes) if suffixes else None
    return None if bare is None else why_suffixed(bare)


def _is_at_or_below(name: Name, ancestor: Name) -> bool:
    """Whether `name` is `ancestor` or lies below it."""
    if not name.endswith(ancestor):
        return False
    start, end = 0, len(name) - len(ancestor)
    while start < end:
        start += name[start] + 1
    return start == end


def why_suffixed(bare: Name) -> str:
    """What to tell whoever asked for `bare` with a suffix of the search list."""
    return f"no rule allows {to_text(bare)} with a suffix of the search list"
