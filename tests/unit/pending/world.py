"""A host that may die at any step: real files, real settings, and a kernel that is a value.

Invariant: what a process does to a file's name, to a disk or to the kernel are steps; killed at one of them
it does none after it, and what it had done stays.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dynallow.errors import KernelError
from dynallow.pending.clock import Clock
from dynallow.pending.starting import Begun, resume
from dynallow.pending.state import Moment
from dynallow.pending.switch import Switch, in_mode
from dynallow.settings import Loaded, Settings, load

OLD = 'mode = "observe"\n[[rule]]\nname = "old"\nnames = ["old.example.org"]\nnames-from = ["list.txt"]\n'
NEW = 'mode = "enforce"\n[[rule]]\nname = "new"\nnames = ["new.example.org"]\n'
WITHIN_S = 60.0


class KilledError(BaseException):
    """kill -9."""


class Host:
    """Files, a kernel and two clocks; `Agent`s come and go."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.config = directory / "dynallow.toml"
        self.config.write_text(OLD)
        (directory / "list.txt").write_text("one.example.org\n*.two.example.org\nm-*.example.org\n")
        self.boot, self.up, self.wall = "first", 1000.0, 2_000_000_000.0
        self.in_kernel: tuple[str, str] = ("", "")
        """The mode, and the rule that the settings are known by."""
        self.for_boot: tuple[str, str] = ("", "")
        self.refuses = False
        self.left: int | None = None
        """Steps until it is killed."""
        for name in ("replace", "unlink"):
            monkeypatch.setattr(os, name, self._step(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self._step(lambda number: None))  # no power fails here
        monkeypatch.setattr(Clock, "now", lambda clock: Moment(self.boot, self.up, self.wall))

    def _step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.live()
            done = original(*arguments, **named)
            self.live()
            return done

        return step

    def live(self) -> None:
        """One step, if it is not the last."""
        if self.left is not None:
            if self.left == 0:
                raise KilledError
            self.left -= 1

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.up += seconds
        self.wall += seconds

    def start(self) -> Agent:
        """An agent that lives until it is killed."""
        self.left = None
        begun = resume(self.config, {"STATE_DIRECTORY": str(self.state)})
        agent = Agent(self, begun)
        asyncio.run(agent.switch.trials.save())
        return agent

    def dies_at(self, step: int, work: Callable[[], Awaitable[object]]) -> bool:
        """Whether it did, before the work was done."""
        self.left = step
        try:
            asyncio.run(_done(work))
        except KilledError:
            return True
        finally:
            self.left = None
        return False

    @property
    def files(self) -> list[str]:
        """What is left in the state directory."""
        return sorted(path.name.partition("-")[0] for path in self.state.iterdir())


async def _done(work: Callable[[], Awaitable[object]]) -> None:
    await work()


class Agent:
    """The holder of what is in force (`switch.Holder`)."""

    def __init__(self, host: Host, begun: Begun) -> None:
        self.host = host
        self.loaded = begun.loaded
        self.settings = in_mode(begun.loaded.settings, begun.mode or begun.loaded.settings.mode)
        self.applying = asyncio.Lock()
        self.switch = Switch(self, begun.trials, begun.kept)
        host.in_kernel = self._now()
        if not self.switch.tries_settings:
            host.for_boot = self._kept()

    def _now(self) -> tuple[str, str]:
        return self.settings.mode, self.settings.rules[0].name

    def _kept(self) -> tuple[str, str]:
        return self.loaded.settings.mode, self.loaded.settings.rules[0].name

    async def bring(self, loaded: Loaded, settings: Settings) -> None:
        self.host.live()
        if self.host.refuses:
            raise KernelError("nft said no")
        self.loaded, self.settings = loaded, settings
        self.host.in_kernel = self._now()
        self.host.live()

    async def keep(self) -> None:
        self.host.live()
        self.host.for_boot = self._kept()
        self.host.live()

    def summary(self) -> str:
        return " ".join(self._now())

    async def try_mode(self) -> None:
        """`mode enforce --confirm-within 1m`."""
        await self.switch.set_mode("enforce", WITHIN_S)

    async def try_reload(self) -> None:
        """`reload --confirm-within 1m` of the new files."""
        self.host.config.write_text(NEW)
        await self.switch.reload(load(self.host.config), WITHIN_S)

    async def look(self) -> None:
        """What the watch does now and then."""
        await self.switch._take_back_if_due()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """One under OLD, with nothing on trial."""
    return Host(tmp_path, monkeypatch)
