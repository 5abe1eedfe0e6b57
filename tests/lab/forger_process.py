"""The forger: `python -m tests.lab.forger_process LINK SERVER EVIL RATE SECONDS [cookies]`.

Knows frames, and sendmmsg through ctypes. It listens on the wire for questions
to SERVER; from the first one on it sends RATE forged answers a second for
SECONDS, never more than RATE * SECONDS. It answers what it sees at once and in
burst after burst: at the right port with every other id, with the right id and
another question, with the question in another case, with all of that right at
another port; and with `cookies`, all right but with another cookie or none. In
between it guesses.

Invariant: none of it is the right answer. One that had port, id and question
right would be the truth to anybody who trusts plain UDP without cookies, and so
is left out.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from dynallow.msghdr import Iovec, Message, sendmmsg

_BATCH = 128
_OPEN_S = 0.04  # how long a question is taken to be open
_SOL_PACKET, _QDISC_BYPASS, _IGNORE_OUTGOING = 263, 20, 23
_KINDS = ("wrong_id", "wrong_case", "wrong_question", "wrong_port", "blind")
_COOKIE_KINDS = ("wrong_cookie", "no_cookie")
_ETH, _IP, _UDP = 14, 20, 8
_DNS = _ETH + _IP + _UDP
_PORT_AT, _ID_AT = _ETH + _IP + 2, _DNS


class Question(NamedTuple):
    """A question on the wire: the frame's two MAC addresses, port, id, and its question section."""

    macs: bytes
    client: bytes
    port: int
    ident: int
    section: bytes
    at: float

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Port and id as the bytes that a frame has."""
        return (self.port >> 8, self.port & 255, self.ident >> 8, self.ident & 255)


class Volley:
    """`_BATCH` frames of one length that leave with one call."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._iovecs = (Iovec * _BATCH)()
        self._messages = (Message * _BATCH)()
        for iovec, message in zip(self._iovecs, self._messages, strict=True):
            message.head.iovs, message.head.iov_count = ctypes.addressof(iovec), 1
        self.frames = bytearray()

    def load(self, frame: bytes) -> None:
        """The same frame in every place; then `scatter` what shall differ."""
        self.frames = bytearray(frame * _BATCH)
        base = ctypes.addressof((ctypes.c_char * len(self.frames)).from_buffer(self.frames))
        for number, iovec in enumerate(self._iovecs):
            iovec.base, iovec.size = base + number * len(frame), len(frame)
        self._stride = len(frame)

    def scatter(self, at: int, values: bytes) -> None:
        """Byte `at` of each frame."""
        self.frames[at :: self._stride] = values

    def column(self, at: int) -> bytes:
        return bytes(self.frames[at :: self._stride])

    def fire(self) -> int:
        """How many the kernel took."""
        return max(0, int(sendmmsg(self._sock.fileno(), self._messages, _BATCH, 0)))


