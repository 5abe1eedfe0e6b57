"""How long one answer takes when the server is not busy: dynallow beside dnsmasq, with and without sets.

    python -m tests.bench.latency [--seconds S] [--rounds N] [--rate 100]

As root. Target 3. As peers.py, but at a fixed rate: 1,000 hot names, denied ones, then
fresh ones. Prints the median and the 99th percentile of each round's latencies as
dnsperf saw them, over the rounds, and their ratios by pairs.

At 100 questions a second every one finds both processes asleep: each latency holds
dnsperf's wake-up and the server's, two trips through loopback and both processes' cold
caches. That floor is the same for all and makes ratios milder than the servers' own
shares are; `--peers dynallow,dnsmasq-nftset,reflector` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.bench import command
from tests.bench.bed import Bed, Running, bed
from tests.bench.contenders import MEASURE
from tests.bench.figures import Sample, latency_table
from tests.bench.workloads import F1, FC, H1000, MEANING, D, Sizes

_WANTED = (H1000, D, F1, FC)


def measure(it: Bed, server: Running, turn: int, seconds: float, rate: int) -> list[Sample]:
    """Each workload at `rate` questions a second."""
    return [it.measure(server, workload, turn, seconds, rate) for workload in _WANTED]


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    peers = ["dynallow", MEASURE, "dnsmasq"]
    parser = command.comparing("latency at a fixed rate", rounds=3, seconds=10.0, peers=peers)
    parser.add_argument("--rate", type=int, default=100, help="questions a second; default %(default)s")
    options = parser.parse_args(arguments)
    asked = math.ceil(options.seconds * options.rate) + options.rate
    sizes = Sizes(fresh=asked, fresh_in_zone=asked, chains=asked, chains_in_zone=asked)
    with bed(sizes, options.cache) as it:
        result = command.run(
            command.chosen(options.peers),
            options.rounds,
            it,
            lambda it, server, turn: measure(it, server, turn, options.seconds, options.rate),
        )
    print(f"{options.rate} questions a second for {options.seconds:g} s; rounds: {options.rounds}")
    print("".join(f"  {workload.name:6} {MEANING[workload.name]}\n" for workload in _WANTED))
    command.finish(result, [latency_table(result.samples, MEASURE)], options)
    return result


if __name__ == "__main__":
    main()
