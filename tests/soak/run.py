"""One soak: load, faults, looks, and what came of it.

    client (invariants 1, 2) ── the agent ── upstream
    watch  (3; memory, descriptors)   ▲
    forbidden traffic and sniffer (4) │ a fault every few seconds, drawn by the seed

In the second half the process is not ended any more: what grows is seen then. What a fault takes away by
somebody's will (`flush`, a reload, another's hand on the table) is no violation while it is done.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.lab.agent import OPENED_LATER, SHARED
from tests.lab.faulty import FaultyAgent, faulty_agent
from tests.lab.lab import Lab
from tests.lab.sniffer import Sniffer
from tests.lab.waiting import LabError
from tests.netns import traffic
from tests.netns.asking import Client
from tests.soak.faults import FAULTS, Bed
from tests.soak.names import EXTRA, SETTINGS
from tests.soak.upstream import upstream
from tests.soak.watch import Sample, Watch, sample_of, slope_kib_per_minute

_PAUSE_S, _SHORT_PAUSE_S = (1.0, 4.0), (0.1, 0.5)
_RECOVERED_WITHIN_S = 60.0  # for machines whose processors others have taken; the report says how long it was
_AROUND_S = 0.3  # what somebody took away is missing from before he says so until after it is back
_CAPTURE_S = 20.0
_SHORT_AT_MOST_S = 120.0  # on a machine that others have taken, there may be no time for every kind
_SETTLED_WITHIN_S = 30.0


class Struck(NamedTuple):
    """One fault: what, from when to when, and when a new name was answered again (monotonic seconds)."""

    kind: str
    begun: float
    over: float
    works: float | None


@dataclass
class Report:
    """What was seen; `violations` is what must be empty."""

    seed: int
    took_s: float = 0.0
    struck: list[Struck] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    client: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    before: Sample | None = None
    after: Sample | None = None
    leases_looked_at: int = 0
    forbidden_tries: int = 0
    forbidden_out: int = 0
    forbidden_while_taken: int = 0
    forbidden_since: int = 0
    probes: int = 0
    excused: int = 0
    tracebacks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    log: str = ""
    violations: list[str] = field(default_factory=list)
    unwell: list[str] = field(default_factory=list)
    """Faults after which no new name was answered for long: a promise of time, and no invariant."""

    def text(self, warm_up_s: float) -> str:
        """For people."""
        kinds = Counter(one.kind for one in self.struck)
        slowest: dict[str, float] = {}
        for one in self.struck:
            took = (one.works or float("inf")) - one.over
            slowest[one.kind] = max(slowest.get(one.kind, 0.0), took)
        asked = self.client.get("asked", 0)
        lines = [
            f"seed {self.seed}, {self.took_s:.0f} s, {asked} questions, "
            f"{asked / max(self.took_s, 1):.0f} a second",
            f"{len(self.struck)} faults; of each kind, and the longest until a new name was answered again: "
            + ", ".join(f"{kind} {count} ({slowest[kind]:.2f} s)" for kind, count in sorted(kinds.items())),
            f"injected between agent and kernel: {dict(self.injected)}",
            f"outcomes: {self.client.get('outcomes')}",
            f"slowest answer {self.client.get('slowest_s', 0):.2f} s, "
            f"longest silence {self.client.get('longest_silence_s', 0):.2f} s",
            f"looked at {self.client.get('looked')} addresses after their answers, "
            f"at {self.leases_looked_at} leases",
            f"forbidden: {self.forbidden_tries} rounds, {self.forbidden_out} packets out, "
            f"{self.forbidden_while_taken} more while the table was taken away by another, "
            f"{self.forbidden_since} since then on flows that were established meanwhile",
            f"excused by a flush, a reload or another's hand: {self.excused}",
            f"memory {slope_kib_per_minute(self.samples, warm_up_s):+.1f} KiB a minute "
            f"after {warm_up_s:.0f} s, "
            f"at most {max((s.rss for s in self.samples), default=0) / 2**20:.1f} MiB",
            f"descriptors {self.before and self.before.descriptors} before, "
            f"{self.after and self.after.descriptors} after, "
            f"at most {max((s.descriptors for s in self.samples), default=0)}",
            f"unhandled exceptions {len(self.tracebacks)}; {self.log.count(chr(10))} lines of log",
            f"violations {len(self.violations)}",
            *self.violations[:20],
            *self.unwell[:20],
            *(f"not done as it should: {note}" for note in self.notes[:20]),
            *self.tracebacks[:5],
        ]
        return "\n".join(lines)


def soak(
    lab: Lab, *, seconds: float, rate: float, seed: int, short: bool = False, options: Sequence[str] = ()
) -> Report:
    """Run it on a fresh lab. `short`: each kind of fault once, at short intervals; `options` are `run`'s."""
    report = Report(seed)
    dice = random.Random(seed)
    server = lab.scripted(upstream)
    # Others' hands reach the table of every second one; that of the others is its agent's alone.
    agent = faulty_agent(lab, SETTINGS + EXTRA, options or (SHARED if seed % 2 else ()))
    bed = Bed(lab, agent, server, dice)
    probe = Client(lab.host)
    assert _works(probe, -1), agent.log
    report.before = sample_of(agent.process.pid)
    watch = Watch(lab, agent)
    capture = Capture(lab)
    began = time.monotonic()
    watch.start()
    with _client(lab, rate, seed, report), traffic.running(lab, "forbidden", traffic.FORBIDDEN) as forbidden:
        order = dice.sample(sorted(FAULTS), len(FAULTS)) if short else []
        while (spent := time.monotonic() - began) < seconds or (order and spent < _SHORT_AT_MOST_S):
            time.sleep(dice.uniform(*(_SHORT_PAUSE_S if short else _PAUSE_S)))
            kind = order.pop() if order else _draw(dice, may_end=spent < seconds / 2)
            _strike(bed, kind, probe, report)
            server._tell({"reset": True})  # it counts by name, and there are many
            capture.turn()
    report.took_s = time.monotonic() - began
    watch.stop()
    packets = capture.stop()
    report.forbidden_tries = forbidden.tries
    report.samples, report.leases_looked_at = watch.samples, watch.leases_looked_at
    report.after = _settled(agent, report)
    _judge(report, watch, packets)
    report.log = agent.log
    report.tracebacks = _tracebacks(report.log)
    probe.close()
    if watch.failure:
        report.violations.append(f"the watch ended: {watch.failure}")
    return report


