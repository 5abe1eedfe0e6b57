"""`dynallow run`: the agent in the foreground; what systemd starts."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

_FILES = 16384


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
        choices=["in-place-refresh", "ownership", "conntrack-filter", "sock-destroy", "counting"],
        help="do as on a kernel that lacks it (in-place-refresh: Linux before 6.12, ownership: before 6.9, "
        "of the table: others may change it, and it is healed); for tests and doubts",
    )


def execute(args: Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    # Before anything that takes time: a reload that comes now has nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Nothing of a start is garbage: not looking for it saves a tenth. The agent turns it on again.
    gc.disable()
    # pydantic would look through every installed package for plug-ins, and let them at the settings.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
    logging.basicConfig(
        level=os.environ.get("DYNALLOW_LOG", "INFO").upper(),
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    _allow_files()
    from dynallow.agent import run

    return run(args.config, without=frozenset(args.without))


def _allow_files() -> None:
    """Room for every client, question and upstream socket: shells and systemd give 1,024 descriptors.

    A crowd of TCP clients alone would use them up, and then no name could be asked upstream.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
