"""From what was seen and counted to records: names read, rules and reasons found, counts split.

Runs in a thread beside the loop: it only reads what the other rooms hold, a value at a time. Knows the
resolver's batches, the kernel's tallies, the ledger and the settings; must not know where records go.
Keeps: the records of a call add up to what it was given; what takes longer than a call may is among the
untold, so that a flood costs a bounded share of a core.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final, NamedTuple, Protocol

from dynallow.lease.ledger import Ledger
from dynallow.policy.names import Name, to_text
from dynallow.policy.rrtypes import type_text
from dynallow.policy.verdict import ALLOWED, FILTERED, Verdict
from dynallow.resolver.seen import Batch, Told, question_of
from dynallow.settings import Settings
from dynallow.sight import why
from dynallow.sight.known import Known
from dynallow.sight.shares import Shares
from dynallow.sight.unwritten import untold
from dynallow.sight.why import Flow, Held
from dynallow.usage.record import Mode, Record, Subject
from dynallow.wire import numbers as n
from dynallow.wire import svcb

BUDGET_S: Final = 0.03
"""CPU time that the questions of one call may take."""
_LOOK_EVERY: Final = 64


class Counted(Protocol):
    """What the kernel has counted since it was read last, of one address, protocol, port and user."""

    @property
    def denied(self) -> bool: ...
    @property
    def address(self) -> bytes: ...
    @property
    def protocol(self) -> int: ...
    @property
    def port(self) -> int: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def packets(self) -> int: ...


class Label(NamedTuple):
    """Who it was, as far as that is known: user, process, unit."""

    user: int | None = None
    process: str = ""
    unit: str = ""


Question = tuple[Name, int]
_NOBODY = Label()


class Joining:
    """One agent's; `shares` are told whom the samples name."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.known = Known()
        self.askers: Shares[Question, Label] = Shares()
        self.senders: Shares[Flow, Label] = Shares()
        self._ledger = ledger
        self._clock = clock
        self._wall = wall

    # ------------------------------------------------------------ questions

    def questions(self, batch: Batch, grace_s: float) -> list[Record]:
        """What was asked, one record a subject."""
        wall, mode = self._wall(), mode_of(batch)
        for told in (*batch.leased, *batch.told):
            self._learn(told, grace_s)
        records = list(self._allowed(batch.told, mode, wall))
        ends = time.thread_time() + BUDGET_S
        for filtered, found in (
            (False, self._refused(batch, False)),
            (True, self._refused(batch, True)),
        ):
            left = sum(found.values())
            for number, ((name, qtype), count) in enumerate(found.items()):
                if number % _LOOK_EVERY == 0 and time.thread_time() > ends:
                    break
                left -= count
                records += self._denied(batch, (name, qtype), count, filtered, wall)
            if left:
                subject = untold("question", "filtered" if filtered else "denied", mode)
                records.append(Record(subject, left, wall, wall))
        return records

    def _learn(self, told: Told, grace_s: float) -> None:
        name, qtype, verdict, answer = told
        if verdict.outcome is ALLOWED:
            for rule, addresses in answer.by_rule:
                for address in addresses:
                    self.known.note(address, name, (rule.name,), answer.ends + grace_s)
        else:
            for address in addresses_of(answer.records, qtype):
                self.known.note(address, name, (), answer.ends + grace_s)

    def _allowed(self, told: Iterable[Told], mode: Mode, wall: float) -> Iterable[Record]:
        counts = Counter(
            (name, qtype, rules_text(verdict))
            for name, qtype, verdict, _ in told
            if verdict.outcome is ALLOWED
        )
        for (name, qtype, rules), count in counts.items():
            subject = Subject(
                "question", "allowed", mode, "", to_text(name), type_text(qtype), "", "", rules, None, "", ""
            )
            yield Record(subject, count, wall, wall)

    def _refused(self, batch: Batch, filtered: bool) -> Counter[Question]:
        found: Counter[Question] = Counter(
            (name, qtype)
            for name, qtype, verdict in batch.refused
            if (verdict.outcome is FILTERED) is filtered
        )
        for asked, count in Counter(batch.filtered if filtered else batch.denied).items():
            found[question_of(asked)] += count
        return found

    def _denied(
        self, batch: Batch, question: Question, count: int, filtered: bool, wall: float
    ) -> Iterable[Record]:
        name, qtype = question
        reason, rule = why.of_question(batch.terms.policy, name, qtype, filtered, wall)
        for who, part in self.askers.split(question, count, _NOBODY).items():
            subject = Subject(
                "question",
                "filtered" if filtered else "denied",
                mode_of(batch),
                reason,
                to_text(name),
                type_text(qtype),
                "",
                "",
                rule,
                who.user,
                who.process,
                who.unit,
            )
            yield Record(subject, part, wall, wall)

    # ------------------------------------------------------------ flows

    def flows(self, tallies: Iterable[Counted], settings: Settings, mode: Mode) -> list[Record]:
        """What was counted in the kernel, one record a subject."""
        wall = self._wall()
        records = []
        for tally in tallies:
            flow = Flow(tally.address, tally.protocol, tally.port, tally.uid)
            held = self.held(flow.address)
            if tally.denied:
                reason, rule = why.of_flow(settings, flow, held)
                parts = self.senders.split(flow, tally.packets, Label(tally.uid))
            else:
                reason, rule = "", why.allowing(settings, flow, held)
                parts = {Label(tally.uid): tally.packets}
            make = partial(
                Subject,
                "flow",
                "denied" if tally.denied else "allowed",
                mode,
                reason,
                held.name,
                "",
                str(ip_address(flow.address)),
                why.port_text(flow.protocol, flow.port),
                rule,
                tally.uid,
            )
            for who, part in parts.items():
                records.append(Record(make(who.process, who.unit), part, wall, wall))
        return records

    def held(self, address: bytes) -> Held:
        """What is known of the address."""
        now = self._clock()
        live = self._ledger.at(address, now)
        given = self.known.at(address, now)
        name = given.name if given is not None else next((lease.name for _, lease in live if lease.name), b"")
        rules = given.rules if given is not None else ()
        holders = [rule for rule, _ in live]
        return Held(
            holders,
            [rule for rule in rules if rule not in holders],
            to_text(name) if name else "",
            given is not None and not rules,
        )


def mode_of(batch: Batch) -> Mode:
    """The mode that held for it."""
    return "observe" if batch.terms.observe else "enforce"


def rules_text(verdict: Verdict) -> str:
    """The rules that allow it, joined."""
    return ",".join([rule.name for rule in verdict.rules])


def addresses_of(records: Sequence[tuple[Name, int, int, bytes]], qtype: int) -> list[bytes]:
    """The addresses that an answer to a question of this type tells."""
    if qtype in (n.A, n.AAAA):
        return [record[3] for record in records if record[1] == qtype]
    if qtype in (n.HTTPS, n.SVCB):
        return [hint for record in records if record[1] == qtype for hint in svcb.hints(record[3])]
    return []
