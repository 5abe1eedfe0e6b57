"""The name index: which rules list a name, in O(labels) whatever the lists' length.

Knows names, patterns and rules' numbers; must not know what a rule allows.

A `Table` maps pattern labels to a set of rules. Literal entries sit in one dict by wire name.
Entries with wildcards are grouped by shape (which labels are wild, how many characters
stand before and after the `*`): masking the asked name by the shape gives the one key that
can fit, so a lookup costs one dict access a shape, not one a pattern. Shapes are as many
as the ways of writing wildcards in the settings: a handful.

Keeps: an entry in `below` carries every rule that one of its descendants carries, up
to the root; so adding a name stops at the first ancestor that has the rule already.
Sets of rules are interned sorted tuples: a million names of one rule share one tuple.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dynallow.policy.names import ROOT, Name, labels, to_wire
from dynallow.policy.patterns import STAR, Pattern

RuleSet = tuple[int, ...]
NONE: RuleSet = ()
_UNDERSCORE = ord("_")
_PASSED_MAX = 4096
"""Parents kept, the first that are asked below; only such of which something below is listed."""
# (label's place from the right, characters before the `*`, characters after it)
Shape = tuple[tuple[int, int, int], ...]


def union(left: RuleSet, right: RuleSet) -> RuleSet:
    """Both sets, sorted."""
    return tuple(sorted({*left, *right})) if left and right else left or right


def shape_of(parts: tuple[bytes, ...]) -> Shape:
    """Where the wildcards of these pattern labels are; empty for a literal one."""
    places = enumerate(reversed(parts), 1)
    return tuple((n, p.index(b"*"), len(p) - p.index(b"*") - 1) for n, p in places if STAR in p)


def mask(parts: tuple[bytes, ...], shape: Shape) -> Name | None:
    """The key under which an entry of this shape that matches `parts` stands; None when none can."""
    masked = list(parts)
    for place, head, tail in shape:
        label = masked[-place]
        if len(label) < head + tail:
            return None
        masked[-place] = label[:head] + b"*" + label[len(label) - tail :]
    return b"".join([bytes((len(part),)) + part for part in masked])


@dataclass(slots=True)
class Table:
    """Pattern labels → rules."""

    literal: dict[Name, RuleSet] = field(default_factory=dict)
    shaped: dict[int, dict[Shape, dict[Name, RuleSet]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.literal or self.shaped)

    def entries(self, parts: tuple[bytes, ...]) -> tuple[dict[Name, RuleSet], Name]:
        """The dict and the key in it for an entry with these pattern labels."""
        shape = shape_of(parts)
        if not shape:
            return self.literal, to_wire(parts, "")
        group = self.shaped.setdefault(len(parts), {}).setdefault(shape, {})
        return group, mask(parts, shape) or ROOT

    def find(self, name: Name) -> RuleSet:
        """The rules whose entry has exactly as many labels as `name`, and fits it."""
        found = self.literal.get(name, NONE)
        if self.shaped and (hit := self.find_shaped(labels(name))):
            found = union(found, hit)
        return found

    def find_ancestors(self, name: Name) -> RuleSet:
        """The rules with an entry for a proper ancestor of `name` (the root has none)."""
        found = NONE
        literal = self.literal
        offset = name[0] + 1
        end = len(name) - 1
        while offset < end:
            hit = literal.get(name[offset:])
            if hit is not None and hit is not found:
                found = union(found, hit)
            offset += name[offset] + 1
        return union(found, self.find_shaped_ancestors(labels(name))) if self.shaped else found

    def find_shaped_ancestors(self, parts: tuple[bytes, ...]) -> RuleSet:
        """The rules with a wildcard entry for a proper ancestor; costs a shape, not a label of `parts`."""
        found = NONE
        for count in self.shaped:
            if count < len(parts):
                found = union(found, self.find_shaped(parts[-count:]))
        return found

    def find_shaped(self, parts: tuple[bytes, ...]) -> RuleSet:
        """The rules with a wildcard entry of as many labels that fits."""
        found = NONE
        for shape, entries in self.shaped.get(len(parts), {}).items():
            key = mask(parts, shape)
            if key is not None and (hit := entries.get(key)):
                found = union(found, hit)
        return found


class Index:
    """Patterns with their rules; filled once, then only read."""

    __slots__ = ("_passed", "_sets", "_wild", "below", "count", "deep", "exact")

    def __init__(self) -> None:
        self.exact = Table()  # patterns that match a name of their own length
        self.deep = Table()  # patterns that match everything below themselves
        self.below = Table()  # names with something listed below them
        self.count = 0
        self._sets: dict[RuleSet, RuleSet] = {}
        self._passed: dict[Name, RuleSet] = {}  # parents that `_look_down` came by, and what it had found
        self._wild: set[Name] = set()  # what stands behind the last label with a wildcard, of each pattern

    def match(self, name: Name) -> RuleSet:
        """The rules that list `name`."""
        return self.look_up(name)[0]

    def look_up(self, name: Name) -> tuple[RuleSet, int]:
        """The rules that list `name`, and where in it the first ancestor begins that none is listed below.

        First from the root downwards; 0 is the name itself, -1 stands for none, and for "wildcards
        are listed there". Goes down no further than there: what a name has more labels costs a step
        each, not a look-up.
        """
        found = self._passed.get(name[name[0] + 1 :])
        if found is None:
            return self._look_down(name)
        # No wildcard fits the name: what stands behind one ends `_look_down` before it comes by the parent.
        listing = self.exact.literal.get(name)
        at = -1 if name in self.below.literal else 0
        return (union(found, listing) if listing else found), at

    def _look_down(self, name: Name) -> tuple[RuleSet, int]:
        """The same, all the way from the root. What it finds above a name holds for its siblings too."""
        starts = []
        pos = 0
        while size := name[pos]:
            starts.append(pos)
            pos += size + 1
        wild = self._wild
        if wild and ROOT in wild:
            return self._match_wild(name), -1
        below, deep = self.below.literal, self.deep.literal
        found = NONE
        for at in reversed(starts):
            if not at and len(self._passed) < _PASSED_MAX:
                self._passed[name[name[0] + 1 :]] = found
            ancestor = name[at:]
            if ancestor not in below:
                return (found if at else union(found, self.exact.literal.get(name, NONE))), at
            if wild and ancestor in wild:
                return self._match_wild(name), -1
            if at and (hit := deep.get(ancestor)):
                found = union(found, hit) if found else hit
        return union(found, self.exact.literal.get(name, NONE)), -1

    def _match_wild(self, name: Name) -> RuleSet:
        parts = labels(name)
        return union(
            union(self.exact.literal.get(name, NONE), self.exact.find_shaped(parts)),
            self.deep.find_ancestors(name),
        )

    def is_bare(self, name: Name) -> bool:
        """Whether nothing but the name's ancestors can list what is below `name`.

        To be asked of what `look_up` stopped at: neither that name itself is listed nor is it one
        that SRV questions are asked below ("_tcp.NAME").
        """
        return name[1] != _UNDERSCORE and name not in self.exact.literal

    def match_all_below(self, name: Name) -> RuleSet:
        """The rules that list every name below `name`."""
        return union(self.deep.find(name), self.deep.find_ancestors(name)) if self.deep else NONE

    def match_some_below(self, name: Name) -> RuleSet:
        """The rules that list some name below `name`.

        Those that list all that is below it stand in `below` as well (see `add`), or above it.
        """
        return (
            union(self.below.find(name), self.deep.find_ancestors(name))
            if self.deep
            else self.below.find(name)
        )

    def lists_below_unlisted(self, name: Name) -> bool:
        """Whether anything below `name` is listed, if nothing lists `name` itself: then no ancestor does."""
        return name in self.below.literal or (bool(self.below.shaped) and bool(self.below.find(name)))

    def set_apart(self, name: Name) -> None:
        """Have `look_up` go down to `name`, as if something were listed below it.

        Else what is said of its neighbours would be said of all below `name` too.
        """
        below = self.below.literal
        self._passed.clear()
        while name:
            below.setdefault(name, NONE)
            name = name[name[0] + 1 :]

    def add(self, rule: int, pattern: Pattern) -> None:
        """Let `rule` list what `pattern` matches."""
        parts = pattern.labels
        self._passed.clear()
        self.count += 1
        if pattern.apex:
            self._put(self.exact, parts, rule)
        if pattern.below:
            self._put(self.deep, parts, rule)
        first = 0 if pattern.below else 1
        while shape_of(parts[first:]):
            self._put(self.below, parts[first:], rule)
            first += 1
        if shape_of(parts):
            self._wild.add(to_wire(parts[first:], ""))
        self._climb(to_wire(parts[first:], ""), rule, self._intern((rule,)))

    def add_names(self, rule: int, names: Iterable[Name]) -> None:
        """Let `rule` list these literal names; one straight loop, since lists hold millions."""
        exact, below = self.exact.literal, self.below.literal
        own = self._intern((rule,))
        self._passed.clear()
        count = 0
        for name in names:
            count += 1
            held = exact.setdefault(name, own)
            if held is not own and rule not in held:
                exact[name] = self._intern(union(held, own))
            parent = name[name[0] + 1 :]
            if rule not in below.get(parent, NONE):
                self._climb(parent, rule, own)
        self.count += count

    def _climb(self, name: Name, rule: int, own: RuleSet) -> None:
        """Note in `below` that `rule` lists something below `name` and below each of its ancestors."""
        below = self.below.literal
        while name:
            held = below.get(name, NONE)
            if rule in held:
                return
            below[name] = self._intern(union(held, own))
            name = name[name[0] + 1 :]

    def _put(self, table: Table, parts: tuple[bytes, ...], rule: int) -> None:
        entries, key = table.entries(parts)
        entries[key] = self._intern(union(entries.get(key, NONE), (rule,)))

    def _intern(self, rules: RuleSet) -> RuleSet:
        return self._sets.setdefault(rules, rules)
