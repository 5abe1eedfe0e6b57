"""`dynallow status`: who may be reached right now, for how much longer, and why.

Knows where a status comes from: the agent, or the kernel itself when the agent
is down (then it says so on stderr). How it looks is `statusview`'s.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from dynallow.cli.connect import client, socket_argument
from dynallow.cli.leases import by_columns, gathered
from dynallow.cli.leaseview import SHOWN
from dynallow.cli.output import Block, Line, make_console, note, plain, print_json, rich_group, show
from dynallow.cli.screen import on_stdout
from dynallow.cli.statusview import fitting_blocks, status_blocks
from dynallow.errors import ControlError, DynallowError

if TYPE_CHECKING:
    from dynallow.control.schema import StatusReport

_REDRAW_S = 1.0


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--rule", metavar="R", help="this rule only")
    parser.add_argument("--all", action="store_true", help="every lease also on a terminal")
    parser.add_argument("--watch", action="store_true", help="redraw every second until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="as JSON (with --watch, one line a second)")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Print it; exit 4 when neither the agent nor a table is there."""
    if args.watch:
        return _watch(args)
    gc.disable()  # prints and ends: walking 100,000 leases for garbage is a third of its time
    report = read_status(args)
    if not report["agent"]["running"]:
        _tell_offline(report)
    if args.json:
        print_json(report)
    else:
        screen = on_stdout()
        show(status_blocks(report, screen, None if args.all or screen.width is None else SHOWN))
    there = report["agent"]["running"] or report["kernel"]["table"]
    return 0 if there else ControlError.exit_code


def read_status(args: Namespace) -> StatusReport:
    """From the agent, else from the kernel, the longest lease first.

    Raises ControlError when neither can be read.
    """
    try:
        report = gathered(client(args).lines("/v1/status", rule=args.rule))
    except ControlError as error:
        from dynallow.cli.kernelview import read_kernel_status

        report = read_kernel_status(error, args.rule)
    for rule in report["rules"]:
        leases = by_columns(rule["leases"])
        leases.sort()  # here: it would hold up the agent's loop
        rule["leases"] = leases or []
    return report


def _tell_offline(report: StatusReport) -> None:
    table = (
        "table inet dynallow is in force without it"
        if report["kernel"]["table"]
        else "there is no table inet dynallow, nothing is blocked"
    )
    note(f"{report['warnings'][0]}; read from the kernel: {table}")


def _watch(args: Namespace) -> int:
    with until_interrupted() as interrupted:
        if sys.stdout.isatty() and not args.json:
            _watch_terminal(args, interrupted)
        else:
            _watch_pipe(args, interrupted)
    return 0


class Interrupted:
    """Whether Ctrl-C came."""

    came = False


@contextmanager
def until_interrupted() -> Iterator[Interrupted]:
    """Ctrl-C is the one way to end it, so no failure.

    An exception alone may be lost: Python drops one that comes while a generator is closed or something is
    collected, and the view would go on for ever. So it is noted as well.
    """
    interrupted = Interrupted()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not interrupted.came:  # once: what follows gives the screen back
            interrupted.came = True
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        with suppress(KeyboardInterrupt):
            yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _watch_terminal(args: Namespace, interrupted: Interrupted) -> None:
    from rich.live import Live

    console = make_console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while not interrupted.came:
            live.update(rich_group(_frame(args), console.height), refresh=True)
            time.sleep(_REDRAW_S)


def _frame(args: Namespace) -> list[Block]:
    try:
        return fitting_blocks(read_status(args), on_stdout())
    except DynallowError as error:  # the agent restarts: keep looking
        return [*(Line(line, "bad") for line in error.message.splitlines()), Line(error.hint)]


def _watch_pipe(args: Namespace, interrupted: Interrupted) -> None:
    while not interrupted.came:
        report = read_status(args)
        if args.json:
            print(json.dumps(report, default=list), flush=True)
        else:
            print("\n".join(plain(status_blocks(report))), end="\n\n", flush=True)
        time.sleep(_REDRAW_S)
