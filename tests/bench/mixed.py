"""Whether fresh and denied names hold up the hot ones: latency of the hot ones alone and in a mix.

    python -m tests.bench.mixed [--seconds S] [--rounds N] [--pairs N] [--peers dynallow,dnsmasq-nftset]

As root. Target 4: p99 of the hot ones in the mix at most 2 × their p99 alone. In the
mix 95 of 100 questions are for hot names, 4 for names never asked before, 1 for a denied one.
For each server in each round: how many questions of the mix it answers a second at saturation;
then at half of that rate, in pairs that follow each other at once, hot ones alone and the mix,
every other pair the other way about. dnsperf's own work is in every latency, and is the same in both.
A p99 is the machine's as much as the server's: with other work on its cores only the median of
many pairs says something, and `profile --by stalls` says what a server itself does to it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from tests.bench import command
from tests.bench.bed import Bed, Running, bed, sample
from tests.bench.contenders import MEASURE
from tests.bench.figures import Figure, Sample, figures_table, mixed_table
from tests.bench.load import Answers, Load
from tests.bench.workloads import DENIED, ORIGIN, Sizes

HOT, FRESH, REFUSED = 95, 4, 1
_SATURATE_WITHIN_S = 20.0


class Mixer:
    """Questions for one server process: never a fresh name twice."""

    def __init__(self, sizes: Sizes, turn: int) -> None:
        self._stock = sizes.fresh_in_zone
        self._hot = itertools.cycle(f"h{number}.{ORIGIN} A\n" for number in range(sizes.hot))
        self._denied = itertools.cycle(f"d{number}.{DENIED} A\n" for number in range(sizes.hot))
        self._fresh = iter(range(self._stock))
        self._random = random.Random(turn)

    def hot(self, count: int) -> Iterator[str]:
        """Hot names alone."""
        return itertools.islice(self._hot, count)

    def mix(self, count: int) -> Iterator[str]:
        """All three kinds, shuffled within each hundred."""
        for _ in range(max(count // 100, 1)):
            hundred = [*self.hot(HOT), *(next(self._denied) for _ in range(REFUSED))]
            hundred += [f"n{self._next_fresh()}.{ORIGIN} A\n" for _ in range(FRESH)]
            self._random.shuffle(hundred)
            yield from hundred

    def _next_fresh(self) -> int:
        number = next(self._fresh, None)
        if number is None:
            raise SystemExit(f"--seconds: too long, the zone has only {self._stock} fresh names")
        return number


def measure(it: Bed, server: Running, turn: int, seconds: float, first: int, pairs: int) -> list[Sample]:
    """Saturation of `first` mixed questions, then the mix and the hot ones alone at half of it."""
    mixer = Mixer(it.sizes, turn)
    file = server.directory / "questions"
    file.write_text("".join(mixer.mix(first)))
    answers, cost = it.observe(server, Load(file, _SATURATE_WITHIN_S, once=True), "NOERROR")
    # Without a rate dnsperf counts by rcode alone.
    right = sum(answers.rcodes.get(rcode, 0) for rcode in {"NOERROR", server.contender.denied})
    saturated = answers._replace(right=right, wrong=answers.right + answers.wrong - right)
    taken = [sample(server, turn, "saturation", saturated, cost, right * FRESH // 100)]
    rate = max(int(right / answers.run_s / 2), 1)
    count = int(rate * seconds)
    for pair in range(turn * pairs, (turn + 1) * pairs):
        for kind in ("alone", "mix") if pair % 2 == 0 else ("mix", "alone"):
            file.write_text("".join(mixer.hot(count) if kind == "alone" else mixer.mix(count)))
            answers, cost = it.observe(server, Load(file, seconds + 5, once=True, rate=rate), "NOERROR")
            told, fresh = judge(answers, server.contender.denied)
            taken.append(sample(server, pair, kind, told, cost, fresh))
    return taken


def judge(answers: Answers, denied: str) -> tuple[Answers, int]:
    """Each answer by its name: (right and wrong of all, latencies of the hot ones), right fresh ones."""
    right = [each for each in answers.each if each.rcode == (denied if each.name[0] == "d" else "NOERROR")]
    hot = tuple(each.latency_s for each in right if each.name[0] == "h")
    fresh = sum(each.name[0] == "n" for each in right)
    wrong = len(answers.each) - len(right)
    return answers._replace(right=len(right), wrong=wrong, latencies_s=hot), fresh


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.comparing(
        "latency of hot names in a mix", rounds=5, seconds=1.5, peers=["dynallow", MEASURE]
    )
    parser.add_argument("--pairs", type=int, default=4, help="of runs in a round; default %(default)s")
    parser.add_argument("--first", type=int, default=60_000, help="questions at saturation")
    options = parser.parse_args(arguments)
    with bed(Sizes(chains=1, chains_in_zone=1), options.cache) as it:
        result = command.run(
            command.chosen(options.peers),
            options.rounds,
            it,
            lambda it, server, turn: measure(it, server, turn, options.seconds, options.first, options.pairs),
        )
    print(f"{HOT} % hot, {FRESH} % fresh, {REFUSED} % denied; latency of the hot ones at half of saturation")
    result.figures.extend(
        Figure(one.turn, one.server, "saturation", one.per_s, "answers/s")
        for one in result.samples
        if one.workload == "saturation"
    )
    tables = [figures_table(result.figures), "", mixed_table(result.samples, MEASURE)]
    command.finish(result, tables, options)
    return result


if __name__ == "__main__":
    main()
