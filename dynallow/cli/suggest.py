"""`dynallow suggest`: rules in TOML for what was denied, or in mode observe would have been.

Prints them, or with `--apply` shows the change of a conf.d file and makes it. Keeps: a file is written only
after it was shown, agreed to, and found valid together with all the other settings.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from dynallow.cli.output import note, print_json
from dynallow.cli.phrases import plural
from dynallow.cli.recorded import config_argument, history_arguments, recorded, settings_file, window_text

if TYPE_CHECKING:
    from dynallow.advice.needs import Left
    from dynallow.advice.suggest import Advice, Nameless, Suggested
    from dynallow.control.historyrows import History
    from dynallow.settings import Loaded

DEFAULT_NAME = "60-suggested.toml"


class RuleReport(TypedDict):
    name: str
    names: list[str]
    ports: list[str]
    users: list[str | int]
    private: list[str]
    reason: str
    guessed: bool
    connections: int
    questions: int
    first: str
    last: str
    units: list[str]
    processes: list[str]


class LeftReport(TypedDict):
    why: str
    what: str
    text: str
    count: int
    last: str
    users: list[str | int]
    processes: list[str]


class SuggestReport(TypedDict):
    """The answer of `suggest --json`; `toml` is what is printed without it."""

    since: str
    until: str
    begins: str | None
    untold: dict[str, int]
    rules: list[RuleReport]
    left_out: list[LeftReport]
    toml: str


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    history_arguments(parser, "1d")
    config_argument(parser)
    parser.add_argument(
        "--min-count",
        metavar="N",
        type=_count,
        help="leave out what was seen less often (default: only names asked for once and never connected to)",
    )
    parser.add_argument(
        "--apply",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path(DEFAULT_NAME),
        help=f"show the change of this file of conf.d, and make it (default: {DEFAULT_NAME})",
    )
    parser.add_argument("--yes", action="store_true", help="with --apply: without asking")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise ArgumentTypeError(f'expected a whole number, got "{text}"')


def execute(args: Namespace) -> int:
    """Print what to add, or add it."""
    from dynallow.advice.draft import draft, rules_text
    from dynallow.advice.suggest import suggest
    from dynallow.settings import load, locate

    loaded = load(settings_file(args, args.config))
    history = recorded(args)
    policy = {rule.name: rule for rule in loaded.policy.rules}

    def where(rule: str, name: str) -> str | None:
        pattern = _pattern_of(loaded, rule, name)
        return locate(loaded, policy[rule], pattern) if rule in policy and pattern else None

    advice = suggest(
        history.records, loaded, time.time(), min_count=args.min_count, user_name=user_name, where=where
    )
    if args.json and args.apply is None:
        print_json(_report(advice, history))
        return 0
    note(_summary(advice, history))
    if args.apply is None:
        sys.stdout.write(draft(advice, user_name))
        return 0
    if not advice.rules:
        print("nothing to add")
        return 0
    from dynallow.cli.applying import apply

    return apply(args, loaded, rules_text(advice.rules, user_name))


def user_name(uid: int) -> str | int:
    """As the settings take it: a name that means this user here, else the number."""
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
        return name if pwd.getpwnam(name).pw_uid == uid and name.isprintable() else uid
    except (KeyError, ValueError):
        return uid


def _pattern_of(loaded: Loaded, rule: str, name: str) -> str | None:
    from dynallow.policy import parse_name
    from dynallow.policy.rrtypes import A

    for trace in loaded.policy.explain(parse_name(name), A, time.time()):
        if trace.rule.name == rule:
            return trace.pattern
    return None


def _summary(advice: Advice, history: History) -> str:
    text = f"{window_text(history)}: {plural(len(advice.rules), 'rule')} to add"
    if left := len(advice.left) + len(advice.nameless):
        text += f", {plural(left, 'thing')} left out"
    if lost := sum(history.untold.values()):
        text += f"; {lost} denials could not be told apart and are not in it"
    return text


def _report(advice: Advice, history: History) -> SuggestReport:
    from dynallow.advice.draft import draft
    from dynallow.control.reports.history import moment

    return {
        "since": moment(history.since),
        "until": moment(history.until),
        "begins": None if history.begins is None else moment(history.begins),
        "untold": history.untold,
        "rules": [_rule_report(rule) for rule in advice.rules],
        "left_out": [*map(_left_report, advice.left), *map(_nameless_report, advice.nameless)],
        "toml": draft(advice, user_name),
    }


def _left_report(left: Left) -> LeftReport:
    from dynallow.control.reports.history import moment

    return {
        "why": left.why,
        "what": left.what,
        "text": left.text,
        "count": left.times,
        "last": moment(left.last),
        "users": [user_name(uid) for uid in sorted(left.users)],
        "processes": sorted(left.processes),
    }


def _nameless_report(each: Nameless) -> LeftReport:
    from dynallow.control.reports.history import moment

    return {
        "why": "no-name",
        "what": f"{each.address} {each.port}",
        "text": "",
        "count": each.times,
        "last": moment(each.last),
        "users": [] if each.user is None else [user_name(each.user)],
        "processes": list(each.processes),
    }


def _rule_report(rule: Suggested) -> RuleReport:
    from dynallow.control.reports.history import moment

    return {
        "name": rule.name,
        "names": list(rule.names),
        "ports": [str(port) for port in rule.ports],
        "users": [user_name(uid) for uid in rule.users],
        "private": [str(network) for network in rule.private],
        "reason": rule.reason,
        "guessed": rule.guessed,
        "connections": rule.connections,
        "questions": rule.questions,
        "first": moment(rule.first),
        "last": moment(rule.last),
        "units": list(rule.units),
        "processes": list(rule.processes),
    }
