"""A forger on the host's wire, from the test's side.

Knows how to start forger_process.py and what it tells at its end. It lives in
the lab alone, sends to the host alone, and ends by itself after the time and
the number of packets that it was given.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab.lab import Lab
from tests.lab.topology import SCRIPTED_SERVER, WIRE
from tests.lab.waiting import LabError

EVIL = "198.51.100.66"
"""The address in every forged answer."""


@dataclass(slots=True)
class Forged:
    """What it did; filled in at the end of the block."""

    seconds: float = 0.0
    blind: int = 0
    """Answers to a known question, at ports and ids that were guessed."""
    wrong_id: int = 0
    wrong_question: int = 0
    wrong_port: int = 0
    wrong_case: int = 0
    wrong_cookie: int = 0
    no_cookie: int = 0
    """Answers that had all but this right, because the forger had seen the question."""
    seen: int = 0

    @property
    def sent(self) -> int:
        seen = self.wrong_id + self.wrong_question + self.wrong_port + self.wrong_case
        return self.blind + seen + self.wrong_cookie + self.no_cookie

    @property
    def rate(self) -> float:
        """Packets a second, as they really left."""
        return self.sent / self.seconds


@contextmanager
def forging(
    lab: Lab, *, rate: int, seconds: float, server: str = SCRIPTED_SERVER[0], cookies: bool = False
) -> Iterator[tuple[Forged, subprocess.Popen[str]]]:
    """Forges answers of `server` to whatever the host asks it, from the first question that it sees on.

    With `cookies`, also such that are right in all but the cookie: for hosts that know the server's.
    Leaving the block waits for its end.
    """
    forged = Forged()
    words = [WIRE, server, EVIL, str(rate), str(seconds), *(["cookies"] if cookies else [])]
    process = lab.router.popen(
        [lab.router.python_path, "-m", "tests.lab.forger_process", *words], stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        if (line := process.stdout.readline()) != "ready\n":
            raise LabError(f"forger: {line}{process.stdout.read()}")
        yield forged, process
        out, _ = process.communicate(timeout=seconds + 30)
        for key, value in json.loads(out).items():
            setattr(forged, key, value)
    finally:
        process.kill()
        process.communicate()
