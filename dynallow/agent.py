"""The agent: starts and stops what is in force, its listeners and its control socket, in order.

    control socket bound ─ ports ─ ruleset ─ probe ─ adopt leases ─ listeners ─ control served
    SIGHUP, `reload`     ─ `inforce.py`
    SIGTERM              ─ listeners closed; chain, sets and leases stay in force

Order only: decides nothing that a room could decide. What dies at any line
here leaves the kernel's table as it was, and that table is closed.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dynallow import hugepages
from dynallow import settings as cfg
from dynallow.control.backend import Following, UnknownRuleError
from dynallow.control.historyschema import By, DeniedReport, HistoryReport, LogReport, TimelineReport
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.reports import explanation, families, readiness, status
from dynallow.control.reports.outlook import Outlook
from dynallow.control.schema import (
    ConfirmReport,
    ExplainReport,
    FlushReport,
    Mode,
    ModeReport,
    ReadyReport,
    ReloadReport,
    StatusReport,
)
from dynallow.control.server import ControlServer
from dynallow.errors import DynallowError, KernelError
from dynallow.firewall.lock import lock_table
from dynallow.hindsight import Hindsight
from dynallow.inforce import InForce
from dynallow.notify import Notifier
from dynallow.pending.starting import Begun, resume
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.inherited import Inherited, inherit
from dynallow.resolver.listen import Listener, open_listeners
from dynallow.resolver.selfcheck import answering
from dynallow.resolver.shortage import Shortage
from dynallow.units import PortRange
from dynallow.watchdog import Watchdog

log = logging.getLogger(__name__)

_SWEEP_S = 30.0
_LAST_ANSWERS_S = 4.0
"""No question waits longer for its answer (`upstream/pool.py`), and mostly none waits at all."""
_LAST_WORDS_S = 0.5
"""For what a client has half sent, or may be about to send on a connection that it has just made."""
_LOOK_S = 0.005
_READINESS_S = 7 * 86400.0
"""As far as `dynallow mode enforce` looks back."""


class Agent:
    """One agent; `run` is its life. Implements the control server's Backend."""

    def __init__(
        self,
        begun: Begun,
        attendant: Attendant,
        inherited: Inherited,
        manager: Notifier,
        *,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.inforce = InForce(begun, attendant, without)
        self._outlook = Outlook(self.inforce.tasks, self.inforce.road.clock)
        self._hindsight = Hindsight(self.inforce.sight, lambda: self.inforce.settings.mode)
        self.ready = False
        self.manager = manager
        self.inforce.switch.on_end = self._tell_manager
        self._attendant = attendant
        self._inherited = inherited
        self._stop = asyncio.Event()
        self._hung_up = False
        self._listeners: list[Listener] = []

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop."""
        control = self.inforce.settings.control
        server = ControlServer(self, control.socket, control.metrics)
        server.bind()  # first: a second agent must go away before it has touched anything
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Shortage(self.inforce.road.counts))
        loop.add_signal_handler(signal.SIGHUP, self._heed_hang_up)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._start(server)
            await self._stop.wait()
            log.info("stopping; the table stays in force")
            self.manager.stopping()
            for listener in self._listeners:
                listener.rest()  # what comes now waits in the socket, if a service manager holds it
            await self._answer_the_last()
            await self.inforce.checkpoint.save()
        finally:
            for listener in self._listeners:
                listener.close()
            await self.inforce.stop()
            await server.stop()

    async def _start(self, server: ControlServer) -> None:
        inforce = self.inforce
        await inforce.own.start()
        # Bound before anything is loaded: who cannot have the ports must not touch the table either.
        listen = inforce.settings.resolver.listen
        self._listeners = open_listeners(
            listen, inforce.road, self._attendant, self._inherited, inforce.attributions
        )
        inforce.unserved = self._inherited.close()
        adopted = inforce.start()
        for listener in self._listeners:
            await listener.start()
        inforce.tasks.keep(self._sweep)
        self.ready = True
        await server.serve()
        # Settings and policy live as long as the agent: no need to walk them at each collection, nor to
        # look first for the little of them that is garbage (a fifteenth of the whole start).
        # Answers are values without cycles; the usual 700 would walk the young ones every few
        # questions, a third of a fresh answer's whole cost.
        gc.freeze()
        gc.set_threshold(10_000, 20, 1000)
        gc.enable()
        for warning in inforce.warnings():
            log.warning("%s", warning)
        log.info("ready: %s; %d leases adopted", inforce.summary(), adopted)
        self.manager.ready(inforce.summary())
        inforce.tasks.start(asyncio.to_thread(hugepages.collapse))
        if self.manager.watchdog_s:
            checks = (self._prove, partial(answering, listen, inforce.road.counts))
            watchdog = Watchdog(self.manager, self.manager.watchdog_s, checks, inforce.summary)
            inforce.tasks.start(watchdog.run())

    async def _answer_the_last(self) -> None:
        """Return when every question that was taken is answered; at latest when none can be any more."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (spent_s := loop.time() - began) < _LAST_ANSWERS_S:
            await asyncio.sleep(_LOOK_S)  # also for connections that were accepted and are not made yet
            busy = [listener.busy(spent_s < _LAST_WORDS_S) for listener in self._listeners]
            if not any(busy) and not self.inforce.road.waiting:
                break

    async def _prove(self) -> None:
        self.inforce.table.prove()

    def _heed_hang_up(self) -> None:
        """Reload, once for all signals that come until the reload begins."""
        if not self._hung_up:
            self._hung_up = True
            self.inforce.tasks.start(self._hang_up())

    async def _hang_up(self) -> None:
        async with self.inforce.applying:
            self._hung_up = False
        try:
            changed = await self.reload()
            log.info("reloaded: %s", changed)
        except DynallowError as error:
            log.error("not reloaded, the old policy stays:\n%s", error)

    async def _sweep(self) -> None:
        road = self.inforce.road
        while True:
            await asyncio.sleep(_SWEEP_S)
            for sweep in (self.inforce.ledger.sweep, road.derived.sweep):
                for _ in sweep(road.clock()):
                    await asyncio.sleep(0)
            await self.inforce.kept.again()
            await self.inforce.switch.trials.again()

    # ------------------------------------------------------------ Backend

    async def status(self, rule: str | None) -> StatusReport:
        """See Backend."""
        self._must_be_ready()
        names = [known.name for known in self.inforce.settings.rules if rule in (None, known.name)]
        if rule is not None and not names:
            raise UnknownRuleError(f'no rule is called "{rule}"', "`dynallow status` lists them")
        sight, now = self.inforce.sight, self.inforce.road.wall()
        beside = status.Beside(
            await asyncio.to_thread(status.read_denials, sight, now), await self._readiness_by_now()
        )
        try:
            held = await asyncio.to_thread(status.read_held, names)
        except KernelError as error:
            return status.status(self.inforce, None, names, str(error), beside)
        return status.status(self.inforce, held, names, None, beside)

    async def explain(self, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
        """See Backend."""
        self._must_be_ready()
        return await explanation.explain(self.inforce, subject, port, user, self.inforce.sight)

    async def reload(self, within_s: float | None = None) -> ReloadReport:
        """See Backend."""
        self._must_be_ready()
        self.manager.reloading()
        try:
            with self.inforce.policy_log.reload():
                return await self.inforce.reload(within_s)
        finally:
            self.manager.ready(self.inforce.summary())

    async def flush(self, rule: str | None, name: str | None) -> FlushReport:
        """See Backend."""
        self._must_be_ready()
        return await self.inforce.flush(rule, name)

    async def set_mode(self, mode: Mode, within_s: float | None = None) -> ModeReport:
        """See Backend."""
        self._must_be_ready()
        was = await self.inforce.set_mode(mode, within_s)
        self._tell_manager()
        return {"mode": mode, "was": was, "pending": self.inforce.pending()}

    async def confirm(self, *, keep: bool) -> ConfirmReport:
        """See Backend."""
        self._must_be_ready()
        try:
            return await self.inforce.confirm(keep=keep)
        finally:
            self._tell_manager()

    def _tell_manager(self) -> None:
        self.manager.status(self.inforce.summary())

    async def readiness(self, since_s: float) -> ReadinessReport:
        """See Backend."""
        self._must_be_ready()
        await self.inforce.sight.settle()
        return await asyncio.to_thread(self._work_readiness_out(since_s))

    def _work_readiness_out(self, since_s: float) -> Callable[[], ReadinessReport]:
        inforce, now = self.inforce, self.inforce.road.wall()
        return partial(
            readiness.report,
            inforce.sight,
            inforce.loaded,
            inforce.settings.mode,
            inforce.mode_since.timestamp(),
            now - since_s,
            now,
        )

    async def _readiness_by_now(self) -> ReadyReport | None:
        if self.inforce.settings.mode != "observe":
            return None
        return await self._outlook.look(self.inforce.loaded, self._work_readiness_out(_READINESS_S))

    async def history(self, since_s: float, kind: str | None, decision: str | None) -> HistoryReport:
        """See Backend."""
        self._must_be_ready()
        return await self._hindsight.history(since_s, kind, decision)

    async def timeline(self, since_s: float, step_s: int) -> TimelineReport:
        """See Backend."""
        self._must_be_ready()
        return await self._hindsight.timeline(since_s, step_s)

    async def denied(self, since_s: float, by: By | None, limit: int) -> DeniedReport:
        """See Backend."""
        self._must_be_ready()
        return await self._hindsight.denied(since_s, by, limit)

    async def log(self, since_s: float) -> LogReport:
        """See Backend."""
        self._must_be_ready()
        return await self._hindsight.log(since_s)

    def follow(self) -> Following:
        """See Backend."""
        self._must_be_ready()
        return self._hindsight.follow()

    def metrics(self) -> bytes:
        """See Backend."""
        return families.metrics(self.inforce)

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise DynallowError("the agent is still starting", "try again in a second")


def run(config: Path | None, *, without: frozenset[str] = frozenset()) -> int:
    """`dynallow run`: returns the exit code. Errors of the start are the CLI's to print."""
    inherited, manager = inherit(), Notifier()
    if manager.watchdog_s:
        faulthandler.enable()  # it ends a process that stands still by SIGABRT: where it stood is in the log
    begun = resume(config)
    for line in cfg.not_in_force(begun.loaded.settings):
        log.warning("%s", line)
    try:
        attendant = Attendant()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(attendant)) as runner:
            runner.run(_main(begun, attendant, inherited, manager, without))
    except OSError as error:
        raise DynallowError(f"cannot start: {error}", "`dynallow doctor` looks for the reason") from error
    return 0


async def _main(
    begun: Begun, attendant: Attendant, inherited: Inherited, manager: Notifier, without: frozenset[str]
) -> None:
    # First of all: a second agent must go away before it has touched anything.
    with lock_table():
        await Agent(begun, attendant, inherited, manager, without=without).run()
