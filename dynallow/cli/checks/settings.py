"""The settings on disk: whether they are valid, and what of them is not in force yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dynallow.cli.checks.finding import Finding
from dynallow.cli.phrases import plural
from dynallow.control.schema import StatusReport
from dynallow.errors import SettingsError
from dynallow.units import Endpoint, parse_endpoint

if TYPE_CHECKING:
    from dynallow.settings import Loaded


def examine_settings(path: Path | None) -> tuple[Loaded | None, list[Finding]]:
    """The settings (None: invalid), and what was found."""
    from dynallow.settings import load, not_in_force

    try:
        loaded = load(path)
    except SettingsError as error:
        faults = [Finding("settings", "fail", str(fault), "", error.hint) for fault in error.faults]
        return None, faults
    files = ", ".join(map(str, loaded.files))
    counts = (plural(len(loaded.settings.rules), "rule"), plural(loaded.policy.count, "pattern"))
    found = f"valid ({files}): {', '.join(counts)}"
    later = [Finding("settings", "warn", text) for text in not_in_force(loaded.settings)]
    return loaded, [Finding("settings", "ok", found), *later]


def listen_endpoints(loaded: Loaded | None, status: StatusReport | None) -> tuple[Endpoint, ...]:
    """Where the agent listens, or would: what runs counts before what is on disk."""
    if status is not None and status["listen"]:
        return tuple(map(parse_endpoint, status["listen"]))
    if loaded is not None:
        return loaded.settings.resolver.listen
    return (parse_endpoint("127.0.0.1:53"), parse_endpoint("[::1]:53"))
