"""Name patterns as people write them (DESIGN section 7), and which names they match.

Knows the four forms: `x.example` that name; `*.x.example` one or more labels
below; `.x.example` both; `*` as a whole label elsewhere or inside a label, for
exactly one label (inside one it stands for any characters, also none).
Must not know rules or the index. Keeps: str(pattern) parses back to the pattern.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynallow.policy.names import Name, encode_labels, labels, reject_non_name, to_wire

STAR = ord("*")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Labels left to right, a `*` in one being a wildcard; whether the name itself and those below match."""

    labels: tuple[bytes, ...]
    apex: bool = True
    below: bool = False

    def __str__(self) -> str:
        text = b".".join(self.labels).decode("ascii")
        if not self.below:
            return text
        return f".{text}" if self.apex else f"*.{text}"

    @property
    def literal(self) -> bool:
        """True when no label holds a wildcard."""
        return not any(STAR in label for label in self.labels)

    def matches(self, name: Name) -> bool:
        """Whether this pattern alone lists `name`; for one pattern at a time, the index is for many."""
        asked = labels(name)
        extra = len(asked) - len(self.labels)
        if not (self.apex if extra == 0 else extra > 0 and self.below):
            return False
        return all(map(label_matches, self.labels, asked[extra:]))


def parse_pattern(text: str) -> Pattern:
    """A pattern from text. Raises ValueError, "expected …, got …"."""
    bare = text.strip()
    if bare in (".", "*", "*."):
        raise ValueError(f'expected a name with the wildcard, such as "*.example.org", got "{text}"')
    apex, below = True, False
    if bare.startswith("*."):
        apex, below, bare = False, True, bare[2:]
    elif bare.startswith("."):
        below, bare = True, bare[1:]
    reject_non_name(bare)
    parts = encode_labels(bare, text, wildcards=True)
    if any(part.count(b"*") > 1 for part in parts):
        raise ValueError(f'expected at most one "*" in a label, got "{text}"')
    to_wire(parts, text)
    return Pattern(parts, apex, below)


def label_matches(pattern: bytes, label: bytes) -> bool:
    """One label against one pattern label with at most one `*`."""
    head, star, tail = pattern.partition(b"*")
    if not star:
        return pattern == label
    return len(label) >= len(head) + len(tail) and label.startswith(head) and label.endswith(tail)
