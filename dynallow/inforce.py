"""What is in force, and how it changes: settings and policy, ruleset, upstreams, leases.

    reload  ─ settings ─ ruleset ─ policy ─ revoke what lost its rule
    on trial ─ `pending/switch.py`
    mode    ─ ruleset, the rest as it is
    flush   ─ revoke

Knows nothing of listeners, signals and the process's life. Kernel first: what the
kernel refuses is not in force. From the ruleset to the revocation there is no
`await`, so no question sees old rules with new sets.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

from dynallow import settings as cfg
from dynallow.checkpoint.checkpoint import Checkpoint
from dynallow.control.backend import BadRequestError, UnknownRuleError
from dynallow.control.reports import changes, policylog, warnings
from dynallow.control.schema import ConfirmReport, FlushReport, Mode, PendingReport, ReloadReport
from dynallow.errors import KernelError
from dynallow.expiries import Expiries
from dynallow.firewall.addresses import HostAddresses
from dynallow.firewall.build import AGENT_MARK, build_ruleset
from dynallow.firewall.denied_log import DeniedLog
from dynallow.firewall.elements import comment
from dynallow.firewall.kept import Kept
from dynallow.firewall.revoker import Revoker
from dynallow.firewall.ruleset import Ruleset
from dynallow.firewall.table import Table
from dynallow.firewall.tallies import Tallies
from dynallow.lease.ledger import Ledger
from dynallow.lease.plan import Revocation
from dynallow.living import Living
from dynallow.pending.starting import Begun
from dynallow.pending.switch import Switch, in_mode
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.verdict import Outcome
from dynallow.resolver.answer import GRANTING_TYPES
from dynallow.resolver.attendant import Attendant
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import limits_of, terms_of
from dynallow.resolver.upstream.choose import Chosen, choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.pool import Upstreams
from dynallow.sight.attributions import Attributions
from dynallow.sight.sight import Sight
from dynallow.tasks import Tasks

log = logging.getLogger(__name__)

_REVOKE_AGAIN_S = 0.5
_REVOKE_TRIES = 600  # for five minutes


class InForce:
    """The rooms, connected, under the settings that hold now. What reports are made from."""

    def __init__(self, begun: Begun, attendant: Attendant, without: frozenset[str] = frozenset()) -> None:
        self.loaded = loaded = begun.loaded
        self.settings = in_mode(loaded.settings, begun.mode or loaded.settings.mode)
        self.switch = Switch(self, begun.trials, begun.kept)
        self.since = self.mode_since = datetime.now(UTC)
        self.policy_log = policylog.PolicyLog()
        self.unserved: list[str] = []
        """Inherited sockets that no setting names."""
        self.kept = Kept()
        self.tasks = Tasks(attendant.attend, attendant.soon)
        self._without = without
        self.applying = asyncio.Lock()
        self.chosen = choose(self.settings)
        self.ledger = Ledger(limits_of(self.settings), [rule.name for rule in self.settings.rules])
        self.table = Table(self.ledger, to_text, self.tasks, self._forget)
        self.own = HostAddresses(self.tasks)
        self.revoker = Revoker(self.table, self.ledger, self.own, time.monotonic, self.tasks)
        self.expiries = Expiries(self._expire)
        self.exchange = Exchange(AGENT_MARK, attendant)
        cache = self.settings.resolver
        self.road = Road(
            terms=terms_of(loaded, self.settings),
            leaser=self.table.leaser,
            upstreams=self._upstreams(),
            cache=AnswerCache(cache.cache_size, cache.stale),
            hot=HotReplies(cache.cache_size),
            tasks=self.tasks,
            own=self.own,
            earned=lambda address, now: (
                (lease.name, lease.deadline) for _, lease in self.ledger.at(address, now)
            ),
            alert=self.table.look,
        )
        self.checkpoint = Checkpoint(
            self.settings.control.socket, self.road, self.ledger, lambda name: comment(to_text(name))
        )
        self.living = Living(self.table, self.ledger, self.road, self.own, self.tasks)
        self.living_counts = self.living.counts
        self.sight = Sight(self.road, self.ledger, lambda: self.settings)
        self.denials = self.sight.totals
        self.attributions = Attributions(self.own)
        self.denied_log = DeniedLog(self.attributions.hear)
        self.sight.sampling = self.attributions
        self.sight.counting = lambda marks: Tallies(marks, begun.trials.boot())

    def start(self) -> int:
        """Load the ruleset and adopt the leases that the kernel holds; how many. Raises KernelError."""
        ruleset = self._ruleset()
        left_over = self.table.start(ruleset, self._without)
        self.checkpoint.read()
        adopted = self.table.leaser.adopt([rule.name for rule in self.settings.rules], self._name_of)
        self.checkpoint.recall_names(self._unjustified)
        self._follow()
        self._revoke(self._unjustified, left_over)  # the settings may have changed while no agent ran
        self.checkpoint.recall(adopted)
        self._end(self.revoker.revoked())  # also what an agent that died half-way had begun to revoke
        self.tasks.keep(self.expiries.watch)
        self.tasks.keep(self.living.watch)
        self.tasks.keep(self.switch.watch)
        if not self.switch.tries_settings:
            self.tasks.start(self.keep())
        self.tasks.keep(self.checkpoint.keep)
        self.tasks.attempt(
            partial(self.sight.changed, "start", self.loaded, self.settings.mode), self.summary()
        )
        self.tasks.keep(self.sight.watch)
        self.tasks.keep(self.attributions.watch)
        self.tasks.keep(self.denied_log.watch)
        return adopted

    async def stop(self) -> None:
        """Let go of everything; table, sets and elements stay."""
        await self.tasks.stop()
        await self.sight.close()
        self.road.upstreams.close()
        self.exchange.close()
        self.table.close()
        self.own.close()
        self.denied_log.close()
        self.attributions.close()

    # ------------------------------------------------------------ changes

    async def reload(self, within_s: float | None = None) -> ReloadReport:
        """Read the settings again and bring them into force; all of them, or none with the error.

        With `within_s` they are on trial for so long. Raises ConflictError while something is already.
        """
        async with self.applying:
            self.switch.must_be_free()
            before = self.settings
            loaded = await asyncio.to_thread(cfg.load, self.loaded.files[0])
            restart = cfg.needs_restart(before, loaded.settings)
            if within_s is not None and "control.socket" in restart:
                raise BadRequestError("control.socket needs a restart, and cannot be on trial")
            await self.switch.reload(loaded, within_s)
            return changes.changes(before, loaded, restart, self.pending())

    async def set_mode(self, mode: Mode, within_s: float | None = None) -> Mode:
        """Switch; until the next start or reload, with `within_s` on trial. Returns the mode that was.

        Raises KernelError, ConflictError.
        """
        async with self.applying:
            was = self.settings.mode
            await self.switch.set_mode(mode, within_s)
            return was

    async def confirm(self, *, keep: bool) -> ConfirmReport:
        """End what is on trial: it stays, or is taken back. Raises ConflictError, KernelError."""
        async with self.applying:
            trial = await (self.switch.confirm() if keep else self.switch.take_back("by hand"))
            return changes.ended(trial, keep, self.settings.mode, self.loaded)

    async def bring(self, loaded: cfg.Loaded, settings: cfg.Settings) -> None:
        """Bring these into force, all or nothing. Raises KernelError. The caller holds `applying`."""
        # Sockets that are open stay as they are, and so must the rules that rest on them.
        resolver = settings.resolver.model_copy(update={"listen": self.settings.resolver.listen})
        settings = settings.model_copy(update={"resolver": resolver, "control": self.settings.control})
        chosen = self.chosen if loaded is self.loaded else choose(settings)
        await self.sight.before_change()  # nobody may stay locked out for its sake
        async with self.checkpoint.withdrawn():
            self._apply(loaded, settings, chosen)

    async def keep(self) -> None:
        """Have the next boot begin with what the settings say, not with what `mode` may switch to."""
        await self.kept.keep(self.table.fitting(self._ruleset(self.loaded.settings.mode)))

    async def flush(self, rule: str | None, name: str | None) -> FlushReport:
        """Revoke the leases of this rule and name, of all where it is None."""
        if rule is not None and rule not in {known.name for known in self.settings.rules}:
            raise UnknownRuleError(f'no rule is called "{rule}"', "`dynallow status` lists them")
        try:
            wanted = None if name is None else parse_name(name)
        except ValueError as error:
            raise BadRequestError(f"name: {error}") from error
        async with self.applying, self.checkpoint.withdrawn():
            named = {
                (holder, address): lease.name
                for holder, address, lease in self.ledger.leases(self.road.clock())
            }
            revocation = self._revoke(
                lambda holder, earner: rule in (None, holder) and wanted in (None, earner)
            )
        cut = await self.revoker.end(revocation.cut)
        return changes.flushed(revocation, named, cut.flows)

    def _apply(self, loaded: cfg.Loaded, settings: cfg.Settings, chosen: Chosen) -> None:
        """Make these settings the ones in force, kernel first.

        Without an `await`, so that no question sees old rules with new sets.
        Raises KernelError from the first step alone; then nothing has changed.
        """
        self.table.leaser.flush()  # what it leases now may be gone in a moment
        kept = {rule.name for rule in settings.rules}
        narrowed = changes.narrowed(self.settings, settings)
        gone = [
            address
            for rule in self.ledger.rules()
            for address in self.ledger.addresses(rule)
            if rule not in kept or rule in narrowed
        ]
        self.table.load(build_ruleset(settings, chosen.ways(), os.geteuid()), gone)
        enforces = settings.mode == "enforce" and self.settings.mode != "enforce"
        if self.settings.mode != settings.mode:
            self.mode_since = datetime.now(UTC)
        before = self.loaded, self.settings
        self.loaded, self.settings, self.chosen = loaded, settings, chosen
        self.ledger.set_rules([rule.name for rule in settings.rules], limits_of(settings))
        self.road.change(terms_of(loaded, settings))
        self.road.upstreams.close()
        self.road.upstreams = self._upstreams()
        self.road.cache.size = self.road.hot.size = settings.resolver.cache_size
        self.road.cache.stale_s = settings.resolver.stale
        self._follow()
        self.tasks.attempt(self._tell, before)
        try:
            revocation = self._revoke(self._unjustified, gone)
        except KernelError as error:
            # The new rules are in force; what they no longer justify lapses by itself, if nothing else helps.
            log.error("leases could not be revoked, it is tried again: %s", error)
            self.tasks.start(self._revoke_later(gone))
            return
        self._end(self.revoker.revoked() if enforces else revocation.cut)

    def _tell(self, before: tuple[cfg.Loaded, cfg.Settings]) -> None:
        """Have it remembered what was before, and that it is no more."""
        loaded, settings = before
        mode = self.settings.mode
        if settings.mode != mode:
            self.sight.changed("mode", self.loaded, mode, f"{mode}, was {settings.mode}")
        if loaded is not self.loaded:
            changed = changes.changes(settings, self.loaded, (), None)
            self.sight.changed("reload", self.loaded, mode, changes.summary(changed))
        self.policy_log.changed(policylog.told(settings, self.settings))

    async def _revoke_later(self, gone: list[bytes]) -> None:
        """By the rules that are in force then, as soon as the kernel takes it."""
        for _ in range(_REVOKE_TRIES):
            await asyncio.sleep(_REVOKE_AGAIN_S)
            try:
                revocation = self._revoke(self._unjustified, gone)
            except KernelError:
                continue
            log.warning("leases are revoked now: %d addresses", len(revocation.cut))
            self._end(revocation.cut)
            return
        log.error("leases could not be revoked in five minutes: they lapse by themselves, or by a reload")

    # ------------------------------------------------------------ what follows from the settings

    def _ruleset(self, mode: Mode | None = None) -> Ruleset:
        settings = in_mode(self.settings, mode or self.settings.mode)
        return build_ruleset(settings, self.chosen.ways(), os.geteuid())

    def _upstreams(self) -> Upstreams:
        return self.chosen.pool(self.exchange, self.settings.resolver.timeout)

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
            revocation = self.revoker.revoke(unjustified, gone or [])
        finally:
            self._forget()
        self.tasks.attempt(partial(self.sight.revoked, revocation.elements), self.settings.mode)
        return revocation

    def _name_of(self, comment: str) -> bytes:
        """The name in an element's comment; empty when it is none (cut, or written by someone else)."""
        try:
            return self.checkpoint.name_of(comment) if comment.endswith("...") else parse_name(comment)
        except ValueError:
            return b""

    def _end(self, addresses: tuple[bytes, ...]) -> None:
        """Have their flows ended, in the background."""
        if addresses:
            self.tasks.start(self.revoker.end(addresses))

    def _expire(self, rules: frozenset[str]) -> None:
        """These have just expired. Raises KernelError; then it is tried again."""
        gone = [address for rule in rules for address in self.ledger.addresses(rule)]
        revocation = self._revoke(lambda rule, name: rule in rules, gone)
        log.warning("expired: %s; addresses taken away: %d", ", ".join(sorted(rules)), len(revocation.cut))
        self._end(revocation.cut)

    def _follow(self) -> None:
        """What goes by the settings from outside the road."""
        self.revoker.follow(self.settings, self.chosen.ways())
        self.living.follow(self.settings)
        self.expiries.follow(self.loaded.policy.rules, self.road.wall())
        self.denied_log.follow(self.settings.firewall.log_group)

    def _forget(self) -> None:
        self.road.forget()

    # ------------------------------------------------------------ words

    def summary(self) -> str:
        """One line, for `systemctl status` and the log."""
        listening = ", ".join(map(str, self.settings.resolver.listen))
        ends = self.switch.trials.text()
        return (
            f"mode {self.settings.mode}{f' ({ends})' if ends else ''}, "
            f"{len(self.settings.rules)} rules, listening on {listening}"
        )

    def pending(self) -> PendingReport | None:
        """What is taken back by itself unless it is confirmed."""
        trial = self.switch.trials.trial
        if trial is None:
            return None
        return changes.pending(
            trial, self.switch.trials.until(), self.switch.trials.left_s(), self.switch.trials.problem
        )

    def samples(self) -> dict[str, int]:
        """How many denied packets and questions were looked at, and what came of it."""
        return asdict(self.denied_log.counts) | asdict(self.attributions.counts)

    def warnings(self) -> list[str]:
        """What an administrator should know about the state the agent is in."""
        servers = bool(self.chosen.servers)
        found = warnings.warnings(self.settings, servers, self.unserved, self.kept.why_not, self.table)
        found += self.switch.trials.warnings()
        return [*found, *filter(None, [self.denied_log.why_not, self.sight.why_not])]
