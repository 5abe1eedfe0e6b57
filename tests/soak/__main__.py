"""`python -m tests.soak [--minutes 30] [--rate 1000] [--seed N]`: the long run; exit 1 on any violation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.lab.lab import Lab
from tests.soak.run import soak

WARM_UP_S = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="questions a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="where to write what the agent has logged")
    args = parser.parse_args()
    with Lab(web=False) as lab:
        report = soak(lab, seconds=args.minutes * 60, rate=args.rate, seed=args.seed)
    if args.log is not None:
        args.log.write_text(report.log)
    print(report.text(WARM_UP_S))
    return 1 if report.violations or report.tracebacks else 0


if __name__ == "__main__":
    sys.exit(main())
