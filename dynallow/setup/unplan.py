"""What an uninstall has to do: the install's steps the other way round, computed from the record.

Pure: looks through a `View`. Keeps: what stands where the install has written is taken away only if it is
still ours; the host finds its old resolver before the agent stops, and nothing is blocked from before that
moment on, so that it is without DNS at none.
"""

from __future__ import annotations

from dynallow.errors import SetupError
from dynallow.setup import shipped_files as shipped
from dynallow.setup.found import USER, Found
from dynallow.setup.plan import is_packaged
from dynallow.setup.record import Entry, Record
from dynallow.setup.rulers import RESOLV_CONF, reloads, still_names_us, without_ours
from dynallow.setup.steps import Forget, GiveBack, Part, Plan, RemoveTree, RemoveUser, Run, Step
from dynallow.setup.things import File, View

STATE = "/var/lib/dynallow"
_RUNTIME = "/run/dynallow"  # outlives the service
_UNITS = (shipped.SOCKET, shipped.SOCKET_6, shipped.SERVICE, shipped.FIREWALL)


def plan_uninstall(view: View, found: Found, record: Record) -> Plan:
    """All that is left to undo; no steps where nothing was installed.

    Raises SetupError where a resolv.conf that somebody has edited would leave the host without a resolver.
    """
    if not record.exists:
        return Plan(())
    _check_resolv_conf(view, record)
    steps: list[Step] = []
    notes: list[str] = []
    if found.live and shipped.SERVICE in found.active:
        why = "from here on nothing is blocked"
        steps.append(Run((record.program, "mode", "observe"), why, optional=True))
    steps += _back(view, record, "resolver", notes)
    if found.live:
        steps += [
            Run(argv, f"{record.ruler} reads it", True) for argv in reloads(record.ruler, record.entries)
        ]
        steps.append(
            Run(("systemctl", "stop", *_UNITS), "all at once: a question would start the agent again", True)
        )
        if found.has_table or shipped.SERVICE in found.active:
            why = "nothing restricts this host any more"
            # If a table that is there stayed, the host would stay closed, with nobody to hand out anything.
            step = Run(("nft", "delete", "table", "inet", "dynallow"), why, optional=not found.has_table)
            steps.append(step)
    steps += _back(view, record, "service", notes)
    if found.live:
        steps.append(Run(("systemctl", "daemon-reload"), optional=True))
    if is_packaged(view):
        notes.append("the package's units stay enabled: until `apt remove dynallow` they start at each boot")
    if record.made_user and found.has_user:
        steps.append(RemoveUser(USER))
    if record.made_state:
        steps += [RemoveTree(STATE), *([RemoveTree(_RUNTIME)] if found.live else [])]
    return Plan((*steps, Forget()), tuple(notes))


def _back(view: View, record: Record, part: Part, notes: list[str]) -> list[GiveBack]:
    """Last placed, first given back: a directory after what is in it."""
    found = [
        _undo(path, entry, view, notes)
        for path, entry in reversed(record.entries.items())
        if entry.part == part
    ]
    return [step for step in found if step is not None]


def _undo(path: str, entry: Entry, view: View, notes: list[str]) -> GiveBack | None:
    present = view(path)
    judged = entry.judge(present)
    if judged == "before":
        return None
    if judged == "ours":
        return GiveBack(path, entry.before)
    cleaned = without_ours(present) if isinstance(entry.before, File) else present
    if cleaned != present:
        notes.append(f"{path}: edited since the install; its own lines alone are taken out")
        return GiveBack(path, cleaned)
    notes.append(f"{path}: edited since the install, and left as it is")
    return None


def _check_resolv_conf(view: View, record: Record) -> None:
    entry = record.entries.get(RESOLV_CONF)
    present = view(RESOLV_CONF)
    if entry is not None and entry.judge(present) == "edited" and still_names_us(present):
        raise SetupError(
            f"{RESOLV_CONF} was edited since the install, and names dynallow alone: without it the host would"
            " have no resolver",
            "remove the file (what was there before the install comes back), or name other servers in it",
        )
