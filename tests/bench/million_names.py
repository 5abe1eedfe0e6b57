"""A list of 1,000,000 names: time to load, resident memory, and a decision's cost beside 10 names.

    python tests/bench/million_names.py [COUNT]

Each list is loaded in a process of its own, so that the memory is that of one policy. Two shapes: hosts
below shared parents, and one host in each of a million domains (every name then needs an entry for
its parent too). The two policies are asked in turns in one process, in CPU time, so that a busy
machine disturbs both alike. Goals: 5 s, 250 MiB, ratio 1.2.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from dynallow.policy import Policy, parse_name
from dynallow.policy.rrtypes import A
from dynallow.settings import load

SHAPES: dict[str, Callable[[int], str]] = {
    "shared": lambda number: f"host-{number}.zone-{number % 1000}.example.org",
    "domains": lambda number: f"www.domain-{number}.org",
}
RUNS, DECISIONS, FEW = 21, 5_000, 10


def write_settings(directory: Path, shape: str, count: int) -> Path:
    name = SHAPES[shape]
    directory.mkdir()
    (directory / "names.txt").write_text("".join(f"{name(number)}\n" for number in range(count)))
    main = directory / "dynallow.toml"
    main.write_text('[[rule]]\nname = "list"\nnames-from = ["names.txt"]\n')
    return main


def measure(directory: Path, shape: str) -> dict[str, float]:
    """Run in the child: load, then decide on the list's first names and on some that are not there."""
    before = resident_mib()
    start = time.perf_counter()
    many = load(directory / "many" / "dynallow.toml").policy
    loaded = time.perf_counter() - start
    resident = resident_mib()
    few = load(directory / "few" / "dynallow.toml").policy
    # The same names whatever the list's length, so that the processor's caches are as warm.
    listed = [parse_name(SHAPES[shape](number)) for number in range(FEW)]
    absent = [parse_name(f"absent-{number}.example.net") for number in range(FEW)]
    result = {
        "load_s": loaded,
        "rss_mib": resident,
        "rss_before_mib": before,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for kind, names in (("allowed", listed), ("denied", absent)):
        runs = [(cost_ns(few, names), cost_ns(many, names)) for _ in range(RUNS)]
        result[f"{kind}_few_ns"] = median(few_ns for few_ns, _ in runs)
        result[f"{kind}_many_ns"] = median(many_ns for _, many_ns in runs)
        result[f"{kind}_ratio"] = median(many_ns / few_ns for few_ns, many_ns in runs)
    return result


def cost_ns(policy: Policy, names: list[bytes]) -> float:
    begin = time.process_time_ns()
    for turn in range(DECISIONS):
        policy.decide(names[turn % FEW], A, 0.0)
    return (time.process_time_ns() - begin) / DECISIONS


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def in_child(shape: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as root:
        write_settings(Path(root) / "many", shape, count)
        write_settings(Path(root) / "few", shape, FEW)
        command = [sys.executable, __file__, "--child", root, shape]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3])))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for shape in SHAPES:
        found = in_child(shape, count)
        print(f"{shape}: {count:,} names loaded in {found['load_s']:.2f} s")
        print(f"  resident {found['rss_mib']:.0f} MiB, peak {found['peak_mib']:.0f} MiB")
        print(f"  of that the interpreter and imports {found['rss_before_mib']:.0f} MiB")
        for kind in ("allowed", "denied"):
            many, few = found[f"{kind}_many_ns"], found[f"{kind}_few_ns"]
            ratio = found[f"{kind}_ratio"]
            print(f"  {kind}: {many:.0f} ns a decision, with {FEW} names {few:.0f}: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
