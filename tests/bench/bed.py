"""The test bed: the lab with its upstream, and one server at a time on the host.

Knows the lab, contenders and dnsperf. Must not know what figures mean.
Invariant: each server starts as a fresh process beside an empty ruleset, on a
core of its own; dnsperf and the upstream share the other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.rcode

from tests.bench import gauge
from tests.bench.contenders import CACHE, UPSTREAM, Contender
from tests.bench.figures import Sample
from tests.bench.load import Answers, Load, parse
from tests.bench.workloads import H1000, ORIGIN, Sizes, Workload, zone
from tests.lab import Lab, LabError, wait_until

_FRESH_WITHIN_S = 60.0
_READY_WITHIN_S = 20.0
_directories = count(1)

Wrapper = Callable[[list[str]], list[str]]
"""Makes another command of one: the same, but watched."""


class Running(NamedTuple):
    """A server that answers."""

    contender: Contender
    process: subprocess.Popen[str]
    directory: Path


class Bed:
    """Use as `with bed(sizes) as it: with it.running(contender) as server: it.measure(server, …)`."""

    def __init__(self, lab: Lab, sizes: Sizes, cache: int) -> None:
        self.cache = cache
        self.host = lab.host
        self.sizes = sizes
        self.server_core, self.other_core = gauge.cores()
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
            self.ask(H1000, Load(self._questions(H1000, 0), _FRESH_WITHIN_S, once=True))
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
        pid, report = server.process.pid, server.directory / "instructions"
        load = self.load(workload, turn, seconds, rate)
        if not workload.is_fresh:
            self.ask(workload, Load(load.file, _FRESH_WITHIN_S, once=True))
        before = gauge.usage(pid)
        answers = self.ask(workload, load, lambda argv: gauge.counted(argv, pid, report))
        used = gauge.usage(pid).since(before)
        counts = gauge.parse_counts(report.read_text()) if report.exists() else None
        each = max(answers.right, 1)
        return Sample(
            turn=turn,
            server=server.contender.name,
            workload=workload.name,
            right=answers.right,
            wrong=answers.wrong,
            lost=answers.lost,
            cpu_us=used.total_s / each * 1e6,
            kernel_share=used.kernel_s / used.total_s if used.total_s else 0.0,
            per_s=answers.right / answers.run_s,
            user_instructions=counts.user / each if counts else None,
            kernel_instructions=counts.kernel / each if counts else None,
            latencies_s=answers.latencies_s,
        )

    def load(self, workload: Workload, turn: int, seconds: float, rate: int | None = None) -> Load:
        """How a workload is asked: at saturation or at a rate, fresh names once each."""
        file = self._questions(workload, turn)
        if workload.is_fresh and rate is None:
            return Load(file, _FRESH_WITHIN_S, once=True)
        return Load(file, seconds, once=workload.is_fresh, rate=rate)

    def ask(self, workload: Workload, load: Load, around: Wrapper = lambda argv: argv) -> Answers:
        """Run dnsperf; `around` may put a word before its command."""
        command = around(load.command(self.other_core))
        done = self.host.run(command, timeout=load.patience_s)
        return parse(done.stdout, workload.rcode)

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


@contextmanager
def bed(sizes: Sizes, cache: int = CACHE) -> Iterator[Bed]:
    """A lab for the time of a bench."""
    with Lab(web=False) as lab:
        yield Bed(lab, sizes, cache)
