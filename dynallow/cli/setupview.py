"""What `install` and `uninstall` share: their arguments, showing a plan, and asking for a yes.

Knows the terminal. Must not know what a plan is for.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dynallow.cli.output import Block, Line, show
from dynallow.errors import SetupError
from dynallow.setup.steps import Plan
from dynallow.setup.things import Root


def setup_arguments(parser: ArgumentParser) -> None:
    """Add `--dry-run`, `--yes` and `--root`."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--yes", action="store_true", help="do it without asking")
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="the root of an image or chroot; nothing is started then",
    )


def root_of(args: Namespace) -> Root:
    """The root that was named; raises SetupError where there is none."""
    directory = Path(os.path.realpath(args.root))
    if not directory.is_dir():
        raise SetupError(f"{args.root}: expected a directory, got none")
    return Root(directory)


def show_plan(plan: Plan) -> None:
    """The steps in their order, and what is left alone."""
    blocks: list[Block] = [Line(f"  {number:>2}. {step}") for number, step in enumerate(plan.steps, 1)]
    show([*blocks, *(Line(f"   -  {text}", "dim") for text in plan.notes)])


def is_agreed(args: Namespace, question: str) -> bool:
    """Whether to go on. Raises SetupError where nobody can be asked."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise SetupError("nobody to ask here: nothing was done", "--yes does it, --dry-run only shows it")
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
