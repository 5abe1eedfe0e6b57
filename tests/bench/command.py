"""What the benches' command lines have in common: options, rounds in turn, the closing lines.

Knows argparse and the order of a run. Invariant: servers take turns within each
round, and every other round goes backwards, so that a drift of the machine
meets all alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import figures, gauge
from tests.bench.bed import Bed, Running, bed
from tests.bench.contenders import CACHE, CONTENDERS, MEASURE, Contender
from tests.bench.figures import Sample
from tests.bench.workloads import WORKLOADS, Sizes
from tests.lab.needs import find

Measured = Callable[[Bed, Running, int], list[Sample]]
"""All samples of one server in one round."""


@dataclass(frozen=True, slots=True)
class Result:
    """The samples of a run, and what an honest reader must be told beside them."""

    samples: list[Sample]
    remarks: list[str]


def parser(text: str, *, rounds: int, seconds: float, peers: Sequence[str]) -> argparse.ArgumentParser:
    """The options of every bench that compares."""
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--rounds", type=int, default=rounds, help="default %(default)s")
    made.add_argument("--seconds", type=float, default=seconds, help="a workload; default %(default)g")
    made.add_argument("--peers", default=",".join(peers), help=f"of {','.join(CONTENDERS)}")
    made.add_argument("--cache", type=int, default=CACHE, help="entries; default %(default)s, never full")
    made.add_argument("--json", type=Path, metavar="FILE", help="every sample")
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


def run(options: argparse.Namespace, sizes: Sizes, measured: Measured) -> Result:
    """All rounds that `options` ask for, each server in turn."""
    contenders, rounds = chosen(options.peers), options.rounds
    samples: list[Sample] = []
    remarks: list[str] = []
    stolen, ticks = gauge.steal()
    with bed(sizes, options.cache) as it:
        for turn in range(rounds):
            for contender in contenders if turn % 2 == 0 else reversed(contenders):
                print(f"round {turn + 1} of {rounds}: {contender.name}", file=sys.stderr)
                with it.running(contender) as server:
                    taken = measured(it, server, turn)
                    samples += taken
                    remarks += missing(it, server, taken)
    stolen_now, ticks_now = gauge.steal()
    share = (stolen_now - stolen) / max(ticks_now - ticks, 1)
    remarks.append(f"{share:.1%} of the CPU time went to other guests of this machine's host")
    if not gauge.counts_instructions():
        remarks.append("`perf stat` counts no instructions here: CPU time alone, which is noisier")
    return Result(samples, remarks)


def missing(it: Bed, server: Running, samples: Sequence[Sample]) -> list[str]:
    """A remark when addresses that were handed out are not in the server's set."""
    if not server.contender.set_path:
        return []
    due = it.sizes.hot + sum(sample.right * WORKLOADS[sample.workload].addresses for sample in samples)
    held = it.held(server)
    return [] if held >= due else [f"{server.contender.name}: {due - held} of {due} addresses not in its set"]


def finish(
    result: Result, table: Callable[[Sequence[Sample], str], str], options: argparse.Namespace
) -> None:
    """Print the table and the remarks, write the files that were asked for."""
    print(table(result.samples, MEASURE))
    for remark in result.remarks:
        print(remark)
    if options.json:
        figures.write_json(options.json, result.samples)
    if options.csv:
        figures.write_csv(options.csv, result.samples)
