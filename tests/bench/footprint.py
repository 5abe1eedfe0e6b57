"""What the agent takes when it does little: memory, start, `dynallow status`, and doing nothing.

    python -m tests.bench.footprint [--rounds N] [--idle S] [--leases 10000]

As root. Target 6, with the annotated default settings, a lab upstream and one rule:

- resident memory with 10,000 leases (resident; its proportional share; not shared with anybody);
- from exec to the first answer with an address, and the CPU time of that, each time
  from a table that is there with its leases and from none;
- `dynallow status`, piped, with those leases and with none;
- CPU time of the idle agent, in per cent of a core: in the last round alone, and longer than
  the 30 s in which it once looks for leases that have lapsed.

Runs from a copy with its bytecode, as an installation is; the machine may have the files in its cache.
"""

from __future__ import annotations

import compileall
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.message

from tests.bench import command, gauge
from tests.bench.bed import Bed, bed
from tests.bench.contenders import UPSTREAM, own_table
from tests.bench.figures import Figure, figures_table
from tests.bench.scale import fill, in_ledger
from tests.bench.workloads import ORIGIN, Sizes
from tests.lab import LabError, wait_until
from tests.lab.needs import ROOT

_READY_WITHIN_S = 60.0
_ASK_AGAIN_S = 0.005
_TARGETS = {
    "resident": "64 MiB with 10,000 leases",
    "first answer, wall": "1.0 s",
    "status, wall": "0.15 s",
    "idle": "0.1 %",
}


def settings(directory: Path) -> str:
    """config/dynallow.toml with what a lab must have of its own."""
    text = (ROOT / "config/dynallow.toml").read_text()
    for key, value in (("upstreams", f'["{UPSTREAM}"]'), ("socket", f'"{directory}/control.sock"')):
        lines = [line for line in text.splitlines() if line.startswith(f"{key} ")]
        if len(lines) != 1:
            raise LabError(f"expected one line for {key} in config/dynallow.toml, got {lines}")
        text = text.replace(lines[0], f"{key} = {value}")
    return f'{text}\n[[rule]]\nname = "bench"\nnames = [".{ORIGIN}"]\n'


class Footprint:
    """One settings file in one lab; each measurement starts an agent of its own."""

    def __init__(self, it: Bed, leases: int) -> None:
        self.it = it
        self.leases = leases
        self.directory = it.host.directory / "footprint"
        self.directory.mkdir()
        self.file = self.directory / "dynallow.toml"
        self.file.write_text(settings(self.directory))
        self.table = own_table(it.host, self.file)
        self.figures: list[Figure] = []
        installed = self.directory / "installed"
        shutil.copytree(ROOT / "dynallow", installed / "dynallow")
        compileall.compile_dir(installed, quiet=1)
        self.environment: Mapping[str, str] = {
            "PYTHONPATH": str(installed),
            "PYTHONSAFEPATH": "1",  # not the clone's own, where the lab's programs write no bytecode
            "DYNALLOW_SOCKET": str(self.directory / "control.sock"),
        }

    def fill(self, leases: int) -> str:
        """Put this table and so many leases into the kernel (none: no table); returns what to call that."""
        self.it.host.run(["nft", "flush", "ruleset"])
        if leases:
            fill(self.it.host, self.table, leases)
        return f"{leases:,} leases"

    @contextmanager
    def started(self) -> Iterator[tuple[subprocess.Popen[str], float]]:
        """An agent that has given its first answer, and how long after exec it did."""
        host = self.it.host
        with (self.directory / "log").open("w") as log:
            argv = [host.python_path, "-m", "dynallow", "run", "--config", str(self.file)]
            began = time.monotonic()
            process = host.popen(argv, stdout=log, stderr=log, env=self.environment)
        try:
            self._first_answer(process)
            yield process, time.monotonic() - began
        finally:
            process.terminate()
            process.wait(10)

    def _first_answer(self, process: subprocess.Popen[str]) -> None:
        """Ask until an answer with an address comes; one that was asked too early costs its 5 ms only."""
        question = dns.message.make_query(f"h0.{ORIGIN}", "A").to_wire()
        with self.it.host.entered():
            asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with asker:
            asker.connect(("127.0.0.1", 53))
            until = time.monotonic() + _READY_WITHIN_S
            while time.monotonic() < until and process.poll() is None:
                try:
                    asker.send(question)
                    if select.select([asker], [], [], _ASK_AGAIN_S)[0] and asker.recv(1500)[6:8] != b"\0\0":
                        return
                except ConnectionRefusedError:
                    time.sleep(_ASK_AGAIN_S)
        raise LabError(f"no first answer:\n{(self.directory / 'log').read_text()}")

    def measure(self, turn: int, leases: int, idle_s: float) -> None:
        """One round; `idle_s` 0 leaves idleness out."""
        subject = self.fill(leases)

        def note(what: str, value: float, unit: str) -> None:
            self.figures.append(Figure(turn, subject, what, value, unit))

        with self.started() as (process, took_s):
            note("first answer, wall", took_s, "s")
            note("first answer, CPU", gauge.usage(process.pid).total_s, "s")
            control = self.directory / "control.sock"
            known = wait_until(lambda: in_ledger(control), "the agent's control socket")
            if known < leases:
                raise LabError(f"the agent knows {known} leases, {leases} are in its set")
            memory = gauge.memory(process.pid)
            note("resident", memory.rss, "MiB")
            note("proportional share", memory.pss, "MiB")
            note("not shared", memory.uss, "MiB")
            for words in (["status"], ["status", "--json"]):
                argv = [self.it.host.python_path, "-m", "dynallow", *words]
                took = self.it.took(argv, self.directory / "output", self.environment)
                label = " ".join(words)
                note(f"{label}, wall", took.wall_s, "s")
                note(f"{label}, CPU", took.cpu_s, "s")
            note("resident after status", gauge.memory(process.pid).rss, "MiB")
            if idle_s:
                before = gauge.usage(process.pid)
                time.sleep(idle_s)
                note("idle", gauge.usage(process.pid).since(before).total_s / idle_s * 100, "% of a core")


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.parser("memory, start, status, idle", rounds=5)
    parser.add_argument("--idle", type=float, default=35.0, help="seconds; default %(default)g")
    parser.add_argument("--leases", type=int, default=10_000, help="default %(default)s")
    options = parser.parse_args(arguments)
    with bed(Sizes(hot=10, fresh=1, fresh_in_zone=1, chains=1, chains_in_zone=1)) as it:
        footprint = Footprint(it, options.leases)
        for turn in range(options.rounds):
            for leases in (0, options.leases) if turn % 2 == 0 else (options.leases, 0):
                footprint.measure(turn, leases, options.idle if turn + 1 == options.rounds else 0.0)
        result = command.Result([], it.remarks()[:1], footprint.figures)
    command.finish(result, [figures_table(result.figures, _TARGETS), ""], options)
    return result


if __name__ == "__main__":
    main()
