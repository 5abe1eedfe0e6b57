"""`dynallow uninstall`: what `install` has done, taken back from its record; the host is open afterwards."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dynallow.cli.output import note
from dynallow.cli.setupview import is_agreed, root_of, setup_arguments, show_plan


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    setup_arguments(parser)


def execute(args: Namespace) -> int:
    """Plan, show, ask, undo."""
    from dynallow.setup import record as records
    from dynallow.setup.found import find
    from dynallow.setup.perform import Performer
    from dynallow.setup.refusals import refuse_uninstall
    from dynallow.setup.unplan import plan_uninstall

    root = root_of(args)
    found = find(root)
    record = records.load(root)
    plan = plan_uninstall(root.look, found, record)
    if not plan.steps:
        records.forget(root)  # what a crash in the last step has left
        print("nothing to do: there is no record of an install")
        return 0
    refuse_uninstall(root, found, plan)
    show_plan(plan)
    if args.dry_run:
        return 0
    if not is_agreed(args, "Undo all of it?"):
        print("nothing was done")
        return 1
    performer = Performer(root, record, lambda line: print(f"  {line}", flush=True))
    performer.uninstall(plan)
    for line in performer.left:
        note(line)
    print("done: dynallow is off this host")
    return 0
