"""Ends sockets from outside (SOCK_DESTROY). Not there yet: the probe alone has its place."""

from __future__ import annotations


def works() -> bool:
    """Whether this kernel ends sockets when asked to. Leaves nothing behind."""
    return False
