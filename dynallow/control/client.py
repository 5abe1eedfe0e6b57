"""The control API's client: one request, one answer, from the standard library alone.

Knows the unix socket (HTTP is `reply`'s) and what each failure means to the person at the
terminal. Must not import aiohttp or anything of the server (start time), nor
know what an answer says. Keeps: a failure to reach the agent is a ControlError
(exit 4) that tells what to do; an error that the agent answered is an
AnswerError with the exit code of its cause.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from dynallow.control.reply import LINES, BrokenReplyError, Reply, read_lines, read_reply, request
from dynallow.errors import ControlError, DynallowError, KernelError, SettingsError

DEFAULT_SOCKET = Path("/run/dynallow/control.sock")
_LOG = "its log may say why: journalctl -u dynallow"
_START = "start the agent: systemctl start dynallow, or dynallow run"
_ANSWER_MAX = 256 * 1024 * 1024  # a status of a million leases; more is not our agent
_LINE_MAX = 1024 * 1024
_SILENT_S = 60.0  # an agent that is there sends an empty line every ten seconds
_EXIT_CODES = {
    "settings-invalid": SettingsError.exit_code,
    "kernel-refused": KernelError.exit_code,
    "bad-request": 2,
}


class AnswerError(DynallowError):
    """The agent answered with an error; `code` is the API's, `faults` those of invalid settings."""

    def __init__(self, status: int, report: dict[str, Any]) -> None:
        code, text = str(report.get("code", "")), str(report.get("message", f"HTTP {status}"))
        faults = report.get("faults")
        self.faults = tuple(map(str, faults)) if isinstance(faults, list) else ()
        head = f"{text}:" if self.faults else text
        super().__init__("\n".join((head, *self.faults)), str(report.get("hint", "")))
        self.code = code
        self.exit_code = _EXIT_CODES.get(code, DynallowError.exit_code)


class Client:
    """Asks the agent behind one control socket; a connection a request."""

    def __init__(self, path: Path = DEFAULT_SOCKET, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def get(self, path: str, **query: str | None) -> dict[str, Any]:
        """A reading request. Raises ControlError, AnswerError."""
        return self._exchange("GET", _target(path, query), None)

    def post(self, path: str, **body: str | None) -> dict[str, Any]:
        """A changing request. Raises ControlError, AnswerError."""
        given = {key: value for key, value in body.items() if value is not None}
        return self._exchange("POST", path, json.dumps(given).encode("ascii"))

    def follow(self, path: str, **query: str | None) -> Iterator[dict[str, Any]]:
        """The objects of an answer that has no end, a line each. Raises ControlError, AnswerError."""
        yield from self._lines(_target(path, query), _SILENT_S, _LINE_MAX, None)

    def lines(self, path: str, **query: str | None) -> Iterator[dict[str, Any]]:
        """The objects of an answer in lines, as they come; one alone from an agent that knows no lines of it.

        Raises ControlError, AnswerError.
        """
        yield from self._lines(_target(path, query), self._timeout_s, _ANSWER_MAX, _ANSWER_MAX)

    def _lines(
        self, target: str, silent_s: float, line_max: int, body_max: int | None
    ) -> Iterator[dict[str, Any]]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(silent_s)
                sock.connect(str(self._path))
                sock.sendall(request("GET", target, None, accept=LINES))
                with sock.makefile("rb") as stream:
                    reply = read_lines(stream, line_max, body_max)
                    if isinstance(reply, Reply):
                        raise AnswerError(reply.status, self._parse(reply.body))
                    for line in reply:
                        if line.strip():
                            yield self._parse(line)
        except (OSError, BrokenReplyError) as error:
            raise self._unreachable(error) from error

    def _exchange(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        try:
            reply = self._ask(request(method, target, body))
        except (OSError, BrokenReplyError) as error:
            raise self._unreachable(error) from error
        answer = self._parse(reply.body)
        if reply.status != 200:
            raise AnswerError(reply.status, answer)
        return answer

    def _ask(self, question: bytes) -> Reply:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(self._timeout_s)
            sock.connect(str(self._path))
            sock.sendall(question)
            with sock.makefile("rb") as stream:
                return read_reply(stream, _ANSWER_MAX)

    def _parse(self, raw: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ControlError(
                f"agent not reachable: {self._path} answered something that is no dynallow agent's answer",
                hint="see what listens there: ss -xlp; --socket or DYNALLOW_SOCKET names another socket",
            )
        return answer

    def _unreachable(self, error: Exception) -> ControlError:
        where = f"agent not reachable at {self._path}"
        match error:
            case FileNotFoundError():
                return ControlError(f"{where}: there is no such socket, so it is not running", _START)
            case PermissionError():
                return ControlError(
                    f"{where}: permission denied", "run as root or as a member of group dynallow"
                )
            case ConnectionRefusedError():
                return ControlError(
                    f"{where}: its file is there, but nobody listens (its agent is gone)", _START
                )
            case TimeoutError():
                return ControlError(f"{where}: no answer within {self._timeout_s:g} s", _LOG)
            case OSError(errno=errno.EAGAIN):
                return ControlError(f"{where}: too many clients are waiting for it", "try again")
        return ControlError(f"{where}: {error or type(error).__name__}", _LOG)


def _target(path: str, query: Mapping[str, str | None]) -> str:
    given = urlencode({key: value for key, value in query.items() if value is not None})
    return f"{path}?{given}" if given else path
