"""Which agent a verb talks to, and which settings file a verb reads.

Knows the arguments and variables that name them. The order for the socket:
`--socket`, DYNALLOW_SOCKET, the default of `control.socket`. The settings file
is not asked for it: it need not be readable for whoever may use the socket.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dynallow.control.client import DEFAULT_SOCKET, Client


def socket_argument(parser: ArgumentParser) -> None:
    """Add `--socket`."""
    parser.add_argument(
        "--socket",
        metavar="PATH",
        type=Path,
        help=f"the agent's control socket (default: $DYNALLOW_SOCKET, else {DEFAULT_SOCKET})",
    )


def socket_path(args: Namespace) -> Path:
    """The socket in the order above; an empty variable counts as none."""
    given: Path | None = args.socket
    return given or Path(os.environ.get("DYNALLOW_SOCKET") or DEFAULT_SOCKET)


def client(args: Namespace, timeout_s: float = 10.0) -> Client:
    """The client for the agent that `args` mean."""
    return Client(socket_path(args), timeout_s)


def settings_arguments(parser: ArgumentParser) -> None:
    """Add `[FILE]` and `--config FILE`, which mean the same."""
    where = "the settings' main file (default: /etc/dynallow/dynallow.toml); its conf.d lies beside it"
    group = parser.add_mutually_exclusive_group()
    group.add_argument("file", metavar="FILE", type=Path, nargs="?", help=where)
    group.add_argument("--config", metavar="FILE", type=Path, help="the same")


def settings_path(args: Namespace) -> Path | None:
    """The file that was named; None means the default."""
    named: Path | None = args.file or args.config
    return named