def _draw(dice: random.Random, *, may_end: bool) -> str:
    kinds = [kind for kind, fault in FAULTS.items() if may_end or not fault.ends_the_process]
    (kind,) = dice.choices(kinds, [FAULTS[kind].weight for kind in kinds])
    return kind


def _strike(bed: Bed, kind: str, probe: Client, report: Report) -> None:
    if FAULTS[kind].ends_the_process:
        report.injected += bed.agent.struck
    begun = time.monotonic()
    try:
        FAULTS[kind].strike(bed)
    except (subprocess.TimeoutExpired, LabError, AssertionError) as error:
        # The machine is too slow for what the lab expects; what becomes of the agent is seen all the same.
        report.notes.append(f"{kind}: {str(error)[:200]}")
        if bed.agent.process.poll() is not None:
            bed.agent.start(wait=False)
    over = time.monotonic()
    works = None
    while works is None and time.monotonic() < over + _RECOVERED_WITHIN_S:
        report.probes += 1
        if _works(probe, report.probes):
            works = time.monotonic()
    report.struck.append(Struck(kind, begun, over, works))
    again = "not" if works is None else f"{works - over:.2f} s"
    print(f"{kind}: {over - begun:.2f} s, a new name answered after it: {again}", file=sys.stderr, flush=True)


def _works(probe: Client, number: int) -> bool:
    """Whether a new name is answered."""
    try:
        return bool(probe.ask(f"p{10_000_000 + number}.web.example.org", within_s=10.0).addresses)
    except OSError:
        return False


