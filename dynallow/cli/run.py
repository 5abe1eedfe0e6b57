"""`dynallow run`: the agent in the foreground; what systemd starts."""

from __future__ import annotations

import gc
import os
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings' main file (default: /etc/dynallow/dynallow.toml); its conf.d lies beside it",
    )
    parser.add_argument(
        "--without",
        metavar="FEATURE",
        action="append",
        default=[],
        choices=["in-place-refresh"],
        help="do as on a kernel that lacks it (in-place-refresh: Linux before 6.12); for tests and doubts",
    )


def execute(args: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    # Before anything that takes time: a reload that comes now has nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Nothing of a start is garbage: not looking for it saves a tenth. The agent turns it on again.
    gc.disable()
    # pydantic would look through every installed package for plug-ins, and let them at the settings.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
    from dynallow.agent import run

    return run(args.config, force_replace="in-place-refresh" in args.without)
