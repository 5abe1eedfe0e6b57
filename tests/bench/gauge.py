"""What a process has used: CPU time and, where the machine counts them, instructions.

Knows /proc, CPU clocks and `perf stat`; must not know servers or questions.
Invariant: time of all threads counts, of ended ones too, and of children that
were waited for (dnsmasq forks for TCP).
"""

from __future__ import annotations

import os
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.lab.needs import PATH, find

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


def usage(pid: int) -> Usage:
    """What `pid` has used so far; nanoseconds, for schedstat knows only threads that live."""
    own_s = time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3): CPUCLOCK_SCHED of a process
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = [int(fields[place]) for place in (_UTIME, _STIME, _CUTIME, _CSTIME)]
    return Usage(own_s + (ticks[2] + ticks[3]) / _TICKS, (ticks[1] + ticks[3]) / _TICKS)


def pin(pid: int, core: int) -> None:
    """Keep every thread of `pid` on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


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
