"""The soak's client: `python -m tests.soak.client_process RATE SEED`, on the host, until its stdin ends.

Asks at a steady rate, whatever becomes of the answers, and looks in the kernel's own sets after them: the
address is there for every rule that allows the name (1), and for as long as was told (2). Judges on the
certain side: a reply was made after its question, so what a client was told lasts at least from then on.
Knows names.py and kernelsets.py, not dynallow. Its last line is what it saw, as JSON.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from contextlib import nullcontext
from typing import Any, NamedTuple

from tests.lab.dnsbytes import AAAA, A, name
from tests.netns.asking import packet
from tests.netns.kernelsets import KernelSets
from tests.soak.names import rules_of

_PATIENCE_S = 10.0
_MOST_AT_ONCE = 300
_MOST_SEEN = 2000
_HOT_LOOKED_AT = 0.2
_ROUNDING_S = 0.02  # the kernel counts in jiffies
_KINDS = ("hot", "fresh", "both", "alias", "target", "extra", "denied")
_WEIGHTS = (78, 8, 2, 2, 2, 2, 6)
_OVER_TCP = 0.03


class Here:
    """Where this process is already."""

    entered = staticmethod(nullcontext)


class Asked(NamedTuple):
    at: float
    name: str
    kind: str


class Client:
    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self.dice = random.Random(seed)
        self.sets = KernelSets(Here())  # type: ignore[arg-type]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.udp.connect(("127.0.0.1", 53))
        self.udp.setblocking(False)
        self.tcp: socket.socket | None = None
        self.buffer = b""
        self.waiting: dict[int, Asked] = {}
        self.serial = 0
        self.next_name = 1
        self.recent = [1] * 50
        self.outcomes: Counter[str] = Counter()
        self.suspicions: list[tuple[float, float, str, str]] = []
        self.looked = 0
        self.slowest_s = self.longest_silence_s = 0.0
        self.last_answer = time.monotonic()

    def run(self) -> None:
        began, sent, ends = time.monotonic(), 0, float("inf")
        while (now := time.monotonic()) < ends and not (ends < float("inf") and not self.waiting):
            if ends == float("inf"):
                for _ in range(min(int((now - began) * self.rate) - sent, _MOST_AT_ONCE)):
                    sent += 1
                    self.ask()
                if select.select([0], [], [], 0)[0]:
                    ends = now + _PATIENCE_S
            readable = [self.udp] if self.tcp is None else [self.udp, self.tcp]
            for sock in select.select(readable, [], [], 0.002)[0]:
                if sock is self.udp:
                    self.read_udp()
                else:
                    self.read_tcp()
        for asked in self.waiting.values():
            self.outcomes[f"{asked.kind} lost"] += 1

    # -- asking --------------------------------------------------------------

    def ask(self) -> None:
        (kind,) = self.dice.choices(_KINDS, _WEIGHTS)
        name = self.name(kind)
        self.serial += 1
        ident = self.serial & 0xFFFF
        if (old := self.waiting.pop(ident, None)) is not None:
            self.outcomes[f"{old.kind} lost"] += 1
        qtype = A if self.serial % 2 else AAAA
        data = packet(name, qtype, ident=ident)
        self.waiting[ident] = Asked(time.monotonic(), name, kind)
        try:
            if self.dice.random() < _OVER_TCP:
                self.send_tcp(data)
            else:
                self.udp.send(data)
        except OSError as error:  # nobody listens while the agent is away, or its line is full
            self.outcomes[f"not sent: {error.strerror or type(error).__name__}"] += 1
            self.waiting.pop(ident, None)

    def name(self, kind: str) -> str:
        if kind == "hot":
            return f"h{self.dice.randrange(200)}.web.example.org"
        if kind == "denied":
            return f"f{self.dice.randrange(10_000)}.example.com"
        if kind == "target":
            return f"t{self.dice.choice(self.recent)}.cdn.example.net"
        self.next_name += 1
        if kind == "alias":
            self.recent[self.next_name % len(self.recent)] = self.next_name
            return f"c{self.next_name}.web.example.org"
        middle = {"fresh": "web", "both": "both.web", "extra": "extra"}[kind]
        return f"f{self.next_name}.{middle}.example.org"

    def send_tcp(self, data: bytes) -> None:
        if self.tcp is None:
            self.tcp = socket.create_connection(("127.0.0.1", 53), 0.5)
            self.tcp.settimeout(0.5)
            self.buffer = b""
        try:
            self.tcp.sendall(struct.pack("!H", len(data)) + data)
        except OSError:
            self.hang_up()
            raise

    def hang_up(self) -> None:
        if self.tcp is not None:
            self.tcp.close()
            self.tcp = None

    # -- reading ---------------------------------------------------------------

    def read_udp(self) -> None:
        for _ in range(256):
            try:
                reply = self.udp.recv(65535)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self.outcomes["refused by the port"] += 1
                continue
            self.take(reply)

    def read_tcp(self) -> None:
        assert self.tcp is not None
        try:
            part = self.tcp.recv(1 << 16)
        except OSError:
            part = b""
        if not part:
            self.hang_up()
            return
        self.buffer += part
        while len(self.buffer) >= 2 and len(self.buffer) >= 2 + (size := int.from_bytes(self.buffer[:2])):
            self.take(self.buffer[2 : 2 + size])
            self.buffer = self.buffer[2 + size :]

    def take(self, reply: bytes) -> None:
        asked = self.waiting.pop(int.from_bytes(reply[:2], "big"), None)
        question = b"" if asked is None else name(asked.name)
        if asked is None or reply[12 : 12 + len(question)] != question:  # ids come round again
            self.outcomes["late or double"] += 1
            return
        now = time.monotonic()
        self.slowest_s = max(self.slowest_s, now - asked.at)
        self.longest_silence_s = max(self.longest_silence_s, now - self.last_answer)
        self.last_answer = now
        rcode, told = reply[3] & 15, addresses(reply)
        self.outcomes[f"{asked.kind} {'answered' if told else f'rcode {rcode}'}"] += 1
        if told and (asked.kind != "hot" or self.dice.random() < _HOT_LOOKED_AT):
            self.look(asked, told)

    def look(self, asked: Asked, told: list[tuple[str, int]]) -> None:
        rules = rules_of(asked.name)
        if not rules:
            self.suspect(asked, "denied", f"{asked.name} was told {told}")
        for rule in rules:
            for address, ttl in told:
                self.looked += 1
                left_s = self.sets.left_s(rule, address)
                certain_s = asked.at + ttl - time.monotonic()
                if certain_s > (left_s or 0.0) + _ROUNDING_S:
                    kind = "kernel first" if left_s is None else "lifetime"
                    self.suspect(asked, kind, f"{asked}: {address} in {rule}: {left_s} s left, told {ttl} s")

    def suspect(self, asked: Asked, kind: str, text: str) -> None:
        """Something may have been taken away between the question and this look: the parent knows."""
        self.outcomes[f"suspicion: {kind}"] += 1
        if len(self.suspicions) < _MOST_SEEN:
            self.suspicions.append((asked.at, time.monotonic(), kind, text))

    def seen(self) -> dict[str, Any]:
        return {
            "asked": self.serial,
            "outcomes": dict(sorted(self.outcomes.items())),
            "looked": self.looked,
            "suspicions": self.suspicions,
            "slowest_s": self.slowest_s,
            "longest_silence_s": self.longest_silence_s,
        }


def addresses(reply: bytes) -> list[tuple[str, int]]:
    """Address and TTL of each A and AAAA record in the answer."""
    found = []
    at = 12
    while reply[at]:
        at += reply[at] + 1
    at += 5
    for _ in range(int.from_bytes(reply[6:8], "big")):
        while reply[at] and reply[at] < 0xC0:
            at += reply[at] + 1
        at += 2 if reply[at] else 1
        kind, _, ttl, size = struct.unpack_from("!HHIH", reply, at)
        at += 10
        if kind in (A, AAAA):
            family = socket.AF_INET if kind == A else socket.AF_INET6
            found.append((socket.inet_ntop(family, reply[at : at + size]), ttl))
        at += size
    return found


if __name__ == "__main__":
    client = Client(float(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    client.run()
    print(json.dumps(client.seen()))
