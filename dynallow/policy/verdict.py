"""What the policy says of one question, and how each rule came to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from dynallow.policy.rules import Rule


class Outcome(Enum):
    """The three ways a question can go; FILTERED: the name is fine, the record type is not."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FILTERED = "filtered"


class Verdict(NamedTuple):
    """The answer of `Policy.decide`; a tuple, for one is made for every name that a stranger thinks up.

    rules: those that allow name and type; of a filtered question, those that list the name
    reason: why not, for EDE and the user; empty when allowed
    names_below: an allowed name lies below the denied one (NODATA, not NXDOMAIN: RFC 8020)
    until: when the first of `rules` expires, epoch seconds
    """

    outcome: Outcome
    rules: tuple[Rule, ...] = ()
    reason: str = ""
    names_below: bool = False
    until: float | None = None


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """How one rule that lists the name came to its part of the verdict.

    `pattern` is the most specific one that lists the name; `exception` the one that takes it away again.
    """

    rule: Rule
    pattern: str | None
    exception: str | None
    outcome: Literal["allows", "excepted", "expired", "filtered"]
