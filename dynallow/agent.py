"""The agent: builds the rooms, connects them, starts and stops them in order.

    control socket bound ─ ports ─ ruleset ─ probe ─ adopt leases ─ listeners ─ control served
    SIGHUP, `reload`     ─ settings ─ ruleset ─ policy ─ revoke what lost its rule
    SIGTERM              ─ listeners closed; chain, sets and leases stay in force

Wiring only: decides nothing that a room could decide. What dies at any line
here leaves the kernel's table as it was, and that table is closed.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dynallow import settings as cfg
from dynallow.control.backend import BadRequestError, UnknownRuleError
from dynallow.control.reports import changes, explanation, families, status, warnings
from dynallow.control.schema import ExplainReport, FlushReport, Mode, ModeReport, ReloadReport, StatusReport
from dynallow.control.server import ControlServer
from dynallow.errors import DynallowError, KernelError
from dynallow.firewall import conntrack
from dynallow.firewall.addresses import HostAddresses
from dynallow.firewall.build import AGENT_MARK, build_ruleset
from dynallow.firewall.kept import Kept
from dynallow.firewall.lock import lock_table
from dynallow.firewall.ruleset import Ruleset
from dynallow.firewall.spared import is_spared
from dynallow.firewall.table import Table
from dynallow.lease.ledger import Ledger, Revocation
from dynallow.notify import Notifier
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.verdict import Outcome
from dynallow.resolver.answer import GRANTING_TYPES
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.inherited import Inherited, inherit
from dynallow.resolver.listen import Listener, open_listeners
from dynallow.resolver.road import Road
from dynallow.resolver.selfcheck import answering
from dynallow.resolver.terms import limits_of, terms_of
from dynallow.resolver.upstream.choose import Chosen, choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.tasks import Tasks
from dynallow.units import PortRange
from dynallow.watchdog import Watchdog

log = logging.getLogger(__name__)

_SWEEP_S = 30.0
_LAST_ANSWERS_S = 0.5


class Agent:
    """One agent; `run` is its life. Implements the control server's Backend."""

    def __init__(
        self,
        loaded: cfg.Loaded,
        attendant: Attendant,
        inherited: Inherited,
        manager: Notifier,
        *,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.since = self.mode_since = datetime.now(UTC)
        self.ready = False
        self._attendant = attendant
        self._inherited = inherited
        self.manager = manager
        self._unserved: list[str] = []
        """Inherited sockets that no setting names."""
        self.kept = Kept()
        self.tasks = Tasks(attendant.attend)
        self._without = without
        self._stop = asyncio.Event()
        self._applying = asyncio.Lock()
        self._hung_up = False
        self.chosen = choose(self.settings)
        self.ledger = Ledger(limits_of(self.settings), [rule.name for rule in self.settings.rules])
        self.table = Table(self.ledger, to_text, self.tasks, self._forget)
        self.own = HostAddresses(self.tasks)
        self.exchange = Exchange(AGENT_MARK, attendant.attend)
        cache = self.settings.resolver
        self.road = Road(
            terms=terms_of(loaded, self.settings),
            leaser=self.table.leaser,
            upstreams=self._upstreams(self.chosen),
            cache=AnswerCache(cache.cache_size, cache.stale),
            hot=HotReplies(cache.cache_size),
            tasks=self.tasks,
            own=self.own,
            earned=lambda address, now: (
                (lease.name, lease.deadline) for _, lease in self.ledger.at(address, now)
            ),
            alert=self.table.look,
        )
        self._listeners: list[Listener] = []

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, stop."""
        control = ControlServer(self, self.settings.control.socket, self.settings.control.metrics)
        control.bind()  # first: a second agent must go away before it has touched anything
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._heed_hang_up)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._start(control)
            await self._stop.wait()
            log.info("stopping; the table stays in force")
            self.manager.stopping()
            for listener in self._listeners:
                listener.rest()  # what comes now waits in the socket, if a service manager holds it
            await self.tasks.settle(_LAST_ANSWERS_S)
        finally:
            for listener in self._listeners:
                listener.close()
            await self.tasks.stop()
            self.road.upstreams.close()
            self.exchange.close()
            self.table.close()
            self.own.close()
            await control.stop()

    async def _start(self, control: ControlServer) -> None:
        await self.own.start()
        # Bound before anything is loaded: who cannot have the ports must not touch the table either.
        listen = self.settings.resolver.listen
        self._listeners = open_listeners(listen, self.road, self._attendant, self._inherited)
        self._unserved = self._inherited.close()
        ruleset = self._ruleset(self.settings, self.chosen)
        left_over = self.table.start(ruleset, self._without)
        adopted = self.table.leaser.adopt([rule.name for rule in self.settings.rules], _name_of)
        self._revoke(self._unjustified, left_over)  # the settings may have changed while no agent ran
        for listener in self._listeners:
            await listener.start()
        self.tasks.start(self._sweep())
        self.tasks.start(self.kept.keep(ruleset))
        self.ready = True
        await control.serve()
        # Settings and policy live as long as the agent: no need to walk them at each collection.
        # Answers are values without cycles; the usual 700 would walk the young ones every few
        # questions, a third of a fresh answer's whole cost.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 1000)
        gc.enable()
        for warning in self.warnings():
            log.warning("%s", warning)
        log.info("ready: %s; %d leases adopted", self._summary(), adopted)
        self.manager.ready(self._summary())
        if self.manager.watchdog_s:
            checks = (self._prove, partial(answering, listen, self.road.counts))
            self.tasks.start(Watchdog(self.manager, self.manager.watchdog_s, checks, self._summary).run())

    async def _prove(self) -> None:
        self.table.prove()

    def _summary(self) -> str:
        """For `systemctl status`."""
        listening = ", ".join(map(str, self.settings.resolver.listen))
        return f"mode {self.settings.mode}, {len(self.settings.rules)} rules, listening on {listening}"

    def _heed_hang_up(self) -> None:
        """Reload, once for all signals that come until the reload begins."""
        if not self._hung_up:
            self._hung_up = True
            self.tasks.start(self._hang_up())

    async def _hang_up(self) -> None:
        async with self._applying:
            self._hung_up = False
        try:
            changed = await self.reload()
            log.info("reloaded: %s", changed)
        except DynallowError as error:
            log.error("not reloaded, the old policy stays:\n%s", error)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for sweep in (self.ledger.sweep, self.road.derived.sweep):
                for _ in sweep(self.road.clock()):
                    await asyncio.sleep(0)

    # ------------------------------------------------------------ what is in force

    def _ruleset(self, settings: cfg.Settings, chosen: Chosen) -> Ruleset:
        return build_ruleset(settings, chosen.ways(), os.geteuid())

    def _upstreams(self, chosen: Chosen) -> Upstreams:
        return chosen.pool(self.exchange, self.settings.resolver.timeout)

    def _apply(self, loaded: cfg.Loaded, settings: cfg.Settings, chosen: Chosen) -> Revocation:
        """Make these settings the ones in force, kernel first.

        Without an `await`, so that no question sees old rules with new sets.
        Raises KernelError from the first step alone; then nothing has changed.
        """
        now = self.road.clock()
        self.table.load(self._ruleset(settings, chosen))
        kept = {rule.name for rule in settings.rules}
        gone = [address for rule, address, _ in self.ledger.leases(now) if rule not in kept]
        self.loaded, self.settings, self.chosen = loaded, settings, chosen
        self.ledger.set_rules([rule.name for rule in settings.rules], limits_of(settings))
        self.road.change(terms_of(loaded, settings))
        self.road.upstreams.close()
        self.road.upstreams = self._upstreams(chosen)
        self.road.cache.size = self.road.hot.size = settings.resolver.cache_size
        self.road.cache.stale_s = settings.resolver.stale
        try:
            return self._revoke(self._unjustified, gone)
        except KernelError as error:
            # The new rules are in force; what they no longer justify lapses by itself, only later.
            log.error("leases could not be revoked, they end with their timeout: %s", error)
            return Revocation((), ())

    def _unjustified(self, rule: str, name: bytes) -> bool:
        """Whether the policy in force does not give `name` to `rule` any more.

        A name that no comment told (too long, or not ours) is left to its timeout.
        """
        if not name:
            return False
        wall = self.road.wall()
        verdicts = (self.loaded.policy.decide(name, qtype, wall) for qtype in GRANTING_TYPES)
        return not any(
            verdict.outcome is Outcome.ALLOWED and any(allowing.name == rule for allowing in verdict.rules)
            for verdict in verdicts
        )

    def _revoke(
        self, unjustified: Callable[[str, bytes], bool], gone: list[bytes] | None = None
    ) -> Revocation:
        """Take leases away; no cached answer outlives that."""
        try:
            return self.table.leaser.revoke(unjustified, gone or [], self._spared)
        finally:
            self._forget()

    def _spared(self, packed: bytes) -> bool:
        return is_spared(packed, self.own, self.chosen.endpoints(), self.settings)

    def _forget(self) -> None:
        self.road.forget()

    def warnings(self) -> list[str]:
        """What an administrator should know about the state the agent is in."""
        servers = bool(self.chosen.servers)
        return warnings.warnings(self.settings, servers, self._unserved, self.kept.why_not, self.table)

    # ------------------------------------------------------------ Backend

    async def status(self, rule: str | None) -> StatusReport:
        """See Backend."""
        self._must_be_ready()
        names = [known.name for known in self.settings.rules if rule in (None, known.name)]
        if rule is not None and not names:
            raise UnknownRuleError(f'no rule is called "{rule}"', "`dynallow status` lists them")
        try:
            held = await asyncio.to_thread(status.read_held, names)
        except KernelError as error:
            return status.status(self, None, names, str(error))
        return status.status(self, held, names)

    async def explain(self, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
        """See Backend."""
        self._must_be_ready()
        explained = explanation.explain(self, subject, port, user)
        return await asyncio.to_thread(explanation.located, self.loaded, explained)

    async def reload(self) -> ReloadReport:
        """See Backend."""
        self._must_be_ready()
        self.manager.reloading()
        try:
            return await self._reload()
        finally:
            self.manager.ready(self._summary())

    async def _reload(self) -> ReloadReport:
        async with self._applying:
            before = self.settings
            loaded = await asyncio.to_thread(cfg.load, self.loaded.files[0])
            settings = loaded.settings
            restart = cfg.needs_restart(before, settings)
            # Sockets that are open stay as they are, and so must the rules that rest on them.
            settings = settings.model_copy(
                update={
                    "resolver": settings.resolver.model_copy(
                        update={"listen": self.settings.resolver.listen}
                    ),
                    "control": self.settings.control,
                }
            )
            revocation = self._apply(loaded, settings, choose(settings))
            if before.mode != settings.mode:
                self.mode_since = datetime.now(UTC)
            self._cut(revocation)
            await self.kept.keep(self._ruleset(settings, self.chosen))  # not what `mode` may switch to
            return changes.changes(before, loaded, restart)

    async def flush(self, rule: str | None, name: str | None) -> FlushReport:
        """See Backend."""
        self._must_be_ready()
        if rule is not None and rule not in {known.name for known in self.settings.rules}:
            raise UnknownRuleError(f'no rule is called "{rule}"', "`dynallow status` lists them")
        try:
            wanted = None if name is None else parse_name(name)
        except ValueError as error:
            raise BadRequestError(f"name: {error}") from error
        async with self._applying:
            named = {
                (holder, address): lease.name
                for holder, address, lease in self.ledger.leases(self.road.clock())
            }
            revocation = self._revoke(
                lambda holder, earner: rule in (None, holder) and wanted in (None, earner)
            )
        count = await asyncio.to_thread(conntrack.cut, revocation.cut + revocation.spared)
        return changes.flushed(revocation, named, count)

    async def set_mode(self, mode: Mode) -> ModeReport:
        """See Backend."""
        self._must_be_ready()
        async with self._applying:
            was = self.settings.mode
            if was != mode:
                settings = self.settings.model_copy(update={"mode": mode})
                self._cut(self._apply(self.loaded, settings, self.chosen))
                self.mode_since = datetime.now(UTC)
                self.manager.status(self._summary())
                log.warning("mode %s, was %s; until the next start or reload", mode, was)
            return {"mode": mode, "was": was}

    def metrics(self) -> bytes:
        """See Backend."""
        return families.metrics(self)

    def _cut(self, revocation: Revocation) -> None:
        if ended := revocation.cut + revocation.spared:
            self.tasks.start(asyncio.to_thread(conntrack.cut, ended))

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise DynallowError("the agent is still starting", "try again in a second")


def _name_of(comment: str) -> bytes:
    """The name in an element's comment; empty when it is none (cut, or written by someone else)."""
    try:
        return b"" if comment.endswith("...") or not comment else parse_name(comment)
    except ValueError:
        return b""


def run(config: Path | None, *, without: frozenset[str] = frozenset()) -> int:
    """`dynallow run`: returns the exit code. Errors of the start are the CLI's to print."""
    inherited, manager = inherit(), Notifier()
    if manager.watchdog_s:
        faulthandler.enable()  # it ends a process that stands still by SIGABRT: where it stood is in the log
    loaded = cfg.load(config)
    for line in cfg.not_in_force(loaded.settings):
        log.warning("%s", line)
    try:
        attendant = Attendant()
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(attendant)) as runner:
            runner.run(_main(loaded, attendant, inherited, manager, without))
    except OSError as error:
        raise DynallowError(f"cannot start: {error}", "`dynallow doctor` looks for the reason") from error
    return 0


async def _main(
    loaded: cfg.Loaded, attendant: Attendant, inherited: Inherited, manager: Notifier, without: frozenset[str]
) -> None:
    # First of all: a second agent must go away before it has touched anything.
    with lock_table():
        await Agent(loaded, attendant, inherited, manager, without=without).run()