@contextmanager
def _client(lab: Lab, rate: float, seed: int, report: Report) -> Iterator[None]:
    process = lab.host.popen(
        [lab.host.python_path, "-m", "tests.soak.client_process", str(rate), str(seed)],
        stdin=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        out, _ = process.communicate(timeout=60)
        report.client = json.loads(out)
    finally:
        process.kill()
        process.communicate()


class Left(NamedTuple):
    """A packet that left and must not have: when (monotonic seconds), its flow, and for people."""

    at: float
    flow: tuple[object, ...]
    text: str


class Capture:
    """The wire, a piece at a time: the next one has begun before the last one ends."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._out: set[Left] = set()
        self._sniffer: Sniffer = lab.sniffer()
        self._since = time.monotonic()
        self._ahead_s = time.time() - self._since  # of the wall clock, by which packets are stamped

    def turn(self) -> None:
        if time.monotonic() - self._since > _CAPTURE_S:
            last, self._sniffer = self._sniffer, self._lab.sniffer()
            self._take(last)
            self._since = time.monotonic()

    def stop(self) -> list[Left]:
        """What left and must not have, in order."""
        self._take(self._sniffer)
        return sorted(self._out)

    def _take(self, sniffer: Sniffer) -> None:
        for packet in sniffer.stop():
            if packet.from_host and packet.dst in traffic.FORBIDDEN:
                flow = (packet.protocol, packet.sport, packet.dst, packet.dport)
                self._out.add(Left(packet.time - self._ahead_s, flow, str(packet)))
        sniffer.path.unlink()


def _settled(agent: FaultyAgent, report: Report) -> Sample | None:
    """The process at rest: as few descriptors as at the beginning, or as it is after a while."""
    ends = time.monotonic() + _SETTLED_WITHIN_S
    report.injected += agent.struck
    while (now := sample_of(agent.process.pid)) is not None and time.monotonic() < ends:
        if report.before is not None and now.descriptors <= report.before.descriptors + OPENED_LATER:
            break
        time.sleep(0.1)
    return now


def _judge(report: Report, watch: Watch, packets: list[Left]) -> None:
    taken = [
        (one.begun - _AROUND_S, (one.works or one.over) + _AROUND_S)
        for one in report.struck
        if FAULTS[one.kind].takes
    ]

    # Of what the kernel did and could not acknowledge nobody was told: it is no lease, and taken away.
    unclear = [
        (one.begun - _AROUND_S, (one.works or one.over) + _AROUND_S)
        for one in report.struck
        if one.kind == "kernel"
    ]

    def is_excused(after: float, before: float) -> bool:
        return any(begun <= before and after <= over for begun, over in taken)

    for asked_at, at, kind, text in report.client["suspicions"]:
        if is_excused(asked_at, at):
            report.excused += 1
        else:
            report.violations.append(f"{kind}: {text}")
    for cut in watch.cuts:
        if is_excused(cut.after, cut.before) or any(a <= cut.since <= b for a, b in unclear):
            report.excused += 1
        else:
            report.violations.append(f"only longer: {cut.text}")
    out: list[Left] = []
    tampered = [one for one in report.struck if one.kind == "tampering"]
    begun_then: set[tuple[object, ...]] = set()
    for packet in packets:
        if any(one.begun <= packet.at <= (one.works or one.over) + _AROUND_S for one in tampered):
            report.forbidden_while_taken += 1
            begun_then.add(packet.flow)
        elif packet.flow in begun_then:  # its port came round again while the flow was established
            report.forbidden_since += 1
        else:
            out.append(packet)
    report.forbidden_out = len(out)
    report.violations += [f"fail closed: {one.text}, {_when(report, one.at)}" for one in out[:20]]
    for one in report.struck:
        if one.works is None:
            report.unwell.append(f"not well again after {one.kind} in {_RECOVERED_WITHIN_S:.0f} s")


def _when(report: Report, at: float) -> str:
    """In relation to the faults."""
    last = next((one for one in reversed(report.struck) if one.begun <= at), None)
    if last is None:
        return "before any fault"
    return f"{at - last.begun:.3f} s after {last.kind} began, which took {last.over - last.begun:.3f} s"


def _tracebacks(log: str) -> list[str]:
    """The last line of each, and what stands before it."""
    return [part.strip()[-400:] for part in log.split("Traceback (most recent call last)")[1:]]
