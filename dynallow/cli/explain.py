"""`dynallow explain NAME|ADDRESS`: why it is allowed or denied.

Asks the agent: the policy in force may be older than the file on disk. Exit 5
when it is denied or filtered, so that scripts can ask.
"""

from __future__ import annotations

import pwd
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, Style, Table, print_json, show
from dynallow.cli.phrases import listed, users_text
from dynallow.control.schema import ExplainedRule, ExplainReport
from dynallow.units import PortRange, format_duration, parse_port

DENIED = 5
_STYLES: dict[str, Style] = {"allowed": "good", "denied": "bad", "filtered": "warn"}
_OUTCOMES = {
    "allows": "allows it",
    "excepted": "lists it, but excepts it",
    "expired": "lists it, but has expired",
    "filtered": "lists it, but not this record type",
    "destination": "allows it by address",
}


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("subject", metavar="NAME|ADDRESS")
    parser.add_argument("--port", type=_port, metavar="tcp/443", help="whether it is allowed on this port")
    parser.add_argument("--user", type=_uid, metavar="U", help="whether this user (name or uid) may")
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def _port(text: str) -> PortRange:
    try:
        return parse_port(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _uid(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise ArgumentTypeError(f'expected a user of this host or a uid, got "{text}"') from None


def execute(args: Namespace) -> int:
    """Print it; exit 5 when not allowed."""
    answer = client(args).get(
        "/v1/explain",
        subject=args.subject,
        port=None if args.port is None else str(args.port),
        user=None if args.user is None else str(args.user),
    )
    report = cast(ExplainReport, answer)
    if args.json:
        print_json(report)
    else:
        show(explain_blocks(report))
    return 0 if report["verdict"] == "allowed" else DENIED


def explain_blocks(report: ExplainReport) -> list[Block]:
    """The verdict first, then what led to it."""
    verdict = report["verdict"]
    blocks: list[Block] = [Line(f"{verdict}: {report['text']}", _STYLES[verdict])]
    if hosts := report.get("hosts"):  # an older agent does not tell
        blocks.append(Line(f"/etc/hosts says {listed(hosts)}: most programs take that, and ask no resolver"))
    for rule in report["rules"]:
        blocks += _rule(rule)
    if report["leases"]:
        rows = [
            (lease["address"], lease["name"], lease["rule"], format_duration(lease["expires_in_s"]))
            for lease in report["leases"]
        ]
        blocks += [
            Line(),
            Line("leases"),
            Table(("address", "name", "rule", "time left"), rows, frozenset((3,))),
        ]
    if report["names"]:
        blocks += [Line(), Line(f"other names on its addresses: {listed(report['names'])}")]
    return blocks


def _rule(rule: ExplainedRule) -> list[Block]:
    kind = "destination" if rule["outcome"] == "destination" else "rule"
    lines = [Line(), Line(f"{kind} {rule['rule']} {_OUTCOMES[rule['outcome']]}", "bold")]
    facts = (
        ("pattern", rule["pattern"]),
        ("exception", rule["exception"]),
        ("line", rule["where"]),
        ("ports", listed(rule["ports"])),
        ("users", users_text(rule["users"])),
        ("reason", rule["reason"]),
        ("owner", rule["owner"]),
    )
    return [*lines, *(Line(f"  {what:<9} {text}") for what, text in facts if text)]
