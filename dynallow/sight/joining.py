"""From what was seen and counted to records: names read, rules and reasons found, counts split.

Runs in a thread beside the loop: it only reads what the other rooms hold, a value at a time. Knows the
resolver's batches, the kernel's tallies, the ledger and the settings; must not know where records go.
Keeps: the records of a call add up to what it was given; what takes longer than a call may is among the
untold, so that a flood costs a bounded share of a core.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from dynallow.sight.why import Flow, Held, Openers
from dynallow.usage.lines import Line
from dynallow.usage.record import Decision, Kind, Mode, Record, Subject, Why, ident
from dynallow.wire import numbers as n
from dynallow.wire import svcb

BUDGET_S: Final = 0.015
"""CPU time that the denied questions of one call may take; there is a call a second."""
_READING: Final = 0.4
"""Of which part may go into reading names; the rest into saying what came of them."""
FLOWS_S: Final = 0.04
"""The same of flows."""
LINES_MAX: Final = 600
ADDRESSES_MAX: Final = 32
_FORGET_S: Final = 60.0
_KINDS: Final[tuple[Kind, Kind]] = ("question", "flow")
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


class Sampled(Protocol):
    """Who somebody is (`sight/who.py`)."""

    @property
    def user(self) -> int | None: ...
    @property
    def process(self) -> str: ...
    @property
    def unit(self) -> str: ...


class Sample(Protocol):
    """Who asked a question or sent a packet; of the other kind's values it has none."""

    @property
    def kind(self) -> Kind: ...
    @property
    def who(self) -> Sampled: ...
    @property
    def name(self) -> Name: ...
    @property
    def qtype(self) -> int: ...
    @property
    def address(self) -> bytes: ...
    @property
    def protocol(self) -> int: ...
    @property
    def port(self) -> int: ...


class Missed(NamedTuple):
    """What was denied and can be told of nobody."""

    questions: int
    packets: int


