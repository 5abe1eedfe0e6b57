"""Taking the steps of a plan, all written down before the first is taken.

Knows files, programs and the record. Must not decide anything. Keeps: at every moment the record names
all that may have been changed and what stood there before; a step that fails ends the work, and what was
done stays recorded, so that a second try goes on and an uninstall goes back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dynallow.errors import DynallowError, SetupError
from dynallow.setup.asking import must_answer
from dynallow.setup.record import DIRECTORY, Record, forget, load, make_directory, save
from dynallow.setup.steps import (
    Ask,
    Forget,
    GiveBack,
    KeepSessions,
    MakeUser,
    Place,
    Plan,
    RemoveTree,
    RemoveUser,
    Run,
    Step,
)
from dynallow.setup.things import Absent, Root, put, spare_of

_COMMAND_S = 120.0
_SERVER = "127.0.0.1"


@dataclass(slots=True)
class Performer:
    """Takes steps under `root`. `say` gets a line for each; `moment` is called where a crash would count.

    `keep_sessions` is the firewall's, which this room does not know.
    """

    root: Root
    record: Record
    say: Callable[[str], None] = lambda line: None
    moment: Callable[[], None] = lambda: None
    keep_sessions: Callable[[], int] = lambda: 0
    left: list[str] = field(default_factory=list)

    def install(self, plan: Plan, *, program: str, version: str, ruler: str, made_state: bool) -> None:
        """Take all steps of a plan to install; raises SetupError at the first that fails."""
        with self._alone():
            self.record.complete = False
            self.record.made_state = made_state if not self.record.exists else self.record.made_state
            self.record.program, self.record.version = program, version
            self.record.ruler = self.record.ruler or ruler
            places = [step for step in plan.steps if isinstance(step, Place)]
            for step in places:
                self.record.begin(step)
            self._save()
            self._take(plan.steps)
            for step in places:
                self.record.done(step)
            self.record.complete = True
            self._save()

    def uninstall(self, plan: Plan) -> None:
        """Take all steps of a plan to uninstall."""
        with self._alone():
            if self.record.exists:
                self.record.complete = False
                self._save()
            self._take(plan.steps)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two at once would take each other's work for somebody's edits, and lose each other's record."""
        changed = SetupError(
            "another install or uninstall was at work meanwhile", "give the same command again"
        )
        if not self.record.exists:
            make_directory(self.root)
        try:
            directory = os.open(self.root.at(DIRECTORY), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise changed from None
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if load(self.root) != self.record:
                raise changed
            yield
        except BlockingIOError as error:
            raise SetupError("another install or uninstall is at work", "wait for its end") from error
        finally:
            os.close(directory)

    def _take(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.say(str(step))
            try:
                self._step(step)
            except OSError as error:
                name = error.filename or getattr(step, "path", "")
                raise SetupError(
                    f"{step}: {error.strerror}: {name}", "mend that, and give the same command again"
                ) from error
            self.moment()

    def _step(self, step: Step) -> None:
        match step:
            case Place():
                if self.root.look(step.path) != step.before:
                    raise SetupError(f"{step.path} was changed meanwhile", "give the same command again")
                put(self.root.at(step.path), step.thing)
            case GiveBack():
                self._give_back(step)
            case MakeUser():
                self.record.made_user = True
                self._save()
                self._run(("systemd-sysusers", *self._in_root("--root="), "dynallow.conf"))
            case RemoveUser():
                self._remove_user(step.name)
            case Run():
                self._run(step.argv, optional=step.optional)
            case KeepSessions():
                self._keep()
            case Ask():
                must_answer(_SERVER, step.upstreams)
            case RemoveTree():
                shutil.rmtree(self.root.at(step.path), ignore_errors=True)
            case Forget():
                self.moment()
                forget(self.root)

    def _save(self) -> None:
        save(self.root, self.record)
        self.moment()

    def _give_back(self, step: GiveBack) -> None:
        path = self.root.at(step.path)
        spare_of(path).unlink(missing_ok=True)
        try:
            put(path, step.thing)
        except OSError as error:
            # What others have put into a directory of ours is theirs, and so it stays.
            if error.errno != errno.ENOTEMPTY or not isinstance(step.thing, Absent):
                raise
            self.left.append(f"{step.path}: not empty, and left")

    def _keep(self) -> None:
        """Whoever answers a peer needs none of this; so a kernel that cannot do it is no reason to stop."""
        try:
            self.say(f"       ({self.keep_sessions()} that conntrack had not seen)")
        except DynallowError as error:
            self.say(f"       ({error.message}; going on)")

    def _remove_user(self, name: str) -> None:
        prefix = self._in_root("--prefix")
        self._run(("userdel", *prefix, name), optional=True)
        # userdel leaves the group where it has other members.
        if b"\n" + name.encode() + b":" in self._read("/etc/group"):
            self._run(("groupdel", *prefix, name), optional=True)

    def _read(self, path: str) -> bytes:
        try:
            return b"\n" + self.root.at(path).read_bytes()
        except OSError:
            return b""

    def _in_root(self, option: str) -> tuple[str, ...]:
        if self.root.is_live:
            return ()
        where = str(self.root.directory)
        return (f"{option}{where}",) if option.endswith("=") else (option, where)

    def _run(self, argv: Sequence[str], *, optional: bool = False) -> None:
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            said = (done.stderr or done.stdout).strip()
            failed = f"exit {done.returncode}" if done.returncode else ""
        except FileNotFoundError:
            failed, said = "not installed", ""
        except subprocess.TimeoutExpired:
            failed, said = f"not done within {_COMMAND_S:.0f} s", ""
        if failed and optional:
            self.say(
                f"       ({failed}{': ' if said else ''}{said.splitlines()[-1] if said else ''}; going on)"
            )
        elif failed:
            raise SetupError(f"{' '.join(argv)}: {failed}\n{said}".strip(), _hint(argv))


def _hint(argv: Sequence[str]) -> str:
    again = "give the same command again when that is mended, or `dynallow uninstall`"
    if argv[0] == "systemctl":
        return f"`journalctl -b -u 'dynallow*'` says why; {again}"
    return again
