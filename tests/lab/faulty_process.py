"""The agent with a kernel that can be made to fail: `python -m tests.lab.faulty_process CONTROL run …`.

Puts a socket of its own in the place of `socket.socket` before the agent is imported: what goes through
a netlink socket as a transaction on set elements meets the fault that the test has chosen. No line of the
product knows of it. Knows netlink's framing and no more; must not import dynallow but for its main.

    refuse NUMBER     the kernel never sees the transaction; the acknowledgement says errno NUMBER
    unsent NUMBER     `send` raises errno NUMBER, the kernel never sees it
    lost              the kernel has done it, and its acknowledgement never comes
    overrun           the same, and the next read raises ENOBUFS, as the kernel does when it dropped one
    stranger          the acknowledgement is that of another transaction
    short, garbled    the acknowledgement is cut in its header, or noise
    late              the acknowledgement comes `delay_s` after the reader has given up
    slow              `send` itself takes `delay_s`: the kernel was busy
    closed            the socket is no socket any more
    ruleset NUMBER    the kernel never sees a transaction on the table itself; it says errno NUMBER
    deaf              the kernel has done one on the table itself, and its acknowledgement never comes
    unanswered        a reply to somebody's question cannot be sent (sendmmsg): errno NUMBER
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_BATCH_BEGIN = 0x10
_SET_ELEMENTS = {(10 << 8) | 12, (10 << 8) | 14}  # NEWSETELEM, DELSETELEM
_TABLE = {10 << 8, (10 << 8) | 2}  # NEWTABLE, DELTABLE
_HEADER = struct.Struct("=IHHII")
_F_ACK = 0x4
_CAP_NET_ADMIN = 12
_CAPABILITY_VERSION = 0x20080522
_REAL = socket.socket
_real_time = time.time


@dataclass
class Plan:
    """The fault that is in force, and how often it has struck."""

    kind: str = ""
    times: int = 0
    number: int = 0
    delay_s: float = 0.0
    clock_s: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)

    def take(self, *kinds: str) -> str:
        """The kind, if it strikes here and now."""
        if not self.times or (kinds and self.kind not in kinds):
            return ""
        self.times -= 1
        self.struck[self.kind] += 1
        return self.kind


plan = Plan()


class FaultySocket(_REAL):
    """A socket whose element transactions meet the plan's fault."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.waiting: list[tuple[float, bytes | OSError]] = []
        """What the next reads find, and from when on."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        if self.family != socket.AF_NETLINK:
            return super().send(data, flags)
        if plan.kind == "ruleset":
            if not (number := _of_the_table(data)) or not plan.take():
                return super().send(data, flags)
            self.waiting.append((0.0, _acknowledgement(number, plan.number)))
            return len(data)
        if plan.kind == "deaf":
            sent = super().send(data, flags)
            if _of_the_table(data) and plan.take():
                self._all()
            return sent
        if not (sequence := _transaction(data)):
            return super().send(data, flags)
        kind = plan.take()
        if kind == "unsent":
            raise OSError(plan.number, os.strerror(plan.number))
        if kind == "refuse":
            self.waiting.append((0.0, _acknowledgement(sequence, plan.number)))
            return len(data)
        if kind == "closed":
            os.close(self.detach())
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if kind == "slow":
            time.sleep(plan.delay_s)
        sent = super().send(data, flags)
        if kind and kind != "slow":
            told = self._all()
            self.waiting += _instead(kind, told, sequence)
        return sent

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        for index, (ready, what) in enumerate(self.waiting):
            if ready <= time.monotonic():
                del self.waiting[index]
                if isinstance(what, OSError):
                    raise what
                return what
        return super().recv(size, flags)

    def _all(self) -> list[bytes]:
        """What the kernel has told of the transaction."""
        told = []
        try:
            while True:
                told.append(super().recv(1 << 16, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return told


def _instead(kind: str, told: list[bytes], sequence: int) -> list[tuple[float, bytes | OSError]]:
    """What is to be read instead of what the kernel told."""
    if kind == "overrun":
        return [(0.0, OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)))]
    if kind == "stranger":
        return [(0.0, _acknowledgement(sequence ^ 0x1234, 0))]
    if kind == "short":
        return [(0.0, struct.pack("=IHHII", 16, 2, 0, sequence, 0))]
    if kind == "garbled":
        return [(0.0, random.Random(sequence).randbytes(36))]
    if kind == "late":
        return [(time.monotonic() + plan.delay_s, one) for one in told]
    return []  # lost


def _transaction(data: Any) -> int:
    """The number that the acknowledgement will have; 0 of what is no transaction on elements alone."""
    message = bytes(data)
    at, kinds, asked = 0, set(), 0
    while at + _HEADER.size <= len(message):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(message, at)
        kinds.add(kind)
        asked = sequence if flags & _F_ACK else asked
        at += max(16, length + 3 & ~3)
    if _BATCH_BEGIN not in kinds or not kinds & _SET_ELEMENTS:
        return 0
    return asked if kinds <= _SET_ELEMENTS | {_BATCH_BEGIN, _BATCH_BEGIN + 1} else 0


def _of_the_table(data: Any) -> int:
    """The number of a transaction's first message, if that makes or deletes a table."""
    message = bytes(data[:40])
    if len(message) < 40 or _HEADER.unpack_from(message)[1] != _BATCH_BEGIN:
        return 0
    _, kind, _, sequence, _ = _HEADER.unpack_from(message, 20)
    return sequence if kind in _TABLE else 0


