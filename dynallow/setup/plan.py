"""What an install has to do: steps, computed from what stands on the host and from the record.

Pure: looks through a `View`. Keeps: a file that is not ours, or that somebody has edited since it was,
is not written (resolv.conf alone is replaced, and kept); the host depends on the agent only after it
has answered, so that no order of events leaves it without DNS; what is done already is no step.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dynallow.setup import shipped_files as shipped
from dynallow.setup.found import USER, Found
from dynallow.setup.record import Record
from dynallow.setup.rulers import RESOLV_CONF, Takeover, followed, ruler_of, servers_of, takeover
from dynallow.setup.steps import Ask, KeepSessions, MakeUser, Part, Place, Plan, Run, Step
from dynallow.setup.things import Absent, Directory, File, Link, Thing, View

UPSTREAMS = f"{shipped.SETTINGS}/conf.d/00-install.toml"
_LISTEN = ["127.0.0.1:53", "[::1]:53"]
_OPENING = """\
# Written by `dynallow install`: what this host asked before resolv.conf named dynallow. Yours to change
# (`dynallow reload` takes it over): neither install nor uninstall touches it then.
[resolver]"""
_OTHER_LISTS = ("/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator has asked for. No `upstreams`: those that the host uses now."""

    program: str
    version: str
    upstreams: tuple[str, ...] = ()
    take_resolv_conf: bool = True


@dataclass(slots=True)
class _Work:
    """The plan so far."""

    view: View
    found: Found
    record: Record
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)

    def place(self, path: str, thing: Thing, *, part: Part = "service", take: bool = False) -> bool:
        """Add what has `thing` stand at `path`; False where nothing is to be done or may be.

        `take`: it is replaced whosever it is.
        """
        present = self.view(path)
        if present == thing:
            return False
        held = self.record.entries.get(path)
        ours = held is not None and held.judge(present) != "edited"
        if not isinstance(present, Absent) and not ours and not take:
            self.notes.append(f"{path}: not what dynallow brings, and left as it is")
            return False
        self.parents(path, part)
        self.steps.append(Place(path, thing, present, part))
        return True

    def parents(self, path: str, part: Part) -> None:
        for parent in [*reversed(PurePosixPath(path).parents)][1:]:
            if isinstance(self.view(str(parent)), Absent) and str(parent) not in self.made:
                self.made.add(str(parent))
                self.steps.append(Place(str(parent), Directory(), Absent(), part))

    def run(self, argv: Sequence[str], why: str = "", *, optional: bool = False) -> None:
        """Add a command, on a running host."""
        if self.found.live:
            self.steps.append(Run(tuple(argv), why, optional))


def plan_install(view: View, found: Found, wish: Wish, record: Record) -> Plan:
    """All that is missing for dynallow to serve this host."""
    work = _Work(view, found, record)
    upstreams = _upstreams(view, wish, record)
    changed = _settings(work, upstreams, wish)
    packaged = is_packaged(view)
    if not packaged:
        for path, text in shipped.snippets().items():
            work.place(path, File(text))
    if not found.has_user:
        work.steps.append(MakeUser(USER))
    # An install that was cut short may have written a file, and not have had it read.
    again = record.exists and not record.complete
    new_units = _units(work, wish, packaged=packaged) or again
    if new_units:
        work.run(("systemctl", "daemon-reload"))
    _start(work, wish, restart=changed or new_units or (record.exists and record.version != wish.version))
    if wish.take_resolv_conf:
        _take_over(work, upstreams)
    return Plan(tuple(work.steps), tuple(work.notes))


def is_packaged(view: View) -> bool:
    """Whether the units come with a distribution's package."""
    return any(isinstance(view(f"{place}/{shipped.SERVICE}"), File) for place in shipped.PACKAGED_UNITS)


def known_upstreams(view: View, record: Record) -> list[str]:
    """The servers that the host asks without dynallow, in their order."""
    lists = (followed(_before(view, record), view), *map(view, _OTHER_LISTS))
    return next(filter(None, map(servers_of, lists)), [])


