"""Names that the kernel cannot tell: whole ones of cut comments, further earners of a lease, derived ones.

Knows ledger, policy and derived names; must not know files. Keeps: a claim is taken back only for a lease
that the kernel holds, no longer than that, and while the policy gives the name to the rule; a derived name
only while its listed name has a lease under the rule, no longer than that. Nothing here makes a lease, or
makes one last longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dynallow.checkpoint.lines import (
    Claim,
    Lineage,
    read_claim,
    read_lineage,
    read_name_line,
    write_claim,
    write_lineage,
    write_name,
)
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import Name
from dynallow.policy.verdict import Lead
from dynallow.resolver.road import Road

CLAIMS_MAX: Final = 10_000
NAMES_MAX: Final = 1_000
_SLICE: Final = 200
CUT: Final = b"..."
"""How a comment ends that does not hold the whole name."""
Comment = Callable[[Name], bytes]


def remember(ledger: Ledger, comment: Comment, clock: Callable[[], float]) -> Iterator[list[str]]:
    """Lines for what the kernel does not hold of who earned what, a slice at each step."""
    claims = names = 0
    for rule in ledger.rules():
        held = list(ledger.claims(rule).items())
        for start in range(0, len(held), _SLICE):
            lines: list[str] = []
            now = clock()
            for name, until_by_address in held[start : start + _SLICE]:
                others = [
                    Claim(rule, name, address, until)
                    for address, until in until_by_address.items()
                    if until > now and ledger.earner(rule, address) != name
                ]
                others = others[: CLAIMS_MAX - claims]
                claims += len(others)
                lines += map(write_claim, others)
                # Of 80 bytes and more: each byte may take four characters.
                if len(name) > 60 and names < NAMES_MAX and comment(name).endswith(CUT):
                    names += 1
                    lines.append(write_name(name))
            yield lines


def remember_derived(road: Road, ledger: Ledger) -> Iterator[list[str]]:
    """Lines for the derived names whose listed name has a lease, the ones named longest ago first."""
    held = road.derived.held()
    for start in range(0, len(held), _SLICE):
        now = road.clock()
        yield [
            write_lineage(Lineage(rule, target, lead.root, lead.until, lead.steps))
            for rule, target, lead in held[start : start + _SLICE]
            if lead.until > now and ledger.claims(rule).get(lead.root)
        ]


def whole_names(lines: Iterable[str], comment: Comment) -> dict[str, Name]:
    """By comment: the one name that it was cut of. Raises nothing."""
    found: dict[str, Name] = {}
    unclear: set[str] = set()
    for line in lines:
        try:
            name = read_name_line(line)
        except ValueError:
            continue
        text = comment(name).decode("ascii", "replace")
        whole = not text.endswith(CUT.decode()) or len(text) <= len(CUT)
        if not whole and found.setdefault(text, name) != name:
            unclear.add(text)
    return {text: name for text, name in found.items() if text not in unclear}


def recall(lines: Iterable[str], ledger: Ledger, unjustified: Callable[[str, Name], bool], now: float) -> int:
    """Take further earners of leases back; how many."""
    count, limits, rules = 0, ledger.limits, set(ledger.rules())
    for line in lines:
        try:
            rule, name, address, until = read_claim(line)
        except ValueError:
            continue
        until = min(until, ledger.deadline(rule, address))
        if rule not in rules or until <= now or count >= CLAIMS_MAX or unjustified(rule, name):
            continue
        names = ledger.claims(rule)
        if len(names) >= limits.max_per_rule or len(names.get(name, ())) >= limits.max_addresses_per_name:
            continue
        ledger.commit([(rule, address, until, name, False, False)])
        count += 1
    return count


def recall_derived(lines: Iterable[str], road: Road, ledger: Ledger, now: float) -> int:
    """Take derived names back, each while a lease of its listed name lives; how many."""
    count, policy = 0, road.terms.policy
    rules = {rule.name: rule for rule in policy.rules}
    for line in lines:
        try:
            name, target, root, until, steps = read_lineage(line)
        except ValueError:
            continue
        rule = rules.get(name)
        claims = ledger.claims(name).get(root, {})
        until = min(until, max(claims.values(), default=0.0))
        if rule is not None and until > now:
            count += road.derived.take_back(policy, rule, target, Lead(root, until, steps))
    return count
