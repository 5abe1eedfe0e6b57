"""What 100,000 leases cost: the agent with 100 leases and with 100,000, in one run.

    python -m tests.bench.scale [--seconds S] [--rounds N] [--leases 100000]

As root. Target 5: H1000 and F1 with 100,000 leases within 1.2 × of 100 leases, `dynallow
status` of 100,000 under 2 s. The leases stand in the kernel's set before the agent starts,
and it adopts them; a remark says so if its ledger or the set should not hold them
all. `status` is piped, as JSON and as text. The other half of the target, a list of
1,000,000 names, is `python tests/bench/million_names.py`.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from tests.bench import command, gauge
from tests.bench.bed import Bed, Running, bed
from tests.bench.contenders import Contender, dynallow, own_table, write_settings
from tests.bench.figures import Figure, Sample, figures_table, peers_table
from tests.bench.workloads import F1, H1000, MEANING, ORIGIN, Sizes
from tests.lab.agent import UnixConnection
from tests.lab.namespace import Namespace

FEW = 100
_TOP = int(IPv4Address("198.19.255.254"))  # the zone counts upwards from the other end
_LEFT_S, _STRIDE_S = 10_800, 7919
_TARGETS = {"status --json, wall": "2 s", "status, wall": "2 s"}


def contender(leases: int) -> Contender:
    """dynallow, started beside a set that holds so many leases."""

    def argv(host: Namespace, directory: Path, cache: int) -> list[str]:
        fill(host, own_table(host, write_settings(directory, cache)), leases)
        return dynallow(host, directory, cache)

    return Contender(f"{leases:,} leases", sys.executable, argv, ("inet", "dynallow", "bench_v4"))


def fill(host: Namespace, table: str, leases: int) -> None:
    """The table, and leases in it, each with the name that earned it."""
    added = ", ".join(_elements(leases))
    text = f"{table}add element inet dynallow bench_v4 {{ {added} }}\n"
    host.run(["nft", "-f", "-"], stdin=text, timeout=60)


def _elements(leases: int) -> Iterator[str]:
    """Each with an end of its own, out of order: `status` has to sort them."""
    for number in range(leases):
        address, left_s = IPv4Address(_TOP - number), _LEFT_S + number * _STRIDE_S % _LEFT_S
        yield f'{address} timeout 6h expires {left_s}s comment "l{number}.{ORIGIN}"'


class Scale:
    """Measures one server after another, and keeps what is no load."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.figures: list[Figure] = []
        self.remarks: list[str] = []

    def measure(self, it: Bed, server: Running, turn: int) -> list[Sample]:
        """Loads first, then `status`, which makes the agent larger."""
        subject = server.contender.name
        samples = [it.measure(server, workload, turn, self.seconds) for workload in (H1000, F1)]
        leases = int(subject.partition(" ")[0].replace(",", "")) + it.sizes.hot + samples[-1].right
        pid, control = server.process.pid, server.directory / "control.sock"

        def note(what: str, value: float, unit: str) -> None:
            self.figures.append(Figure(turn, subject, what, value, unit))

        note("agent, resident", gauge.memory(pid).rss, "MiB")
        gauge.forget_peak(pid)
        for label, words in (("status", ["status"]), ("status --json", ["status", "--json"])):
            argv = [it.host.python_path, "-m", "dynallow", *words]
            took = it.took(argv, server.directory / "status", {"DYNALLOW_SOCKET": str(control)})
            note(f"{label}, wall", took.wall_s, "s")
            note(f"{label}, CPU", took.cpu_s, "s")
            note(f"{label}, peak", took.peak_mib, "MiB")
        note("agent, peak meanwhile", gauge.peak_mib(pid), "MiB")
        rules = json.loads((server.directory / "status").read_text())["rules"]
        shown = sum(len(rule["leases"]) for rule in rules)
        places = {"the ledger": in_ledger(control), "status": shown, "the set": it.held(server)}
        self.remarks += [
            f"{subject}: {place} holds {count} of {leases}"
            for place, count in places.items()
            if count < leases
        ]
        return samples


def in_ledger(control: Path) -> int:
    """How many leases the agent itself knows of; 0 when it does not say."""
    connection = UnixConnection(str(control), 10.0)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    lines = (line.split() for line in text.splitlines() if line.startswith("dynallow_leases{"))
    return sum(int(float(words[-1])) for words in lines)


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.parser("what many leases cost", rounds=3, seconds=2.0)
    parser.add_argument("--leases", type=int, default=100_000, help="default %(default)s")
    parser.add_argument("--names", type=int, default=10_000, help="fresh names a round; default %(default)s")
    options = parser.parse_args(arguments)
    scale = Scale(options.seconds)
    few = contender(FEW)
    sizes = Sizes(fresh=options.names, fresh_in_zone=options.names, chains=1, chains_in_zone=1)
    with bed(sizes) as it:
        result = command.run([few, contender(options.leases)], options.rounds, it, scale.measure)
    result.figures.extend(scale.figures)
    result.remarks[:0] = scale.remarks
    print("".join(f"  {workload.name:6} {MEANING[workload.name]}\n" for workload in (H1000, F1)))
    tables = [peers_table(result.samples, few.name), figures_table(result.figures, _TARGETS), ""]
    command.finish(result, tables, options)
    return result


if __name__ == "__main__":
    main()
