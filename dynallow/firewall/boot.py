"""What is in force from power-on until the agent is there.

    a table that hooks the output    left alone: it has leases, and an agent perhaps
    else the last good ruleset       but where it observes, and sound settings name "enforce": they
    else what the settings give      first boot, or a kernel that takes the old text no more
    else closed, if it is known that it shall be, and nothing if not (also where settings are
         sound, and the kernel does not take what they give)

Knows kernel, kept text and settings; must not know systemd. Invariant 9: nothing here takes a restriction
away. That it shall be closed is known when the settings' files, faulty as they are, or the kept ruleset name
"enforce". Where neither does, the host was never restricted, or told not to be: to close it for a
spelling mistake would lock out who observes first, and the empty file's mode is "observe". A closed host
still answers whoever connects to it (replies belong to established flows), so it can be mended over SSH.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from dynallow.errors import KernelError
from dynallow.firewall import kept, load, nft
from dynallow.firewall.build import Way, build_ruleset
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_owner, read_policy
from dynallow.firewall.ruleset import OUTPUT
from dynallow.firewall.step import Flags
from dynallow.settings import Settings

_BASE = ("drop", "accept")
_ENFORCE: Final = "enforce"
_SAYS_ENFORCE = re.compile(r"""^\s*mode\s*=\s*["']enforce["']""", re.MULTILINE)


class Last(NamedTuple):
    """The kept ruleset's text, if any, and whether it could be loaded."""

    text: str | None
    loaded: bool
    why_not: str = ""


def in_force() -> bool:
    """Whether a chain of ours decides of what leaves. Raises KernelError."""
    return read_policy(OUTPUT) in _BASE


def is_held() -> bool:
    """Whether a living program owns the table, the agent: nobody else can change it. Raises KernelError."""
    return read_owner()[1] != 0


def observes(path: Path | None) -> bool:
    """Whether a ruleset was kept that restricts nothing."""
    text = kept.read(path) if path is not None else None
    return text is not None and not kept.is_enforcing(text)


def load_last(path: Path | None) -> Last:
    """Load the kept ruleset, in one transaction."""
    text = kept.read(path) if path is not None else None
    if text is None:
        return Last(None, loaded=False, why_not="no ruleset was kept")
    try:
        nft.load(text)
        if in_force():
            return Last(text, loaded=True)
    except KernelError as error:
        return Last(text, loaded=False, why_not=error.message)
    return Last(text, loaded=False, why_not="the kept ruleset has no output chain")


def load_settings(settings: Settings, ways: Iterable[Way]) -> None:
    """Load what they give, as the agent will. Raises KernelError."""
    elements = ElementSocket()
    try:
        # So that the agent can take it over as it is. What `nft` loads (the kept text) it makes anew.
        load.load(build_ruleset(settings, ways, os.geteuid()), elements, Flags.PERSIST)
    finally:
        elements.close()


def load_closed() -> None:
    """Load a ruleset that lets nothing begin but loopback and what IP itself needs. Raises KernelError."""
    load_settings(Settings(mode=_ENFORCE), ())


def shall_enforce(last: Last, files: Iterable[Path]) -> bool:
    """Whether mode "enforce" was ever meant, as far as can be told."""
    return (last.text is not None and kept.is_enforcing(last.text)) or any(map(_says_enforce, files))


def _says_enforce(file: Path) -> bool:
    try:
        text = file.read_bytes().decode(errors="replace")
    except OSError:
        return False
    try:
        return tomllib.loads(text).get("mode") == _ENFORCE
    except tomllib.TOMLDecodeError:
        return bool(_SAYS_ENFORCE.search(text))
