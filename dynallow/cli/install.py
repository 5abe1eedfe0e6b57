"""`dynallow install`: user, units, settings, and last of all resolv.conf; shown first.

Keeps: the settings that it brings observe; what it does is recorded for `dynallow uninstall`.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from ipaddress import ip_address
from pathlib import Path

from dynallow import __version__
from dynallow.cli.setupview import is_agreed, root_of, setup_arguments, show_plan

_OURS = ("127.0.0.1", "::1")


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    setup_arguments(parser)
    parser.add_argument(
        "--program", metavar="PATH", help="the dynallow that the units start (default: this one)"
    )
    parser.add_argument(
        "--upstream",
        metavar="SERVER",
        action="append",
        default=[],
        help="a name server for dynallow to ask, as in resolver.upstreams (default: those of resolv.conf)",
    )
    parser.add_argument(
        "--without-resolv-conf", action="store_true", help="leave the host's resolver as it is for now"
    )


def execute(args: Namespace) -> int:
    """Plan, show, ask, do."""
    from dynallow.firewall.sessions import keep_sessions
    from dynallow.setup import record as records
    from dynallow.setup.found import find
    from dynallow.setup.perform import Performer
    from dynallow.setup.plan import Wish, known_upstreams, plan_install
    from dynallow.setup.refusals import refuse_install
    from dynallow.setup.rulers import ruler_of

    root = root_of(args)
    wish = Wish(
        _program(args), __version__, tuple(args.upstream), take_resolv_conf=not args.without_resolv_conf
    )
    found = find(root)
    record = records.load(root)
    plan = plan_install(root.look, found, wish, record)
    upstreams = wish.upstreams or known_upstreams(root.look, record)
    if plan.steps or not record.complete:
        refuse_install(
            root, found, wish, plan, upstreams=upstreams, listeners=_listeners() if found.live else ()
        )
    ruler = ruler_of(root.look, found.active, live=found.live) if wish.take_resolv_conf else ""
    show_plan(plan)
    if not plan.steps and record.complete:
        print("nothing to do: dynallow is installed")
        return 0
    if wish.take_resolv_conf:
        print(f"resolv.conf is ruled by: {record.ruler or ruler}")
    if args.dry_run:
        return 0
    if not is_agreed(args, "Do this?"):
        print("nothing was done")
        return 1
    performer = Performer(
        root, record, lambda line: print(f"  {line}", flush=True), keep_sessions=keep_sessions
    )
    performer.install(
        plan, program=wish.program, version=__version__, ruler=ruler, made_state=not found.has_state
    )
    print("done. `dynallow status` shows who is reached; `dynallow uninstall` takes all of it back")
    return 0


def _program(args: Namespace) -> str:
    """The program that runs this, whatever link it was called by."""
    named: str | None = args.program
    if named:
        return os.path.abspath(named)
    called = Path(sys.argv[0])
    if called.name == "dynallow" and called.is_file():
        return os.path.realpath(called)
    return str(Path(sys.prefix) / "bin" / "dynallow")


def _listeners() -> list[str]:
    """Who is in the way of 127.0.0.1:53 and [::1]:53."""
    from dynallow.cli.checks.listeners import read_listeners

    found = read_listeners(Path("/proc"), 53)
    wanted = [ip_address(each) for each in _OURS]
    return list(dict.fromkeys(str(each) for each in found if any(map(each.covers, wanted))))
