"""What a lab leaves to read: shown with a test that failed, for failures that come once and only in CI.

Knows the files below a lab's directory and the agents' control sockets. Must not
know what went wrong, and must not make it worse: bounded in lines and in time,
and whatever cannot be read is said in one line.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path

from tests.lab.agent import UnixConnection

_LINES = 60
_BYTES = 1 << 20
_FILES = 12
_ANSWER_WITHIN_S = 2.0
_COUNTS = 80
_IDLE = re.compile(r"^#|_bucket\{| 0\.0$")


def traces(directory: Path) -> list[tuple[str, str]]:
    """(title, text) of every log in a lab that says something, the last written last; then agents' counts."""
    found: list[tuple[str, str]] = []
    try:
        found += _traces(directory)
    except OSError as error:  # somebody takes it down at this moment; what is a report worth that ends pytest
        found.append(("lab: the rest is gone", str(error)))
    return found


def _traces(directory: Path) -> Iterator[tuple[str, str]]:
    logs = [path for pattern in ("*/*/log", "*/*.log") for path in directory.glob(pattern)]
    logs = [path for path in logs if path.stat().st_size]
    for path in sorted(logs, key=lambda path: path.stat().st_mtime)[-_FILES:]:
        yield f"lab: {path.relative_to(directory)}", _tail(path)
    for socket in sorted(directory.glob("host/agent-*/control.sock")):
        yield f"lab: metrics of {socket.parent.name}", _counts(socket)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    cut = [f"({len(lines) - _LINES} lines before)"] if len(lines) > _LINES else []
    return "\n".join([*cut, *lines[-_LINES:]])


def _counts(socket: Path) -> str:
    """What the agent has counted, as far as it is not zero."""
    connection = UnixConnection(str(socket), _ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"not to be had: {error!r}"  # it has ended, or is stopped
    finally:
        connection.close()
    said = [line for line in text.splitlines() if not _IDLE.search(line)]
    return "\n".join(said[:_COUNTS])