def _before(view: View, record: Record) -> Thing:
    """The resolv.conf that is not dynallow's."""
    held = record.entries.get(RESOLV_CONF)
    present = view(RESOLV_CONF)
    return held.before if held is not None and held.judge(present) == "ours" else present


def _upstreams(view: View, wish: Wish, record: Record) -> tuple[str, ...]:
    return wish.upstreams or tuple(known_upstreams(view, record))


def _settings(work: _Work, upstreams: tuple[str, ...], wish: Wish) -> bool:
    """Settings that are there stay; those that come name mode "observe". Whether any are new."""
    named = _named(work.view)
    placed = [work.place(path, File(text)) for path, text in shipped.settings().items()]
    kept = work.view(UPSTREAMS)
    was_removed = isinstance(kept, Absent) and UPSTREAMS in work.record.entries and work.record.complete
    if (isinstance(kept, File) or was_removed) and not wish.upstreams:
        return any(placed)
    lines = [] if named.get("listen", _LISTEN) != _LISTEN or work.found.ipv6 else [f"listen = {_LISTEN[:1]}"]
    if upstreams and (wish.upstreams or named.get("upstreams", ["system"]) == ["system"]):
        lines.append(f"upstreams = {list(upstreams)}")
    text = "\n".join([_OPENING, *lines, ""]).replace("'", '"')
    return (bool(lines) and work.place(UPSTREAMS, File(text.encode()))) or any(placed)


def _named(view: View) -> dict[str, object]:
    """What the main settings file says of the resolver; nothing where it is broken (`check` tells)."""
    file = view(f"{shipped.SETTINGS}/dynallow.toml")
    try:
        document = tomllib.loads(file.content.decode()) if isinstance(file, File) else {}
    except ValueError:
        return {}
    resolver = document.get("resolver")
    return resolver if isinstance(resolver, dict) else {}


def _units(work: _Work, wish: Wish, *, packaged: bool) -> bool:
    texts = shipped.units(wish.program, ipv6=work.found.ipv6)
    home = shipped.UNITS
    placed = []
    if packaged:
        home = next(
            p for p in shipped.PACKAGED_UNITS if isinstance(work.view(f"{p}/{shipped.SERVICE}"), File)
        )
    else:
        placed = [work.place(f"{home}/{name}", File(text)) for name, text in texts.items()]
    for name, text in texts.items():
        for wants in shipped.wanted_by(text.decode()):
            link = f"{shipped.UNITS}/{wants}.wants/{name}"
            if not isinstance(work.view(link), Link):
                placed.append(work.place(link, Link(f"{home}/{name}")))
    return any(placed)


def _start(work: _Work, wish: Wish, *, restart: bool) -> None:
    """Sockets first: who asks from then on is answered when the agent is up."""
    wanted = [
        shipped.FIREWALL,
        shipped.SOCKET,
        *([shipped.SOCKET_6] if work.found.ipv6 else []),
        shipped.SERVICE,
    ]
    missing = [unit for unit in wanted if unit not in work.found.active]
    if restart or missing:
        work.run((wish.program, "check"), "the settings must be sound")
    if work.found.live and not work.record.complete:
        work.steps.append(KeepSessions())
    if missing:
        work.run(
            ("systemctl", "start", *missing), "table, sockets, agent; in mode observe nothing is blocked"
        )
    if restart and shipped.SERVICE in work.found.active:
        work.run(("systemctl", "restart", shipped.SERVICE), "the sockets stay open: no question is lost")


def _take_over(work: _Work, upstreams: tuple[str, ...]) -> None:
    before = _before(work.view, work.record)
    ruler = work.record.ruler or ruler_of(work.view, work.found.active, live=work.found.live)
    change: Takeover = takeover(ruler, work.view, before)
    asked = len(work.steps)
    first = [work.place(each.path, each.thing, part="resolver", take=True) for each in change.first]
    if any(first) or (work.record.ruler and not work.record.complete):
        for argv in change.reload:
            work.run(argv, f"{change.ruler} reads it", optional=argv[0] == "dhcpcd")
    for each in change.last:
        work.place(each.path, each.thing, part="resolver", take=True)
    if len(work.steps) > asked and work.found.live:
        work.steps.insert(asked, Ask(upstreams))
