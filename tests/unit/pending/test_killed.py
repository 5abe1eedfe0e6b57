"""kill -9 at each step of a trial: then it is on trial still, or as it was, or confirmed; never half."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from dynallow.errors import KernelError
from dynallow.pending.starting import for_boot
from dynallow.pending.switch import ConflictError
from dynallow.policy import parse_name
from dynallow.policy.rrtypes import A
from dynallow.policy.verdict import Outcome
from dynallow.settings import load
from tests.unit.pending.world import NEW, OLD, WITHIN_S, Agent, Host, host

__all__ = ["host"]  # the fixture
OLD_IN_FORCE, NEW_IN_FORCE = ("observe", "old"), ("enforce", "new")
STEPS_MAX = 60
Do = Callable[[Agent], Awaitable[object]]


def each_step(host: Host, before: Do | None, do: Do) -> Iterator[Agent]:
    """Killed at the first step, the second, … each on a host where nothing was on trial before."""
    for step in count():
        assert step < STEPS_MAX
        host.config.write_text(OLD)
        for path in host.state.iterdir():
            path.unlink()
        agent = host.start()
        if before is not None:
            asyncio.run(_run(before, agent))
        if not host.dies_at(step, lambda agent=agent: do(agent)):  # type: ignore[misc]
            assert step > 3  # there were some
            return
        yield agent


async def _run(do: Do, agent: Agent) -> None:
    await do(agent)


def test_killed_while_a_mode_trial_begins_is_on_trial_or_as_it_was(host: Host) -> None:
    for _ in each_step(host, None, Agent.try_mode):
        switched = host.in_kernel == ("enforce", "old")
        again = host.start()
        on_trial = again.switch.trials.trial is not None
        assert on_trial or not switched  # in force only while it is known to be on trial
        assert host.in_kernel == ("enforce" if on_trial else "observe", "old")
        assert host.for_boot == OLD_IN_FORCE
        host.later(WITHIN_S + 1)
        asyncio.run(again.look())
        assert host.in_kernel == OLD_IN_FORCE
        assert host.files == []


def test_killed_while_a_mode_trial_begins_and_started_after_its_end_is_as_it_was(host: Host) -> None:
    for _ in each_step(host, None, Agent.try_mode):
        host.later(WITHIN_S + 1)
        host.start()
        assert host.in_kernel == OLD_IN_FORCE
        assert host.files == []


def test_killed_while_a_reload_trial_begins_never_loses_the_settings_before(host: Host) -> None:
    for _ in each_step(host, None, Agent.try_reload):
        switched = host.in_kernel == NEW_IN_FORCE
        again = host.start()
        on_trial = again.switch.trials.trial is not None
        assert on_trial or not switched
        if not on_trial:
            continue  # nothing of the trial is known: the files are what any start reads
        assert host.in_kernel == NEW_IN_FORCE
        assert host.for_boot == OLD_IN_FORCE  # nobody could take it back before an agent is there
        assert for_boot(host.config, host.state).settings.rules[0].name == "old"
        host.later(WITHIN_S + 1)
        asyncio.run(again.look())
        assert host.in_kernel == host.for_boot == OLD_IN_FORCE
        host.start()
        assert host.in_kernel == OLD_IN_FORCE  # the files say NEW, and nobody has confirmed it


@pytest.mark.parametrize("begin", [Agent.try_mode, Agent.try_reload], ids=["mode", "reload"])
def test_killed_while_it_is_confirmed_is_confirmed_or_on_trial(host: Host, begin: Do) -> None:
    for _ in each_step(host, begin, lambda agent: agent.switch.confirm()):
        again = host.start()
        if again.switch.trials.trial is None:
            assert host.files == []
            # A mode lasts until the next start, as it always does; a reload is what the files say.
            assert host.in_kernel == (OLD_IN_FORCE if begin is Agent.try_mode else NEW_IN_FORCE)
            assert host.for_boot == host.in_kernel
        else:
            assert host.in_kernel[0] == "enforce"
            asyncio.run(_run(lambda agent: agent.switch.confirm(), again))
            assert host.in_kernel[0] == "enforce"


@pytest.mark.parametrize("begin", [Agent.try_mode, Agent.try_reload], ids=["mode", "reload"])
@pytest.mark.parametrize("waits", [True, False], ids=["deadline", "by-hand"])
def test_killed_while_it_is_taken_back_is_taken_back(host: Host, begin: Do, waits: bool) -> None:
    async def end(agent: Agent) -> None:
        if waits:
            host.later(WITHIN_S)
            await agent.look()
        else:
            await agent.switch.take_back("by hand")

    for _ in each_step(host, begin, end):
        host.later(WITHIN_S)
        host.start()
        assert host.in_kernel == host.for_boot == OLD_IN_FORCE
        assert host.start().switch.trials.trial is None
        assert host.in_kernel == OLD_IN_FORCE


def test_settings_that_come_back_after_a_restart_allow_what_the_old_ones_did(host: Host) -> None:
    asyncio.run(host.start().try_reload())
    (host.config.parent / "list.txt").unlink()
    host.later(WITHIN_S)
    policy = host.start().loaded.policy
    for name in ("old.example.org", "one.example.org", "a.two.example.org", "m-7.example.org"):
        assert policy.decide(parse_name(name), A, 0.0).outcome is Outcome.ALLOWED, name
    for name in ("new.example.org", "two.example.org", "m.example.org"):
        assert policy.decide(parse_name(name), A, 0.0).outcome is Outcome.DENIED, name


def test_held_settings_stay_until_the_files_change_or_a_reload_says_so(host: Host) -> None:
    asyncio.run(host.start().try_reload())
    host.later(WITHIN_S)
    agent = host.start()
    assert host.in_kernel == OLD_IN_FORCE
    assert "taken back" in " ".join(agent.switch.trials.warnings())
    host.config.write_text(NEW.replace('"new"', '"newer"'))
    host.start()
    assert host.in_kernel == ("enforce", "newer")
    assert host.files == []


def test_reload_that_is_given_ends_what_is_held(host: Host) -> None:
    asyncio.run(host.start().try_reload())
    host.later(WITHIN_S)
    agent = host.start()

    async def reload() -> None:
        from dynallow.settings import load

        await agent.switch.reload(load(host.config), None)

    asyncio.run(reload())
    assert host.in_kernel == host.for_boot == NEW_IN_FORCE
    assert host.files == []


def test_files_that_break_while_on_trial_bring_the_settings_before_back(host: Host) -> None:
    asyncio.run(host.start().try_reload())
    host.config.write_text("mode = 3\n")
    host.start()
    assert host.in_kernel == OLD_IN_FORCE
    host.config.write_text(NEW.replace('"new"', '"mended"'))
    host.start()
    assert host.in_kernel == ("enforce", "mended")


def test_kernel_that_refuses_begins_no_trial(host: Host) -> None:
    agent = host.start()
    host.refuses = True
    for begin in (Agent.try_mode, Agent.try_reload):
        with pytest.raises(KernelError):
            asyncio.run(_run(begin, agent))
        assert agent.switch.trials.trial is None
        assert host.files == []
        assert host.in_kernel == OLD_IN_FORCE


@pytest.mark.parametrize("begin", [Agent.try_mode, Agent.try_reload], ids=["mode", "reload"])
def test_kernel_that_refuses_to_take_back_is_asked_again_and_told_of(host: Host, begin: Do) -> None:
    agent = host.start()
    asyncio.run(_run(begin, agent))
    host.later(WITHIN_S)
    host.refuses = True
    for _ in range(3):
        asyncio.run(agent.look())
        assert host.in_kernel[0] == "enforce"  # whole: the old rules or the new ones
        assert "nft said no" in " ".join(agent.switch.trials.warnings())
    host.refuses = False
    asyncio.run(agent.look())
    assert host.in_kernel == OLD_IN_FORCE
    assert not any("nft" in warning for warning in agent.switch.trials.warnings())


def test_second_change_while_one_is_on_trial_is_refused_but_for_its_end(host: Host) -> None:
    agent = host.start()

    async def changes() -> None:
        await agent.try_mode()
        for work in (agent.try_mode, agent.try_reload, lambda: agent.switch.set_mode("enforce", None)):
            with pytest.raises(ConflictError):
                await work()
            assert host.in_kernel == ("enforce", "old")
        host.config.write_text(OLD)
        await agent.switch.set_mode("observe", None)

    asyncio.run(changes())
    assert host.in_kernel == OLD_IN_FORCE
    assert host.files == []


def test_observe_said_by_hand_while_a_reload_is_on_trial_outlives_its_end(host: Host) -> None:
    host.config.write_text(OLD.replace("observe", "enforce"))
    agent = host.start()

    async def changes() -> None:
        await agent.try_reload()
        await agent.switch.set_mode("observe", None)
        await agent.switch.take_back("by hand")

    asyncio.run(changes())
    assert host.in_kernel == ("observe", "old")


def test_disk_that_takes_nothing_begins_no_trial(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = host.start()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for begin in (Agent.try_mode, Agent.try_reload):
        with pytest.raises(Exception, match="No space left"):
            asyncio.run(_run(begin, agent))
        assert host.in_kernel == OLD_IN_FORCE
        assert agent.switch.trials.trial is None


@pytest.mark.parametrize("mended_by", ["reload", "again"])
def test_trial_that_the_disk_kept_against_our_will_is_taken_off_it_as_soon_as_it_can_be(
    host: Host, monkeypatch: pytest.MonkeyPatch, mended_by: str
) -> None:
    agent = host.start()
    host.refuses = True

    unlink = os.unlink

    def read_only(path: Path, **_: object) -> None:
        if path.name == "pending.json":
            raise OSError(30, "Read-only file system")
        unlink(path)

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", read_only)
        with pytest.raises(KernelError):
            asyncio.run(agent.try_reload())
    assert "pending.json" in host.files
    host.refuses = False
    if mended_by == "again":
        asyncio.run(agent.switch.trials.again())
    asyncio.run(agent.switch.reload(load(host.config), None))
    host.later(WITHIN_S)
    host.start()
    assert host.in_kernel == NEW_IN_FORCE  # long in force, and on nobody's trial
    assert host.files == []
