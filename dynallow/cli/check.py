"""`dynallow check [FILE]`: validate the settings, and have nft check the ruleset.

Needs no agent. Without CAP_NET_ADMIN or without nft the ruleset cannot be
checked: that is a warning, for the settings can be right all the same (a
build machine checks them as an ordinary user).
"""

from __future__ import annotations

import errno
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Literal, TypedDict

from dynallow.cli.connect import settings_arguments, settings_path
from dynallow.cli.output import Line, note, print_json, show
from dynallow.cli.phrases import listed, plural
from dynallow.errors import KernelError, SettingsError

if TYPE_CHECKING:
    from dynallow.settings import Loaded

_OURS = "inet dynallow"
_CANNOT_CHECK = (errno.EPERM, errno.ENOENT)


class CheckReport(TypedDict):
    """The answer of `check --json`; the lists of a file with faults are empty."""

    valid: bool
    faults: list[str]
    files: list[str]
    mode: Literal["observe", "enforce"] | None
    rules: list[str]
    patterns: int
    destinations: list[str]
    not_in_force: list[str]
    ruleset: Literal["accepted", "refused", "not checked"]
    ruleset_error: str | None


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    settings_arguments(parser)
    parser.add_argument("--schema", action="store_true", help="print the settings' JSON schema, for editors")
    parser.add_argument("--json", action="store_true", help="as JSON")


def execute(args: Namespace) -> int:
    """Check; exit 3 with every fault, 6 when the kernel refuses the ruleset."""
    if args.schema:
        from dynallow.settings import json_schema

        print_json(json_schema())
        return 0
    from dynallow.settings import load

    try:
        loaded = load(settings_path(args))
    except SettingsError as error:
        if args.json:
            print_json(_faulty(error))
        raise
    refusal = check_ruleset(loaded)
    report = check_report(loaded, refusal)
    if args.json:
        print_json(report)
    else:
        show(_lines(report, loaded))
    if report["ruleset"] == "not checked":
        note(f"warning: the ruleset was not checked: {report['ruleset_error']}")
    elif refusal is not None:
        raise refusal
    return 0


def check_ruleset(loaded: Loaded) -> KernelError | None:
    """What nft has against the ruleset; None when it accepts."""
    from dynallow.cli.planned import planned_ruleset
    from dynallow.firewall import nft

    try:
        nft.check(beside(planned_ruleset(loaded.settings)))
    except KernelError as error:
        return error
    return None


def beside(ruleset: str) -> str:
    """The ruleset as a table of another name that lets everything pass, to be checked and never applied.

    A living agent may own the table: nobody else can touch it, not even to check. And for the moment of the
    check the kernel has the new base chains in the packets' way already, with no rule in them.
    """
    name = f"table {_OURS}"
    return ruleset.replace(f"{name} {{", f"{name}-check {{", 1).replace("policy drop;", "policy accept;", 1)


def check_report(loaded: Loaded, refusal: KernelError | None) -> CheckReport:
    """What there is to say of valid settings."""
    from dynallow.settings import not_in_force

    settings = loaded.settings
    return {
        "valid": True,
        "faults": [],
        "files": [str(file) for file in loaded.files],
        "mode": settings.mode,
        "rules": [rule.name for rule in settings.rules],
        "patterns": loaded.policy.count,
        "destinations": [destination.name for destination in settings.destinations],
        "not_in_force": list(not_in_force(settings)),
        "ruleset": _outcome(refusal),
        "ruleset_error": None if refusal is None else refusal.message,
    }


def _outcome(refusal: KernelError | None) -> Literal["accepted", "refused", "not checked"]:
    if refusal is None:
        return "accepted"
    return "not checked" if refusal.errno in _CANNOT_CHECK else "refused"


def _faulty(error: SettingsError) -> CheckReport:
    return {
        "valid": False,
        "faults": [str(fault) for fault in error.faults],
        "files": [],
        "mode": None,
        "rules": [],
        "patterns": 0,
        "destinations": [],
        "not_in_force": [],
        "ruleset": "not checked",
        "ruleset_error": None,
    }


def _lines(report: CheckReport, loaded: Loaded) -> list[Line]:
    resolver = loaded.settings.resolver
    lines = [
        Line(f"valid: {listed(report['files'])}", "good"),
        Line(f"mode          {report['mode']}"),
        Line(f"rules         {listed(report['rules'])} ({plural(report['patterns'], 'pattern')})"),
        Line(f"destinations  {listed(report['destinations'])}"),
        Line(f"listen        {listed(map(str, resolver.listen))}"),
        Line(f"upstreams     {listed(map(str, resolver.upstreams))}"),
        Line(f"ruleset       {report['ruleset']}"),
    ]
    return lines + [Line(text, "warn") for text in report["not_in_force"]]
