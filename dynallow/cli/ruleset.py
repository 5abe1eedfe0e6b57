"""`dynallow ruleset [FILE]`: print the ruleset that the settings give, as nft text."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from dynallow.cli.connect import settings_arguments, settings_path
from dynallow.cli.output import print_json


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help='as JSON: {"ruleset": "the text"}')


def execute(args: Namespace) -> int:
    """Print it. Raises SettingsError."""
    from dynallow.cli.planned import planned_ruleset
    from dynallow.settings import load

    text = planned_ruleset(load(settings_path(args)).settings)
    if args.json:
        print_json({"ruleset": text})
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    return 0
