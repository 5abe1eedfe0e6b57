"""CPU time for each answer at saturation: dynallow beside its peers, in one run.

    python -m tests.bench.peers [--seconds S] [--rounds N] [--peers dynallow,dnsmasq-nftset,…] [--workloads …]

As root. Targets 1, 2 and 7: H1 and H1000 (hot), F1 and FC (fresh), D and DU (denied,
the same thousand again and again, or each name once). How a server is set up is in
contenders.py, how it is measured in bed.py. Makes no promise: prints least, median and
most of all rounds, and the ratio to `dnsmasq --nftset` by pairs of the same round.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench import command, gauge
from tests.bench.bed import Bed, Running, bed
from tests.bench.contenders import MEASURE, PEERS
from tests.bench.figures import Sample, peers_table
from tests.bench.load import OUTSTANDING
from tests.bench.workloads import MEANING, WORKLOADS, Sizes, Workload

DEFAULT = Sizes()


def measure(it: Bed, server: Running, turn: int, wanted: Sequence[Workload], seconds: float) -> list[Sample]:
    """Every workload once on a server that has just started."""
    return [it.measure(server, workload, turn, seconds) for workload in wanted]


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.comparing("CPU time per answer beside the peers", rounds=3, seconds=3.0, peers=PEERS)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default %(default)s")
    parser.add_argument("--names", type=int, default=DEFAULT.fresh, help="fresh names a round")
    parser.add_argument("--denied", type=int, default=DEFAULT.denied, help="denied names a round, for DU")
    parser.add_argument("--chains", type=int, default=DEFAULT.chains, help="fresh chains a round")
    options = parser.parse_args(arguments)
    wanted = [workload for name, workload in WORKLOADS.items() if name in options.workloads.split(",")]
    sizes = Sizes(fresh=options.names, chains=options.chains, denied=options.denied)
    with bed(sizes, options.cache) as it:
        result = command.run(
            command.chosen(options.peers),
            options.rounds,
            it,
            lambda it, server, turn: measure(it, server, turn, wanted, options.seconds),
        )
    server_core, other_core = gauge.cores()
    print(
        f"server on core {server_core}, dnsperf ({OUTSTANDING} questions in flight) and knotd on core "
        f"{other_core}; rounds: {options.rounds}"
    )
    print("".join(f"  {workload.name:6} {MEANING[workload.name]}\n" for workload in wanted))
    command.finish(result, [peers_table(result.samples, MEASURE)], options)
    return result


if __name__ == "__main__":
    main()
