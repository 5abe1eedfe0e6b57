"""`dynallow audit`: what no longer earns its place among the rules; exit 1 if there is any (for cron)."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, TypedDict

from dynallow.cli.output import Block, Line, Table, note, print_json, show
from dynallow.cli.phrases import plural, user_name
from dynallow.cli.recorded import config_argument, duration, history_arguments, recorded, settings_file

if TYPE_CHECKING:
    from dynallow.advice.audit import Audit, Finding
    from dynallow.control.historyrows import History
    from dynallow.settings import Loaded

FOUND = 1
_MONTH_S = 30 * 86400.0


class FindingReport(TypedDict):
    kind: str
    section: str
    text: str
    name: str
    where: str


class AuditReport(TypedDict):
    """The answer of `audit --json`."""

    since: str
    until: str
    begins: str | None
    findings: list[FindingReport]
    notes: list[str]


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    history_arguments(parser, "30d")
    config_argument(parser)
    parser.add_argument(
        "--unused-after",
        metavar="SPAN",
        type=duration,
        default=_MONTH_S,
        help="what nobody used for this long is unused (default: 30d)",
    )
    parser.add_argument("--offline", action="store_true", help="do not ask whether names still exist")
    parser.add_argument("--json", action="store_true", help="as JSON")


def execute(args: Namespace) -> int:
    """Print what was found; exit 1 if anything was."""
    from dynallow.advice.audit import audit
    from dynallow.settings import load

    if args.since is None:
        args.since_default = max(args.since_default, args.unused_after)
    loaded = load(settings_file(args, args.config))
    history = recorded(args)
    gone, notes = ({}, []) if args.offline else _gone(history, loaded)
    users = {user for rule in loaded.settings.rules for user in rule.users}
    users |= {user for destination in loaded.settings.destinations for user in destination.users}
    users |= {user for record in history.records if (user := record.subject.user) is not None}
    audited = audit(
        history.records,
        loaded,
        history.until,
        begins=None if history.begins is None else max(history.begins, history.since),
        unused_after_s=args.unused_after,
        gone=gone,
        users={user: user_name(user) for user in users},
    )
    audited = audited._replace(notes=(*audited.notes, *notes))
    places = [_where(loaded, finding) for finding in audited.findings]
    if args.json:
        print_json(_report(audited, places, history))
    else:
        show(_blocks(audited, places))
        for text in audited.notes:
            note(text)
    return FOUND if audited.findings else 0


def _gone(history: History, loaded: Loaded) -> tuple[dict[str, str], list[str]]:
    from dynallow.advice.audit import names_to_ask
    from dynallow.cli.existence import ask

    names, more = names_to_ask(history.records, loaded, history.until)
    gone, unanswered = ask(names, loaded.settings.resolver.listen[0])
    notes = []
    if unanswered:
        notes.append(
            f"{unanswered} of {plural(len(names), 'name')} could not be asked for whether they exist"
        )
    if more:
        notes.append(f"{plural(more, 'more name')} were not asked for: {len(names)} at a time")
    return gone, notes


def _where(loaded: Loaded, finding: Finding) -> str:
    """ "file:line" of the pattern that the finding is about, or of the rule's first."""
    from dynallow.settings import locate

    rule = next((each for each in loaded.policy.rules if each.name == finding.section), None)
    source = next((each for each in loaded.sources if each.rule.name == finding.section), None)
    if rule is None or source is None:
        return ""
    first = str(source.rule.names[0]) if source.rule.names else ""
    for pattern in filter(None, (finding.name, first)):
        if place := locate(loaded, rule, pattern):
            return place
    return str(source.file)


def _blocks(audited: Audit, places: list[str]) -> list[Block]:
    if not audited.findings:
        return [Line("nothing found", "good")]
    rows = [
        (finding.section, finding.kind, finding.text, place)
        for finding, place in zip(audited.findings, places, strict=True)
    ]
    return [
        Table(("rule", "finding", "what", "where"), rows),
        Line(),
        Line(plural(len(rows), "finding"), "warn"),
    ]


def _report(audited: Audit, places: list[str], history: History) -> AuditReport:
    from dynallow.control.reports.history import moment

    return {
        "since": moment(history.since),
        "until": moment(history.until),
        "begins": None if history.begins is None else moment(history.begins),
        "findings": [
            {
                "kind": finding.kind,
                "section": finding.section,
                "text": finding.text,
                "name": finding.name,
                "where": place,
            }
            for finding, place in zip(audited.findings, places, strict=True)
        ],
        "notes": list(audited.notes),
    }
