"""What the policy says of one question, and how each rule came to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from dynallow.policy.names import Name, to_text
from dynallow.policy.rules import Rule


class Outcome(Enum):
    """The three ways a question can go; FILTERED: the name is fine, the record type is not."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FILTERED = "filtered"


# For the hot paths: on Python 3.11 each look into an Enum costs 0.6 µs.
ALLOWED, DENIED, FILTERED = Outcome.ALLOWED, Outcome.DENIED, Outcome.FILTERED


class Lead(NamedTuple):
    """How a name that no rule lists came to be derived from one that a rule lists (`resolver/derived.py`)."""

    root: Name
    """The listed name."""
    until: float
    """Monotonic second from which on it may not be asked for any more."""
    steps: int
    """How many answers lead from the listed name to it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of `Policy.decide`.

    rules: those that allow name and type; of a filtered question, those that list the name
    reason: why not; empty when allowed, and when no rule lists the name (`why_not` says so then)
    names_below: an allowed name lies below the denied one (NODATA, not NXDOMAIN: RFC 8020)
    until: when the first of `rules` expires, epoch seconds
    kin: where in the name an ancestor begins of which the same is said as of each name below it, whatever
        type is asked for and when; 0: of none
    leads: of a derived name, what led to it, one for each of `rules`; empty for a listed one
    """

    outcome: Outcome
    rules: tuple[Rule, ...] = ()
    reason: str = ""
    names_below: bool = False
    until: float | None = None
    kin: int = 0
    leads: tuple[Lead, ...] = ()

    def why_not(self, name: Name) -> str:
        """The reason for denying `name`, for EDE and the user."""
        return self.reason or f"no rule allows {to_text(name)}"


# One for all: nothing is made for a name that a stranger thinks up, unless somebody asks why.
UNLISTED = Verdict(DENIED)
UNLISTED_BELOW = tuple(Verdict(DENIED, kin=start) for start in range(256))
UNLISTED_ABOVE = Verdict(DENIED, names_below=True)
ZONE_KEYS = Verdict(ALLOWED)
"""DS and DNSKEY above a listed name: allowed by no rule, so that nothing can be granted for it."""


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """How one rule that lists the name came to its part of the verdict.

    `pattern` is the most specific one that lists the name; `exception` the one that takes it away again.
    """

    rule: Rule
    pattern: str | None
    exception: str | None
    outcome: Literal["allows", "excepted", "expired", "filtered"]
