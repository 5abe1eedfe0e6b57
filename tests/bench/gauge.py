"""What a process has used: CPU time and, where the machine counts them, instructions.

Knows /proc, CPU clocks and `perf stat`; must not know servers or questions.
Invariant: time of all threads counts, of ended ones too, and of children that
were waited for (dnsmasq forks for TCP).
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.lab.needs import PATH, find

NICE = -10
"""Of everything that takes part in a measurement: servers, upstream and dnsperf alike."""
_EVENTS = "instructions:u,instructions:k"
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _CUTIME, _CSTIME = 11, 12, 13, 14  # fields of stat after the command's name


class Usage(NamedTuple):
    """CPU seconds; `kernel_s` is by the kernel's own estimate, in ticks."""

    total_s: float
    kernel_s: float

    def since(self, before: Usage) -> Usage:
        return Usage(self.total_s - before.total_s, self.kernel_s - before.kernel_s)


class Instructions(NamedTuple):
    user: int
    kernel: int


class Cost(NamedTuple):
    """What a load cost the server."""

    used: Usage
    counts: Instructions | None


def usage(pid: int) -> Usage:
    """What `pid` has used so far; nanoseconds, for schedstat knows only threads that live."""
    own_s = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of a process
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = [int(fields[place]) for place in (_UTIME, _STIME, _CUTIME, _CSTIME)]
    return Usage(own_s + (ticks[2] + ticks[3]) / _TICKS, (ticks[1] + ticks[3]) / _TICKS)


class Memory(NamedTuple):
    """MiB: resident; with shared pages split among their users; not shared with anybody."""

    rss: float
    pss: float
    uss: float


def memory(pid: int) -> Memory:
    """What `pid` holds right now."""
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    kib = {words[0]: int(words[1]) for words in lines}
    own = kib["Private_Clean:"] + kib["Private_Dirty:"]
    return Memory(kib["Rss:"] / 1024, kib["Pss:"] / 1024, own / 1024)


def peak_mib(pid: int) -> float:
    """The most that `pid` ever held; since the last `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def forget_peak(pid: int) -> None:
    """Let the peak be what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pin(pid: int, core: int) -> None:
    """Keep every thread of `pid` on one core, ahead of what else the machine does where that is allowed."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, int(task.name), NICE)


def cores() -> tuple[int, int]:
    """(the server's, everybody else's); the same one where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def steal() -> tuple[int, int]:
    """Ticks that the hypervisor took from this machine, and all ticks, since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)


# -- instructions ------------------------------------------------------------


@cache
def counts_instructions() -> bool:
    """Whether `perf stat` works here: most virtual machines have no counters."""
    if find("perf") is None:
        return False
    words = ["perf", "stat", "-x,", "-e", _EVENTS, "true"]
    result = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=30, env={"PATH": PATH, "LC_ALL": "C"}
    )
    return parse_counts(result.stderr) is not None


def counted(argv: list[str], pid: int, report: Path) -> list[str]:
    """`argv` so that `report` tells the instructions of `pid` while it ran."""
    if not counts_instructions():
        return argv
    return ["perf", "stat", "-x,", "-o", str(report), "-e", _EVENTS, "-p", str(pid), "--", *argv]


def parse_counts(report: str) -> Instructions | None:
    """What `perf stat -x,` printed; None where the machine does not count."""
    found = {}
    for line in report.splitlines():
        value, _, rest = line.partition(",")
        for event in _EVENTS.split(","):
            if f",{event}," in f",{rest}," and value.isdecimal():
                found[event[-1]] = int(value)
    return Instructions(found["u"], found["k"]) if len(found) == 2 else None