class Joined(NamedTuple):
    """What came of it."""

    records: list[Record]
    lines: list[Line]
    more: int
    """Lines that there would be beside these."""


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
        self._began = 0.0
        self._forgot = wall()

    def join(
        self,
        batches: Sequence[Batch],
        missed: Missed,
        tallies: Sequence[Counted],
        samples: Iterable[Sample],
        settings: Settings,
    ) -> Joined:
        """All of it. `missed` is in no batch and no tally; the settings' mode is the tallies'."""
        for sample in samples:
            who = Label(sample.who.user, sample.who.process, sample.who.unit)
            if sample.kind == "question":
                self.askers.note((sample.name, sample.qtype), who)
            else:
                self.senders.note(Flow(sample.address, sample.protocol, sample.port, who.user), who)
        wall = self._wall()
        self._began = time.thread_time()
        records: list[Record] = []
        told: list[Line] = []
        more = 0
        for batch in batches:
            records += self.questions(batch, settings.lease.grace)
            answers = [one for one in batch.leased if one[2].outcome is ALLOWED]
            told += [_answer_line(one, wall, mode_of(batch), settings) for one in answers[:LINES_MAX]]
            more += max(len(answers) - LINES_MAX, 0)
        for kind, count in zip(_KINDS, missed, strict=True):
            if count:
                records.append(Record(untold(kind, "denied", settings.mode), count, wall, wall))
        records += self.flows(tallies, settings, settings.mode)
        denied = [record for record in records if record.subject.decision != "allowed" and record.subject.why]
        told += map(line_of, denied[:LINES_MAX])
        more += max(len(denied) - LINES_MAX, 0)
        if wall - self._forgot >= _FORGET_S:
            self._forgot = wall
            self.askers.forget()
            self.senders.forget()
        return Joined(records, told[:LINES_MAX], more + max(len(told) - LINES_MAX, 0))

    # ------------------------------------------------------------ questions

    def questions(self, batch: Batch, grace_s: float) -> list[Record]:
        """What was asked, one record a subject."""
        wall, mode = self._wall(), mode_of(batch)
        for told in (*batch.leased, *batch.told):
            self._learn(told, grace_s)
        records = list(self._allowed(batch.told, mode, wall))
        for filtered in (False, True):
            asked = batch.filtered if filtered else _together(batch.denied, batch.kin)
            found = self._refused(batch, filtered)
            left = found.total() + sum(asked.values())
            self._read(asked, found)
            for number, (question, count) in enumerate(found.items()):
                if number % _LOOK_EVERY == 0 and self._late():
                    break
                left -= count
                records += self._denied(batch, question, count, filtered, wall)
            if left:
                subject = untold("question", "filtered" if filtered else "denied", mode)
                records.append(Record(subject, left, wall, wall))
        return records

    def _read(self, asked: Mapping[bytes, int], found: Counter[Question]) -> None:
        """Put the questions of these packets to those that were found, as far as there is time."""
        for number, (packet, count) in enumerate(asked.items()):
            if number % _LOOK_EVERY == 0 and self._late(_READING):
                break
            found[question_of(packet)] += count

    def _late(self, share: float = 1.0) -> bool:
        return time.thread_time() > self._began + BUDGET_S * share

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
            (name, qtype, rules_text(verdict), bool(verdict.leads))
            for name, qtype, verdict, _ in told
            if verdict.outcome is ALLOWED
        )
        for (name, qtype, rules, derived), count in counts.items():
            how: Why = "derived" if derived else ""
            subject = Subject(
                "question", "allowed", mode, how, to_text(name), type_text(qtype), "", "", rules, None, "", ""
            )
            yield Record(subject, count, wall, wall)

    def _refused(self, batch: Batch, filtered: bool) -> Counter[Question]:
        found: Counter[Question] = Counter(
            (name, qtype)
            for name, qtype, verdict in batch.refused
            if (verdict.outcome is FILTERED) is filtered
        )
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

    def flows(self, tallies: Sequence[Counted], settings: Settings, mode: Mode) -> list[Record]:
        """What was counted in the kernel, one record a subject; first the allowed, then the most denied."""
        wall, ends = self._wall(), time.thread_time() + FLOWS_S
        openers = why.openers_of(settings)
        records: list[Record] = []
        ordered = sorted(tallies, key=lambda tally: (tally.denied, -tally.packets))
        for number, tally in enumerate(ordered):
            if number % _LOOK_EVERY == 0 and time.thread_time() > ends:
                records += _rest(ordered[number:], mode, wall)
                break
            records += self._flow(tally, openers, mode, wall)
        return records

    def _flow(self, tally: Counted, openers: Openers, mode: Mode, wall: float) -> Iterable[Record]:
        flow = Flow(tally.address, tally.protocol, tally.port, tally.uid)
        held = self.held(flow.address)
        if tally.denied:
            reason, rule = why.of_flow(openers, flow, held)
            parts = self.senders.split(flow, tally.packets, Label(tally.uid))
        else:
            reason, rule = "", why.allowing(openers, flow, held)
            parts = {Label(tally.uid): tally.packets}
        for who, part in parts.items():
            subject = Subject(
                "flow",
                _decision(tally),
                mode,
                reason,
                held.name,
                "",
                str(ip_address(flow.address)),
                why.port_text(flow.protocol, flow.port),
                rule,
                tally.uid,
                who.process,
                who.unit,
            )
            yield Record(subject, part, wall, wall)

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


def _together(counts: dict[bytes, int], others: Iterable[bytes]) -> dict[bytes, int]:
    """The counts, with one more for each of the others."""
    for question in others:
        counts[question] = counts.get(question, 0) + 1
    return counts


def _decision(tally: Counted) -> Decision:
    return "denied" if tally.denied else "allowed"


def _rest(tallies: Sequence[Counted], mode: Mode, wall: float) -> Iterable[Record]:
    """Those that there was no time for, their packets at least."""
    packets: Counter[Decision] = Counter()
    for tally in tallies:
        packets[_decision(tally)] += tally.packets
    for decision, count in packets.items():
        yield Record(untold("flow", decision, mode), count, wall, wall)


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


def line_of(record: Record) -> Line:
    """What was denied, as a line of the log."""
    subject = record.subject
    return Line(
        record.last,
        subject.kind,
        subject.decision,
        subject.mode,
        subject.why,
        subject.name,
        subject.qtype,
        (subject.address,) if subject.address else (),
        subject.port,
        subject.rule,
        subject.user,
        subject.process,
        subject.unit,
        record.times,
        None,
        ident(subject),
    )


def _answer_line(told: Told, wall: float, mode: Mode, settings: Settings) -> Line:
    """An answer that came from an upstream, with what was leased for it."""
    name, qtype, verdict, answer = told
    granted = dict.fromkeys(address for _, some in answer.by_rule for address in some)
    return Line(
        wall,
        "answer",
        "allowed",
        mode,
        name=to_text(name),
        qtype=type_text(qtype),
        addresses=tuple([str(ip_address(address)) for address in [*granted][:ADDRESSES_MAX]]),
        rule=rules_text(verdict),
        lease_s=answer.ttl_s + settings.lease.grace if granted else None,
    )
