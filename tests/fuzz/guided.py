"""Runs a target under atheris, which prefers inputs that reach new lines of dynallow.

    python -m tests.fuzz.guided question|answer|control [EXECUTIONS [SEED]]

atheris is no dependency of the project: `pip install atheris` beside it. An
input that breaks the invariant is printed and left as `crash-…` in the
directory that is named first; the program then ends with an error.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path


def main(target: str, executions: str = "100000", seed: str = "1") -> None:
    """Never returns: libFuzzer ends the process."""
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("expected atheris beside the project's own packages: pip install atheris")
    with atheris.instrument_imports(include=["dynallow"]):
        targets = importlib.import_module("tests.fuzz.targets")
    directory = Path(tempfile.mkdtemp(prefix="dynallow-fuzz-"))
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, data in enumerate(targets.seeds(target)):
        (corpus / f"seed-{number}").write_bytes(data)
    print(f"inputs in {directory}", file=sys.stderr)
    options = [f"-runs={executions}", f"-seed={seed}", f"-artifact_prefix={directory}/", "-max_len=4096"]
    # A target that hangs is a finding; the machine's being busy is none.
    options += ["-timeout=30", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.nice(10)
    main(*sys.argv[1:])
