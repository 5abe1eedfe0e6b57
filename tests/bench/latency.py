"""How long one answer takes when the server is not busy: dynallow beside `dnsmasq --nftset`.

    python -m tests.bench.latency [--seconds S] [--rounds N] [--rate 100]

As root. As peers.py, but at a fixed rate: 1,000 hot names, then fresh ones.
Prints the median and the 99th percentile of each round's latencies as dnsperf
saw them, over the rounds, and their ratios by pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.bench import command
from tests.bench.bed import Bed, Running
from tests.bench.contenders import MEASURE
from tests.bench.figures import Sample, latency_table
from tests.bench.workloads import F1, FC, H1000, MEANING, Sizes

_WANTED = (H1000, F1, FC)


def measure(it: Bed, server: Running, turn: int, seconds: float, rate: int) -> list[Sample]:
    """Each workload at `rate` questions a second."""
    return [it.measure(server, workload, turn, seconds, rate) for workload in _WANTED]


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.parser("latency at a fixed rate", rounds=3, seconds=10.0, peers=["dynallow", MEASURE])
    parser.add_argument("--rate", type=int, default=100, help="questions a second; default %(default)s")
    options = parser.parse_args(arguments)
    asked = math.ceil(options.seconds * options.rate) + options.rate
    result = command.run(
        options,
        Sizes(fresh=asked, fresh_in_zone=asked, chains=asked, chains_in_zone=asked),
        lambda it, server, turn: measure(it, server, turn, options.seconds, options.rate),
    )
    print(f"{options.rate} questions a second for {options.seconds:g} s; rounds: {options.rounds}")
    print("".join(f"  {workload.name:6} {MEANING[workload.name]}\n" for workload in _WANTED))
    command.finish(result, latency_table, options)
    return result


if __name__ == "__main__":
    main()
