"""What the benches' command lines have in common: options, rounds in turn, the closing lines.

Knows argparse and the order of a run. Invariant: servers take turns within each
round, and every other round goes backwards, so that a drift of the machine
meets all alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import figures
from tests.bench.bed import Bed, Running
from tests.bench.contenders import CACHE, CONTENDERS, Contender
from tests.bench.figures import Figure, Sample
from tests.lab.needs import find

Measured = Callable[[Bed, Running, int], list[Sample]]
"""All samples of one server in one round."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run measured, and what an honest reader must be told beside it."""

    samples: list[Sample]
    remarks: list[str]
    figures: list[Figure] = field(default_factory=list)


def parser(text: str, *, rounds: int, seconds: float | None = None) -> argparse.ArgumentParser:
    """The options of every bench."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--rounds", type=int, default=rounds, help="default %(default)s")
    if seconds is not None:
        made.add_argument("--seconds", type=float, default=seconds, help="a workload; default %(default)g")
    made.add_argument("--json", type=Path, metavar="FILE", help="every sample and figure")
    return made


def comparing(text: str, *, rounds: int, seconds: float, peers: Sequence[str]) -> argparse.ArgumentParser:
    """The options of every bench that compares servers."""
    made = parser(text, rounds=rounds, seconds=seconds)
    made.add_argument("--peers", default=",".join(peers), help=f"of {','.join(CONTENDERS)}")
    made.add_argument("--cache", type=int, default=CACHE, help="entries; default %(default)s, never full")
    made.add_argument("--csv", type=Path, metavar="FILE", help="every sample")
    return made


def chosen(names: str) -> list[Contender]:
    """The contenders by name, less those that are not installed (said on stderr)."""
    unknown = [name for name in names.split(",") if name not in CONTENDERS]
    if unknown:
        raise SystemExit(f"--peers: expected some of {', '.join(CONTENDERS)}, got {', '.join(unknown)}")
    wanted = [CONTENDERS[name] for name in names.split(",")]
    for contender in wanted:
        if find(contender.tool) is None:
            print(f"left out: {contender.name} ({contender.tool} is not installed)", file=sys.stderr)
    return [contender for contender in wanted if find(contender.tool) is not None]


def run(contenders: Sequence[Contender], rounds: int, it: Bed, measured: Measured) -> Result:
    """All rounds, each server in turn, each time as a new process."""
    samples: list[Sample] = []
    remarks: list[str] = []
    for turn in range(rounds):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            print(f"round {turn + 1} of {rounds}: {contender.name}", file=sys.stderr)
            with it.running(contender) as server:
                taken = measured(it, server, turn)
                samples += taken
                remarks += missing(it, server, taken)
    return Result(samples, [*remarks, *it.remarks()])


def missing(it: Bed, server: Running, samples: Sequence[Sample]) -> list[str]:
    """A remark when addresses that were handed out are not in the server's set."""
    if not server.contender.set_path:
        return []
    due = it.sizes.hot + sum(sample.addresses for sample in samples)
    held = it.held(server)
    return [] if held >= due else [f"{server.contender.name}: {due - held} of {due} addresses not in its set"]


def finish(result: Result, tables: Sequence[str], options: argparse.Namespace) -> None:
    """Print the tables and the remarks, write the files that were asked for."""
    for line in (*tables, *result.remarks):
        print(line)
    if options.json:
        figures.write_json(options.json, [*result.samples, *result.figures])
    if getattr(options, "csv", None):
        figures.write_csv(options.csv, result.samples)
