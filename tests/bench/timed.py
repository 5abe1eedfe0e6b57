"""Runs a command and says what it took. A program of its own, and small on purpose.

    python -I -S tests/bench/timed.py OUTPUT COMMAND…

The command's stdout goes to the file OUTPUT; {exit, wall_s, cpu_s, peak_kib} as JSON to stdout.
A child's peak memory is at least that of whoever forked it (the kernel counts the
moment before exec), and a test process is large: so something small must do it.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(output: str, command: list[str]) -> None:
    """Start, wait, tell."""
    to_file = (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[to_file])
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.monotonic() - began
    told = {
        "exit": os.waitstatus_to_exitcode(status),
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_kib": usage.ru_maxrss,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
