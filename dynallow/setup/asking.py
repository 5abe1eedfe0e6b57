"""One DNS question over UDP: does the agent answer, before a host depends on it?

Knows as much of DNS as that takes, and no more; the real client is the C library's.
Keeps: an answer counts only from whom it was asked, with the id of the question.
"""

from __future__ import annotations

import secrets
import socket
import time

from dynallow.errors import SetupError

_LOCAL = b"\x09localhost\x00\x00\x01\x00\x01"
_SERVERS_OF_THE_ROOT = b"\x00\x00\x02\x00\x01"
_NO_ANSWERS = (None, 2, 5)  # SERVFAIL, REFUSED
_TRY_S = 2.0


def must_answer(server: str, upstreams: tuple[str, ...], within_s: float = 15.0) -> None:
    """Raise SetupError unless dynallow at `server` answers of itself, and as well as its upstreams do.

    An upstream that answers us and not dynallow is a fault; upstreams that nobody reaches are not its.
    """
    deadline = time.monotonic() + within_s
    while rcode(server, _LOCAL, _TRY_S) != 0:
        if time.monotonic() > deadline:
            raise SetupError(
                f"dynallow does not answer at {server}: resolv.conf is left as it is",
                "`journalctl -u dynallow.service` and `dynallow doctor` say why; then install again",
            )
        time.sleep(0.1)
    addresses = [each for each in upstreams if "/" not in each]
    working = [each for each in addresses if not _failed(rcode(each, _SERVERS_OF_THE_ROOT, _TRY_S))]
    while working and _failed(rcode(server, _SERVERS_OF_THE_ROOT, 2 * _TRY_S)):
        if time.monotonic() > deadline:
            raise SetupError(
                f"{working[0]} answers, and dynallow at {server} does not: resolv.conf is left as it is",
                "`dynallow doctor` says why; then install again",
            )
        time.sleep(0.1)


def _failed(found: int | None) -> bool:
    return found in _NO_ANSWERS


def rcode(server: str, question: bytes, timeout_s: float) -> int | None:
    """The reply's code (RFC 1035 section 4.1.1); None where none came in time."""
    number = secrets.token_bytes(2)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    deadline = time.monotonic() + timeout_s
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((server, 53))
            asking.send(number + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + question)
            while (left := deadline - time.monotonic()) > 0:
                asking.settimeout(left)
                reply = asking.recv(4096)
                if len(reply) >= 12 and reply[:2] == number and reply[2] & 0x80:
                    return reply[3] & 15
        except OSError:
            return None
    return None