def listen(link: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    sock.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
    sock.bind((link, 0x0800))
    sock.setblocking(False)
    return sock


def read(frame: bytes, server: bytes) -> Question | None:
    """The question in a frame to the server, if it is one."""
    if len(frame) < _DNS + 17 or frame[_ETH] != 0x45 or frame[_ETH + 9] != 17:
        return None
    port, to = struct.unpack_from(">HH", frame, _ETH + _IP)
    if frame[_ETH + 16 : _ETH + 20] != server or to != 53:
        return None
    end = _DNS + 12
    while frame[end]:
        end += frame[end] + 1
    (ident,) = struct.unpack_from(">H", frame, _DNS)
    macs = frame[6:12] + frame[:6]
    section = frame[_DNS + 12 : end + 5]
    return Question(macs, frame[_ETH + 12 : _ETH + 16], port, ident, section, time.monotonic())


def forge(question: Question, server: bytes, evil: bytes, opt: bytes = b"") -> bytes:
    """The answer that would be believed, as a frame; the UDP checksum 0 says that there is none."""
    body = struct.pack(">6H", question.ident, 0x8180, 1, 1, 0, 1 if opt else 0) + question.section
    body += struct.pack(">HHHIH", 0xC00C, 1, 1, 86400, 4) + evil + opt
    udp = struct.pack(">4H", 53, question.port, _UDP + len(body), 0) + body
    head = struct.pack(">BBHHHBBH", 0x45, 0, _IP + len(udp), 0, 0x4000, 64, 17, 0) + server + question.client
    total = sum(struct.unpack(">10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:]
    return question.macs + b"\x08\0" + head + udp


def _cookie_opt(cookie: bytes) -> bytes:
    option = struct.pack(">HH", 10, len(cookie)) + cookie
    return struct.pack(">BHHIH", 0, 41, 1232, 0, len(option)) + option


class Forger:
    def __init__(self, link: str, server: str, evil: str, cookies: bool) -> None:
        self.kinds = _KINDS + _COOKIE_KINDS if cookies else _KINDS
        self.first_kinds = _KINDS[:2] + _COOKIE_KINDS if cookies else _KINDS[:2]
        self.server, self.evil = ip_address(server).packed, ip_address(evil).packed
        self.sock = listen(link)
        self.volley = Volley(self.sock)
        self.open: deque[Question] = deque(maxlen=64)
        self.new: deque[Question] = deque(maxlen=64)
        self.counts: Counter[str] = Counter()
        self.turn = 0

    def hear(self) -> None:
        """Take note of every question that passed since."""
        while True:
            try:
                frame = self.sock.recv(2048)
            except BlockingIOError:
                break
            if (question := read(frame, self.server)) is not None:
                self.open.append(question)
                self.new.append(question)
                self.counts["seen"] += 1
        while len(self.open) > 1 and self.open[0].at < time.monotonic() - _OPEN_S:
            self.open.popleft()

    def fire(self) -> None:
        """One volley: at a question that just came, else at any open one, or a guess."""
        self.turn += 1
        if self.new:
            question, kind = self.new.popleft(), self.first_kinds[self.turn % len(self.first_kinds)]
        else:
            question, kind = random.choice(self.open), self.kinds[self.turn % len(self.kinds)]
        opt = _cookie_opt(os.urandom(24)) if kind == "wrong_cookie" else b""
        self.volley.load(forge(question, self.server, self.evil, opt))
        if kind == "wrong_id":
            self._vary(_ID_AT, question.ident)
        elif kind == "wrong_port":
            self._vary(_PORT_AT, question.port)
        elif kind == "wrong_question":
            letter = question.section[1] ^ 0x01
            self.volley.scatter(_DNS + 13, bytes([letter]) * _BATCH)
        elif kind == "wrong_case":
            # Of one letter or of all: what would be taken for a server that changes it.
            name = question.section[:-5]
            other = name.swapcase() if self.turn % 2 else name[:1] + name[1:2].swapcase() + name[2:]
            for at, byte in enumerate(other, _DNS + 12):
                self.volley.scatter(at, bytes([byte]) * _BATCH)
        elif kind == "blind":
            self._guess()
        self.counts[kind] += self.volley.fire()

    def _vary(self, at: int, right: int) -> None:
        """Two bytes in every frame that are anything but right."""
        wrong = [
            right ^ (1 + value % 0xFFFF) for value in struct.unpack(f">{_BATCH}H", os.urandom(2 * _BATCH))
        ]
        self.volley.scatter(at, bytes(value >> 8 for value in wrong))
        self.volley.scatter(at + 1, bytes(value & 255 for value in wrong))

    def _guess(self) -> None:
        """Ports and ids at random, none of them right by chance."""
        keys = {question.key for question in self.open}
        while True:
            columns = [os.urandom(_BATCH) for _ in range(4)]
            if keys.isdisjoint(zip(*columns, strict=True)):
                break
        for at, column in zip((_PORT_AT, _PORT_AT + 1, _ID_AT, _ID_AT + 1), columns, strict=True):
            self.volley.scatter(at, column)


def main() -> None:
    with suppress(PermissionError):
        os.nice(-10)  # it stands for a machine of its own, which shares no core with the host
    link, server, evil, rate, seconds, *more = sys.argv[1:]
    forger = Forger(link, server, evil, "cookies" in more)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not forger.open:
        time.sleep(0.001)
        forger.hear()
    began, fired, most = time.monotonic(), 0, int(float(rate) * float(seconds))
    while (now := time.monotonic()) - began < float(seconds) and fired < most:
        if fired > (now - began) * float(rate):
            time.sleep(0.0002)
        else:
            forger.fire()
            fired += _BATCH
        forger.hear()
    sys.stdout.write(json.dumps({"seconds": time.monotonic() - began, **forger.counts}))


if __name__ == "__main__":
    main()
