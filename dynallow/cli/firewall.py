"""`dynallow firewall`: load the last good ruleset, as at boot; what dynallow-firewall.service starts."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynallow.settings import Settings


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings' main file, for where no ruleset was kept (default: /etc/dynallow/dynallow.toml)",
    )
    parser.add_argument(
        "--kept",
        metavar="FILE",
        type=Path,
        help="the ruleset that the agent has kept (default: ruleset.nft in $STATE_DIRECTORY)",
    )


def execute(args: Namespace) -> int:
    """Load it. Raises SettingsError when the settings were needed and are broken, and KernelError."""
    from dynallow.errors import SettingsError
    from dynallow.firewall import boot, kept
    from dynallow.pending.starting import for_boot
    from dynallow.settings import files_of

    if boot.is_held():
        print("table inet dynallow is held by the agent, which is running; left as it is")
        return 0
    if boot.in_force():
        print("table inet dynallow is in force; left as it is")
        return 0
    path = args.kept or kept.place()
    state = path.parent if path is not None else None
    if boot.observes(path):
        with suppress(SettingsError):
            settings = for_boot(args.config, state).settings
            if settings.mode == "enforce":
                return _take(settings)
    last = boot.load_last(path)
    if last.loaded:
        print("the last good ruleset is in force")
        return 0
    print(f"dynallow: {last.why_not}; taking the settings", file=sys.stderr)
    try:
        settings = for_boot(args.config, state).settings
    except SettingsError as error:
        if boot.shall_enforce(last, files_of(args.config)):
            boot.load_closed()
            error.hint = "closed: nothing leaves this host until they are mended, and the agent starts"
        else:
            error.hint = "nothing was loaded: neither these settings nor a kept ruleset name mode enforce"
        raise
    return _take(settings)


def _take(settings: Settings) -> int:
    """What they give; closed, if they say so, where the kernel does not take that. Raises KernelError."""
    from dynallow.errors import KernelError
    from dynallow.firewall import boot
    from dynallow.resolver.upstream.choose import choose

    try:
        boot.load_settings(settings, choose(settings).ways())
    except KernelError as error:
        if settings.mode == "enforce":
            with suppress(KernelError):  # else it takes nothing, and the first error says why
                boot.load_closed()
                error.hint = "closed: nothing leaves this host until the kernel takes what the settings give"
        raise
    print(f"the settings' ruleset is in force, mode {settings.mode}")
    return 0
