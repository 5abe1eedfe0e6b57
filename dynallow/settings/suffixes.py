"""The public-suffix guard: no rule lists names that just anyone can register.

Knows the Public Suffix List (read on first use from the library's own data).
Must not know rules.
Keeps: a wildcard directly below a public suffix is found, whatever else the
pattern holds: `*.com`, `.co.uk`, `*.*.com`, but also `www.*.com` and
`mirror-*.github.io`, since whoever registers a fitting name would be let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import publicsuffixlist

from dynallow.policy.patterns import STAR, Pattern, label_matches

# Names that no registry sells (RFC 6761, 6762 appendix G, 8375, ICANN's "internal"):
# who uses them below his own resolver owns all of them. Any other unknown TLD counts as
# public, since the installed list may be older than the TLD.
_LOCAL_USE = frozenset(
    b"alt corp example home home.arpa internal intranet".split()
    + b"invalid lan local localhost onion private test".split()
)


def covers_public_suffix(pattern: Pattern) -> str | None:
    """The public suffix (as text, "." for the root) that a wildcard of `pattern` stands directly below."""
    starts = [0] if pattern.below else []
    starts += [index + 1 for index, label in enumerate(pattern.labels) if STAR in label]
    for start in starts:
        suffix = pattern.labels[start:]
        if not suffix:
            return "."
        if _is_public(suffix):
            return b".".join(suffix).decode("ascii")
    return None


def registrable(name: str) -> str | None:
    """What somebody registered, at or above this name (lower case, A-labels); None of a public suffix."""
    return _suffix_list().privatesuffix(name)


def _is_public(suffix: tuple[bytes, ...]) -> bool:
    joined = b".".join(suffix)
    if joined in _LOCAL_USE:
        return False
    if b"*" not in joined:
        return bool(_suffix_list().is_public(joined.decode("ascii")))
    if len(suffix) == 1:
        return True
    return any(len(entry) == len(suffix) and all(map(_overlap, suffix, entry)) for entry in _entries())


def _overlap(label: bytes, entry: bytes) -> bool:
    return entry == b"*" or label_matches(label, entry)


@cache
def _suffix_list() -> publicsuffixlist.PublicSuffixList:
    return publicsuffixlist.PublicSuffixList()


def _entries() -> Iterator[tuple[bytes, ...]]:
    """The list's ASCII entries; read anew each time, for patterns such as `*.s3.*.amazonaws.com` are rare."""
    with Path(publicsuffixlist.PSLFILE).open("rb") as lines:
        for line in lines:
            entry = line.split(b" ")[0].strip().lower()
            if entry and not entry.startswith((b"//", b"!")) and entry.isascii():
                yield tuple(entry.split(b"."))
