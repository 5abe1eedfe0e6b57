"""Traffic beside a test, from the test's side: what must work, what must not leave, and questions.

Knows the lab's host, traffic_process.py and dnsperf. Invariant: whatever is
started here ends with its `with` block.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import NOBODY, Lab, LabError, Packet
from tests.lab.needs import has_users, require

FORBIDDEN = ("198.51.100.200", "2001:db8:51::200")


@dataclass(slots=True)
class Seen:
    """What a traffic process tells when it has ended."""

    tries: int = 0
    failed: int = 0
    first: list[list[Any]] = field(default_factory=list)


@contextmanager
def running(lab: Lab, kind: str, addresses: Sequence[str]) -> Iterator[Seen]:
    """`connect` or `forbidden` traffic to `addresses`; the result is filled in at the end of the block."""
    seen = Seen()
    process = lab.host.popen(
        [lab.host.python_path, "-m", "tests.netns.traffic_process", kind, *addresses],
        user=NOBODY if has_users() else None,
        stdin=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise LabError(f"traffic {kind} did not start")
        yield seen
        out, _ = process.communicate(timeout=90)
        told = json.loads(out)
        seen.tries, seen.failed, seen.first = told["tries"], told["failed"], told["first"]
    finally:
        process.kill()
        process.communicate()


@dataclass(slots=True)
class Load:
    """What dnsperf says at its end."""

    sent: int = 0
    completed: int = 0


@contextmanager
def questions(
    lab: Lab, names: Sequence[str], *, per_second: int = 1000, server: str = "127.0.0.1"
) -> Iterator[Load]:
    """dnsperf asks for `names`, over and over, until the block ends."""
    require("dnsperf")
    file = Path(lab.host.directory / "questions")
    file.write_text("".join(f"{name} {kind}\n" for name in names for kind in ("A", "AAAA")))
    argv = [
        "dnsperf",
        "-s",
        server,
        "-d",
        str(file),
        "-l",
        "7200",
        "-Q",
        str(per_second),
        "-t",
        "1",
        "-q",
        "5000",
    ]
    load = Load()
    # To a file: it writes a line for every question lost, and would stop for good at a full pipe.
    shown = Path(lab.host.directory / "dnsperf")
    with shown.open("w") as output:
        process = lab.host.popen(argv, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield load
        process.send_signal(signal.SIGINT)
        process.wait(90)
        text = shown.read_text()
        load.sent, load.completed = (_figure(text, word) for word in ("sent", "completed"))
    finally:
        process.kill()
        process.wait(60)


def _figure(text: str, word: str) -> int:
    found = re.search(rf"Queries {word}:\s+(\d+)", text)
    if found is None:
        raise LabError(f"dnsperf: {text}")
    return int(found[1])


def to_forbidden(packets: Sequence[Packet], addresses: Sequence[str] = FORBIDDEN) -> list[str]:
    """The packets that went where no traffic may go."""
    return [str(packet) for packet in packets if packet.from_host and packet.dst in addresses]
