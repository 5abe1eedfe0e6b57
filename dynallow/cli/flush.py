"""`dynallow flush`: revoke leases and cut their connections.

Without `--rule` and `--name` that is all of them; a name asked again gets a
new lease, as always.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import cast

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.output import Block, Line, Table, print_json, show
from dynallow.cli.phrases import plural
from dynallow.control.schema import FlushReport

_TIMEOUT_S = 60.0


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--rule", type=_given, metavar="R", help="only leases of this rule")
    parser.add_argument("--name", type=_given, metavar="N", help="only leases that this name earned")
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def _given(text: str) -> str:
    # `--rule "$RULE"` with RULE unset must not flush everything.
    if not text:
        raise ArgumentTypeError("expected a name, got nothing")
    return text


def execute(args: Namespace) -> int:
    """Flush; print what was revoked."""
    report = cast(FlushReport, client(args, _TIMEOUT_S).post("/v1/flush", rule=args.rule, name=args.name))
    if args.json:
        print_json(report)
    else:
        show(flush_blocks(report))
    return 0


def flush_blocks(report: FlushReport) -> list[Block]:
    """The revoked leases, then the sums."""
    rows = [(lease["address"], lease["name"], lease["rule"]) for lease in report["revoked"]]
    sums = f"{plural(len(rows), 'lease')} revoked, {plural(report['connections_cut'], 'connection')} cut"
    blocks: list[Block] = [Table(("address", "name", "rule"), rows)] if rows else []
    return [*blocks, Line(sums)]
