"""The test bed: the lab with its upstream, and one server at a time on the host.

Knows the lab, contenders and dnsperf. Must not know what figures mean.
Invariant: each server starts as a fresh process beside an empty ruleset, on a
core of its own; dnsperf and the upstream share the other.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.rcode

from tests.bench import gauge, timed
from tests.bench.contenders import CACHE, UPSTREAM, Contender
from tests.bench.figures import Sample
from tests.bench.gauge import Cost
from tests.bench.load import Answers, Load, parse
from tests.bench.workloads import H1000, ORIGIN, Sizes, Workload, zone
from tests.lab import Lab, LabError, wait_until

_WARM_WITHIN_S = 60.0
_FRESH_WITHIN_S = 20.0  # what a server has not answered by then it need not
_READY_WITHIN_S = 60.0
_directories = count(1)

Wrapper = Callable[[list[str]], list[str]]
"""Makes another command of one: the same, but watched."""


class Running(NamedTuple):
    """A server that answers."""

    contender: Contender
    process: subprocess.Popen[str]
    directory: Path


class Took(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


class Bed:
    """Use as `with bed(sizes) as it: with it.running(contender) as server: it.measure(server, …)`."""

    def __init__(self, lab: Lab, sizes: Sizes, cache: int) -> None:
        self.cache = cache
        self.host = lab.host
        self.sizes = sizes
        self.server_core, self.other_core = gauge.cores()
        self._stolen, self._ticks = gauge.steal()
        upstream = lab.serve(zone(sizes), addresses=[UPSTREAM])
        gauge.pin(upstream.process.pid, self.other_core)

    @contextmanager
    def running(self, contender: Contender, argv: list[str] | None = None) -> Iterator[Running]:
        """The contender, ready and with the hot names in its cache; `argv` runs it in another way."""
        directory = self.host.directory / f"{contender.name}-{next(_directories)}"
        directory.mkdir()
        self.host.run(["nft", "flush", "ruleset"])
        with (directory / "log").open("w") as log:
            words = argv if argv is not None else contender.argv(self.host, directory, self.cache)
            process = self.host.popen(words, stdout=log, stderr=log)
        running = Running(contender, process, directory)
        try:
            wait_until(lambda: self._answers(running), f"{contender.name} answering", _READY_WITHIN_S)
            gauge.pin(process.pid, self.server_core)
            self.warm(H1000)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def measure(
        self, server: Running, workload: Workload, turn: int, seconds: float, rate: int | None = None
    ) -> Sample:
        """Ask `server` for `seconds`, or each fresh name once; CPU time counts only meanwhile."""
        if not workload.is_fresh:
            self.warm(workload)
        rcode = server.contender.denied if workload.rcode == "NXDOMAIN" else workload.rcode
        answers, cost = self.observe(server, self.load(workload, turn, seconds, rate), rcode)
        return sample(server, turn, workload.name, answers, cost, answers.right * workload.addresses)

    def warm(self, workload: Workload) -> None:
        """Every question of a workload once, so that the answers are in the cache."""
        self.ask(Load(self._questions(workload, 0), _WARM_WITHIN_S, once=True), workload.rcode)

    def observe(self, server: Running, load: Load, rcode: str) -> tuple[Answers, Cost]:
        """Ask, and what the server used meanwhile."""
        pid, report = server.process.pid, server.directory / "instructions"
        before = gauge.usage(pid)
        answers = self.ask(load, rcode, lambda argv: gauge.counted(argv, pid, report))
        used = gauge.usage(pid).since(before)
        counts = gauge.parse_counts(report.read_text()) if report.exists() else None
        return answers, Cost(used, counts)

    def load(self, workload: Workload, turn: int, seconds: float, rate: int | None = None) -> Load:
        """How a workload is asked: at saturation or at a rate, fresh names once each."""
        file = self._questions(workload, turn)
        if workload.is_fresh and rate is None:
            return Load(file, _FRESH_WITHIN_S, once=True)
        return Load(file, seconds, once=workload.is_fresh, rate=rate)

    def ask(self, load: Load, rcode: str = "NOERROR", around: Wrapper = lambda argv: argv) -> Answers:
        """Run dnsperf; `around` may put a word before its command."""
        command = around(load.command(self.other_core))
        done = self.host.run(command, timeout=load.patience_s)
        return parse(done.stdout, rcode)

    def took(self, argv: list[str], output: Path, env: Mapping[str, str] | None = None) -> Took:
        """Run a command of the host, stdout into `output`, and say what it took. Raises LabError."""
        words = [self.host.python_path, "-I", "-S", timed.__file__, str(output), *argv]
        done = self.host.run(words, timeout=120, env=env)
        found = json.loads(done.stdout)
        if found["exit"]:
            raise LabError(f"exit {found['exit']} of {argv}: {done.stderr}")
        return Took(found["wall_s"], found["cpu_s"], found["peak_kib"] / 1024)

    def remarks(self) -> list[str]:
        """What disturbed the figures, or is missing from them."""
        stolen, ticks = gauge.steal()
        share = (stolen - self._stolen) / max(ticks - self._ticks, 1)
        found = [f"{share:.1%} of the CPU time went to other guests of this machine's host"]
        if not gauge.counts_instructions():
            found.append("`perf stat` counts no instructions here: CPU time alone, which is noisier")
        return found

    def held(self, server: Running) -> int:
        """How many addresses the server's set has now."""
        if not server.contender.set_path:
            return 0
        listed = self.host.run(["nft", "list", "set", *server.contender.set_path], timeout=60).stdout
        return listed.count(" expires ")

    def _questions(self, workload: Workload, turn: int) -> Path:
        file = self.host.directory / f"{workload.name}-{turn}.questions"
        if not file.exists():
            file.write_text("".join(workload.questions(self.sizes, turn)))
        return file

    def _answers(self, server: Running) -> bool:
        if server.process.poll() is not None:
            log = (server.directory / "log").read_text()
            raise LabError(f"{server.contender.name} ended with {server.process.returncode}:\n{log}")
        try:
            reply = self.host.ask(f"h0.{ORIGIN}", timeout=0.5)
        except (dns.exception.DNSException, OSError):
            return False
        return reply.rcode() == dns.rcode.NOERROR and bool(reply.answer)


def sample(
    server: Running, turn: int, workload: str, answers: Answers, cost: Cost, addresses: int = 0
) -> Sample:
    """One line of the record; `addresses` are those that the answers brought into a set."""
    each = max(answers.right, 1)
    used, counts = cost
    return Sample(
        turn=turn,
        server=server.contender.name,
        workload=workload,
        right=answers.right,
        wrong=answers.wrong,
        lost=answers.lost,
        cpu_us=used.total_s / each * 1e6,
        kernel_share=used.kernel_s / used.total_s if used.total_s else 0.0,
        per_s=answers.right / answers.run_s,
        user_instructions=counts.user / each if counts else None,
        kernel_instructions=counts.kernel / each if counts else None,
        addresses=addresses,
        latencies_s=answers.latencies_s,
    )


@contextmanager
def bed(sizes: Sizes, cache: int = CACHE) -> Iterator[Bed]:
    """A lab for the time of a bench."""
    with Lab(web=False) as lab:
        yield Bed(lab, sizes, cache)
