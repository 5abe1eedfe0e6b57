"""Values of the reports in words: users, ports, moments.

Pure but for the user database. Shared by the verbs so that the same thing
reads the same everywhere.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from dynallow.durations import format_duration


def users_text(uids: Sequence[int]) -> str:
    """ "every user", or the names of those who may."""
    return ", ".join(map(user_name, uids)) or "every user"


def user_name(uid: int) -> str:
    """The user's name, or the bare uid where the host has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def listed(words: Iterable[str]) -> str:
    """ "a, b", or "none"."""
    return ", ".join(words) or "none"


def plural(count: int, noun: str) -> str:
    """ "1 lease", "2 leases"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def since(moment: str | None, now: datetime | None = None) -> str:
    """ " since 2026-11-21 10:00:00 (2h3m ago)" in local time; nothing for None or no moment."""
    try:
        then = datetime.fromisoformat(moment or "")
    except ValueError:
        return ""
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    ago = ((now or datetime.now(UTC)) - then).total_seconds()
    return f" since {then.astimezone():%Y-%m-%d %H:%M:%S} ({format_duration(max(ago, 0.0))} ago)"


def clock_text(moment: str) -> str:
    """ "15:35:12" in local time, with the day where it is not today's."""
    then = datetime.fromisoformat(moment).astimezone()
    return (
        f"{then:%H:%M:%S}"
        if then.date() == datetime.now().astimezone().date()
        else f"{then:%Y-%m-%d %H:%M:%S}"
    )


def local(moment: str | None) -> str:
    """A moment in local time, "2026-11-21 10:00:00"; what is none stays as it is."""
    try:
        then = datetime.fromisoformat(moment or "")
    except ValueError:
        return moment or ""
    return f"{(then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone():%Y-%m-%d %H:%M:%S}"


def size_text(count: int) -> str:
    """Bytes in the unit that keeps up to four digits: "812 B", "4.0 KiB"."""
    if count < 1024:
        return f"{count} B"
    size, units = float(count), ("KiB", "MiB", "GiB", "TiB", "PiB")
    for unit in units:
        size /= 1024
        if size < 1024 or unit == units[-1]:
            break
    return f"{size:.1f} {unit}"
