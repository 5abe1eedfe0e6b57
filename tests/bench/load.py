"""dnsperf: how it is called, and what its report says. Pure: starts nothing.

Knows dnsperf 2.10's options and text. Must not know which server answers.
Invariant: an answer with another rcode than the workload expects is no answer:
a server must not look fast by failing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.bench.gauge import NICE

OUTSTANDING = 100
_ANSWER_WITHIN_S = 5
_COUNT = re.compile(r"Queries (sent|completed|lost): +(\d+)")
_RUN = re.compile(r"Run time \(s\): +([\d.]+)")
_RCODES = re.compile(r"Response codes: +(.*)")
_RCODE = re.compile(r"([A-Z0-9]+) (\d+) ")
_LATENCY = re.compile(r"^> (\w+) (\S+) \S+ ([\d.]+)$", re.MULTILINE)


class Load(NamedTuple):
    """How to ask the questions in `file`: for so long, as fast as answers come unless `rate` says."""

    file: Path
    seconds: float
    once: bool = False
    """Each question one time; `seconds` is then the most it may take."""
    rate: int | None = None

    def command(self, core: int) -> list[str]:
        """dnsperf on one core, away from the server that it asks."""
        words = [
            "nice",
            "-n",
            str(NICE),
            "taskset",
            "-c",
            str(core),
            "dnsperf",
            "-s",
            "127.0.0.1",
            "-d",
            str(self.file),
        ]
        words += ["-q", str(OUTSTANDING), "-t", str(_ANSWER_WITHIN_S), "-l", str(self.seconds)]
        if self.once:
            words += ["-n", "1"]
        if self.rate is not None:
            words += ["-Q", str(self.rate), "-v"]  # -v: a line with its latency for each answer
        return words

    @property
    def patience_s(self) -> float:
        """When to give dnsperf itself up."""
        return self.seconds + _ANSWER_WITHIN_S + 30


class Each(NamedTuple):
    """One answer of a load that had a rate."""

    rcode: str
    name: str
    latency_s: float


class Answers(NamedTuple):
    """What came back; latencies (of the right ones) and `each` only where a rate was asked for."""

    right: int
    wrong: int
    lost: int
    run_s: float
    latencies_s: tuple[float, ...]
    each: tuple[Each, ...]
    rcodes: dict[str, int]


def parse(report: str, rcode: str) -> Answers:
    """What dnsperf's `report` says; ValueError when it is none."""
    counts = {word: int(number) for word, number in _COUNT.findall(report)}
    run = _RUN.search(report)
    if run is None or "completed" not in counts:
        raise ValueError(f"expected dnsperf's report, got {report[-300:]!r}")
    codes = _RCODES.search(report)
    by_code = {code: int(n) for code, n in _RCODE.findall(codes[1] + " ")} if codes else {}
    right = by_code.get(rcode, 0)
    each = tuple(Each(code, name, float(taken)) for code, name, taken in _LATENCY.findall(report))
    latencies = tuple(answer.latency_s for answer in each if answer.rcode == rcode)
    wrong, lost = counts["completed"] - right, counts["lost"]
    return Answers(right, wrong, lost, float(run[1]), latencies, each, by_code)
