"""What may be asked for: names, patterns, rules, verdicts. Pure: no clock, no socket, no loop."""

from dynallow.policy.names import Name, labels, parse_name, to_text
from dynallow.policy.patterns import Pattern, parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, RuleTrace, Verdict

__all__ = [
    "Name",
    "Outcome",
    "Pattern",
    "Policy",
    "PolicyBuilder",
    "Rule",
    "RuleTrace",
    "Verdict",
    "labels",
    "parse_name",
    "parse_pattern",
    "to_text",
]
