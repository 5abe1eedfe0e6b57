"""Processes on the host that connect and resolve for a test; the other half is visitor_process.py."""

from __future__ import annotations

import json
import subprocess
from types import TracebackType
from typing import Any

from tests.lab.namespace import Namespace
from tests.lab.waiting import LabError

PORT = 8007  # the lab's servers echo there


class Visitor:
    """One process in `host`; use as a context manager."""

    def __init__(self, host: Namespace) -> None:
        argv = [host.python_path, "-m", "tests.netns.visitor_process"]
        self._process = host.popen(argv, stdin=subprocess.PIPE)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def visit(self, address: str) -> dict[str, str]:
        """{"tcp": "ok", "udp": "ok"}, or the name of the error."""
        result: dict[str, str] = self._tell(f"visit {address} {PORT}")
        return result

    def probe(self, addresses: list[str], within_s: float = 1.5) -> list[dict[str, str]]:
        """As `visit` for each of many, side by side."""
        results: list[dict[str, str]] = self._tell(f"probe {within_s} {PORT} {' '.join(addresses)}")
        return results

    def resolve(self, name: str) -> list[str]:
        """By getaddrinfo, both families."""
        found: list[str] = self._tell(f"resolve {name} {PORT}")
        return found

    def _tell(self, line: str) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise LabError("visitor without pipes")
        stdin.write(line + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise LabError(f"visitor ended with {self._process.poll()}")
        return json.loads(answer)
