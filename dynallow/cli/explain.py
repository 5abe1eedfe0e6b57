"""`dynallow explain NAME|ADDRESS|@LINE`: why it is allowed or denied, and what would have to change.

Asks the agent: the policy in force may be older than the file on disk. Exit 5
when it is denied or filtered, so that scripts can ask.
"""

from __future__ import annotations

import pwd
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, Style, Table, escape, print_json, show
from dynallow.cli.phrases import listed, local, user_name, users_text
from dynallow.cli.screen import Screen, on_stdout, wrapped
from dynallow.control.historyschema import HistoryRow
from dynallow.control.schema import ExplainedRule, ExplainReport
from dynallow.durations import format_duration
from dynallow.units import PortRange, parse_port

DENIED = 5
_STYLES: dict[str, Style] = {"allowed": "good", "denied": "bad", "filtered": "warn"}
_OUTCOMES = {
    "allows": "allows it",
    "excepted": "lists it, but excepts it",
    "expired": "lists it, but has expired",
    "filtered": "lists it, but not this record type",
    "destination": "allows it by address",
}

_PACKETS = {
    "accepted": "goes out",
    "reset": "refused at once, by a TCP reset",
    "rejected": "refused at once, by an ICMP error",
    "dropped": "dropped: a connect hangs",
    "passed": "goes out, and is counted as denied (mode observe)",
    "turned": "turned to dynallow's own listener",
}
_DECIDED = {
    "rule": "by rule",
    "destination": "by destination",
    "loopback": "it stays on this host",
    "dns": "DNS goes to dynallow alone",
    "nothing": "no rule or destination fits",
}


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "subject", metavar="NAME|ADDRESS|@LINE", help="@LINE: as the first column of `dynallow denied` has it"
    )
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
        show(fitted(explain_blocks(report), on_stdout()))
    return 0 if report["verdict"] == "allowed" else DENIED


def fitted(blocks: Iterable[Block], screen: Screen) -> Iterator[Block]:
    """With no line wider than the screen; tables are as wide as what is in them."""
    for block in blocks:
        if isinstance(block, Line) and screen.width is not None:
            yield from (Line(line, block.style) for line in wrapped(escape(block.text), screen, 10))
        else:
            yield block


def explain_blocks(report: ExplainReport) -> list[Block]:
    """The verdict first, then what decides it and what would have to change, then what led to it."""
    verdict = report["verdict"]
    blocks: list[Block] = [Line(f"{verdict}: {report['text']}", _STYLES[verdict])]
    blocks += _facts(report)
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
    if seen := report.get("seen_names"):
        blocks += [Line(), Line(f"names that gave its addresses before: {listed(seen)}")]
    return blocks + _past(report)


def _facts(report: ExplainReport) -> list[Block]:
    """One line each; an older agent tells less."""
    lines: list[Block] = []
    if hosts := report.get("hosts"):
        lines.append(Line(f"/etc/hosts says {listed(hosts)}: most programs take that, and ask no resolver"))
    if names := report.get("hosts_names"):
        lines.append(
            Line(f"/etc/hosts gives it to {listed(names)}: programs that mean these ask no resolver")
        )
    if (packet := report.get("packet")) is not None:
        lines.append(Line(f"packet    {_PACKETS[packet]}"))
    if (decided := report.get("decided")) is not None:
        where = f" ({decided['where']})" if decided["where"] else ""
        name = f" {decided['name']}" if decided["name"] else ""
        lines.append(Line(f"decided   {_DECIDED[decided['by']]}{name}{where}"))
        if decided["nft"]:
            lines.append(Line(f"          chain {decided['chain']}: {decided['nft']}", "dim"))
    for number, change in enumerate(report.get("change", ())):
        lines.append(Line(f"{'' if number else 'change':<9} {change}", "warn"))
    lines += [Line(f"note      {note}") for note in report.get("notes", ())]
    return lines


def _past(report: ExplainReport) -> list[Block]:
    rows = report.get("past", [])
    if not rows:
        begins = report.get("past_begins")
        return (
            [Line(), Line(f"nothing seen of it: the history begins {local(begins)}", "dim")] if begins else []
        )
    more = report["past_rows"] - len(rows)
    title = f"seen, the latest first{f' ({more} more: dynallow denied, --json)' if more else ''}"
    return [
        Line(),
        Line(title),
        Table(
            ("last", "times", "what", "of", "by", "why"),
            [
                (
                    local(row["last"]),
                    str(row["count"]),
                    row["decision"] if row["kind"] == "flow" else f"{row['decision']} {row['qtype']}",
                    f"{row['address'] or row['name']} {row['port']}".rstrip(),
                    _who(row),
                    row["why"] or row["rule"],
                )
                for row in rows
            ],
            frozenset((1,)),
        ),
    ]


def _who(row: HistoryRow) -> str:
    user = "" if row["user"] is None else user_name(row["user"])
    return " ".join(filter(None, (user, row["process"], row["unit"]))) or "?"


def _rule(rule: ExplainedRule) -> list[Block]:
    kind = "destination" if rule["outcome"] == "destination" else "rule"
    lines = [Line(), Line(f"{kind} {rule['rule']} {_OUTCOMES[rule['outcome']]}", "bold")]
    facts = (
        ("pattern", rule["pattern"]),
        ("exception", rule["exception"]),
        ("line", rule["where"] or rule.get("line")),
        ("ports", listed(rule["ports"])),
        ("users", users_text(rule["users"])),
        ("reason", rule["reason"]),
        ("owner", rule["owner"]),
        ("expires", rule.get("expires")),
    )
    return [*lines, *(Line(f"  {what:<9} {text}") for what, text in facts if text)]
