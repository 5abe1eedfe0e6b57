"""Where the agent's time goes under one workload.

    python -m tests.bench.profile [--workload F1] [--top 25] [--sort tottime] [--by cprofile|perf|stalls]

As root. cProfile names Python's functions; it burdens small ones more than they
deserve, so a cost is to be confirmed with peers.py before and after. `perf`
(software clock, works in virtual machines) names the interpreter's and the
kernel's functions and burdens nothing. `stalls` tells for each kind of callback the longest CPU
time that one run of it kept the loop busy, and how often it ran (steps.py has the worst input).
"""

from __future__ import annotations

import argparse
import io
import pstats
import signal
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bed import Bed, Running, bed
from tests.bench.contenders import CONTENDERS, write_settings
from tests.bench.workloads import MEANING, WORKLOADS, Sizes, Workload
from tests.lab import wait_until
from tests.lab.needs import ROOT, find

_FREQUENCY = "997"
_WRITTEN_WITHIN_S = 20.0


def watched(it: Bed, workload: Workload, seconds: float, kind: str) -> tuple[str, Path]:
    """Run the load against an agent that profiled_agent.py watches: a line about it, and the report."""
    report = it.host.directory / "profile"
    settings = write_settings(it.host.directory)
    argv = [it.host.python_path, "-m", "tests.bench.profiled_agent", str(report), str(settings), kind]
    with it.running(CONTENDERS["dynallow"], argv) as server:
        server.process.send_signal(signal.SIGUSR1)
        sample = it.measure(server, workload, 0, seconds)
        server.process.send_signal(signal.SIGUSR2)
        wait_until(report.exists, "the profile", _WRITTEN_WITHIN_S)
    return f"{sample.right} right answers, {sample.cpu_us:.0f} µs each while profiled", report


def by_cprofile(it: Bed, workload: Workload, seconds: float, sort: str, top: int) -> str:
    """The functions that took longest, as pstats prints them."""
    head, report = watched(it, workload, seconds, "cprofile")
    return f"{head}\n{_stats(report, sort, top)}"


def by_stalls(it: Bed, workload: Workload, seconds: float, top: int) -> str:
    """The steps of the loop that took longest at their worst."""
    head, report = watched(it, workload, seconds, "stalls")
    lines = report.read_text().splitlines()[:top]
    return "\n".join([head, "ms longest       runs  callback", *lines])


def _stats(report: Path, sort: str, top: int) -> str:
    text = io.StringIO()
    pstats.Stats(str(report), stream=text).sort_stats(sort).print_stats(top)
    _, columns, rows = text.getvalue().partition("   ncalls")
    for directory in (ROOT, sysconfig.get_path("stdlib")):
        rows = rows.replace(f"{directory}/", "")
    return (columns + rows).rstrip()


def by_perf(it: Bed, workload: Workload, seconds: float, top: int) -> str:
    """The symbols that took longest, interpreter and kernel."""
    data = it.host.directory / "perf.data"
    with it.running(CONTENDERS["dynallow"]) as server:
        load = it.load(workload, 0, seconds)
        it.ask(load, workload.rcode, lambda argv: _recorded(argv, server, data))
        words = ["perf", "report", "--stdio", "-i", str(data), "--sort", "dso,symbol"]
        listed = it.host.run(words, timeout=120).stdout
    lines = [line for line in listed.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(line.rstrip(" -") for line in lines[:top])


def _recorded(argv: list[str], server: Running, data: Path) -> list[str]:
    words = ["perf", "record", "-q", "-e", "cpu-clock", "-F", _FREQUENCY, "-o", str(data)]
    return [*words, "-p", str(server.process.pid), "--", *argv]


def main(arguments: Sequence[str] | None = None) -> str:
    """Profile and print; returns the text, for the suite's short run."""
    parser = argparse.ArgumentParser(description="where the agent's time goes")
    parser.add_argument("--workload", choices=[*WORKLOADS], default="F1")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a hot workload; default %(default)g")
    parser.add_argument("--names", type=int, default=5000, help="fresh names; default %(default)s")
    parser.add_argument("--top", type=int, default=25, help="lines; default %(default)s")
    parser.add_argument("--sort", choices=["tottime", "cumulative", "ncalls"], default="tottime")
    parser.add_argument("--by", choices=["cprofile", "perf", "stalls"], default="cprofile")
    options = parser.parse_args(arguments)
    if options.by == "perf" and find("perf") is None:
        raise SystemExit("--by perf: perf is not installed")
    workload = WORKLOADS[options.workload]
    count = options.names
    sizes = Sizes(fresh=count, fresh_in_zone=count, chains=count, chains_in_zone=count)
    with bed(sizes) as it:
        if options.by == "perf":
            text = by_perf(it, workload, options.seconds, options.top)
        elif options.by == "stalls":
            text = by_stalls(it, workload, options.seconds, options.top)
        else:
            text = by_cprofile(it, workload, options.seconds, options.sort, options.top)
    print(f"{workload.name}: {MEANING[workload.name]}\n{text}")
    return text


if __name__ == "__main__":
    main()