def _acknowledgement(sequence: int, number: int) -> bytes:
    header = _HEADER.pack(20, 0, 0, sequence, 0)
    return _HEADER.pack(36, 2, 0, sequence, 0) + struct.pack("=i", -number) + header[:16]


def _serve(control: socket.socket) -> None:
    """One line of JSON each: what is to fail from now on. The reply: how often each kind has struck."""
    while True:
        try:
            connection, _ = control.accept()
        except OSError:  # accept takes its descriptor before it waits: there may be none at this moment
            time.sleep(0.01)
            continue
        with connection, connection.makefile("rw") as stream:
            asked = json.loads(stream.readline())
            if "privileged" in asked:
                _privileged.append(asked.pop("privileged"))
                os.kill(os.getpid(), signal.SIGUSR2)  # a capability is a thread's own
            if asked:
                plan.times = 0  # not the new kind with the old one's number
                for key, value in asked.items():
                    setattr(plan, key, value)
            stream.write(json.dumps(plan.struck) + "\n")
            stream.flush()


_privileged: list[bool] = []


def _set_privilege(number: int, frame: object) -> None:
    """Take CAP_NET_ADMIN out of this thread's effective set, or put it back; the permitted one has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    sets = ctypes.create_string_buffer(24)
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("=6I", sets.raw))
    words[0] = words[0] | 1 << _CAP_NET_ADMIN if _privileged[-1] else words[0] & ~(1 << _CAP_NET_ADMIN)
    if libc.capset(header, struct.pack("=6I", *words)):
        raise OSError(ctypes.get_errno(), "capset")
    plan.struck["privileged"] += 1


def main() -> int:
    path, *words = sys.argv[1:]
    control = _REAL(socket.AF_UNIX)
    control.bind(path)
    control.listen(8)
    signal.signal(signal.SIGUSR2, _set_privilege)
    threading.Thread(target=_serve, args=(control,), daemon=True).start()
    socket.socket = FaultySocket  # type: ignore[misc]
    time.time = lambda: _real_time() + plan.clock_s
    import dynallow.msghdr as calls

    real_send = calls.sendmmsg

    def sendmmsg(*arguments: Any) -> int:
        if plan.take("unanswered"):
            ctypes.set_errno(plan.number)
            return -1
        return int(real_send(*arguments))

    for name in ("sendmmsg", "sendmmsg_held"):
        setattr(calls, name, sendmmsg)  # final for everybody else
    from dynallow.cli.main import main as dynallow

    return dynallow(words)


if __name__ == "__main__":
    sys.exit(main())
