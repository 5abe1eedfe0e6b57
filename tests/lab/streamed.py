"""Scripted servers over TCP, TLS and HTTPS in one of the lab's places, from the test's side.

Knows how to start `tests.lab.streaming` as a process; what it does is told there.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from tests.lab.certificates import Certificate
from tests.lab.namespace import Namespace
from tests.lab.waiting import LabError

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Streamed:
    """One listener; `shown` None: no TLS."""

    address: str
    port: int
    act: str = "answer"
    shown: Certificate | None = None
    http: bool = False
    old: bool = False
    delay_s: float = 0.5


class StreamedServers:
    """All of them in one process in `place`."""

    def __init__(self, place: Namespace, servers: Sequence[Streamed]) -> None:
        path = place.directory / f"streamed-{next(_numbers)}.json"
        path.write_text(json.dumps([_as_config(server) for server in servers]))
        for server in servers:  # the web servers' ruleset turns other ports to their echo; not here
            rule = ["nft", "insert", "rule", "inet", "lab", "pre", "ip", "daddr", server.address, "accept"]
            place.run(rule, check=False)
        self._log = path.with_suffix(".log")
        with self._log.open("w") as log:
            self.process = place.popen(
                [place.python_path, "-m", "tests.lab.streaming", str(path)],
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Return once every port is open; the process says so itself."""
        if self.process.stdout is None or self.process.stdout.readline() != "ready\n":
            raise LabError(f"streamed servers: {self._log.read_text()}")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _as_config(server: Streamed) -> dict[str, object]:
    shown = server.shown
    return {
        "address": server.address,
        "port": server.port,
        "act": server.act,
        "http": server.http,
        "old": server.old,
        "delay_s": server.delay_s,
        "certificate": str(shown.chain) if shown else "",
        "key": str(shown.key) if shown else "",
    }
