"""CPU time of the agent per question over TCP, by kind of question.

    python -m tests.bench.tcp [--rounds N] [--questions N]

As root. One client with one connection and so many questions in flight as is said beside each kind
("x40"): one that waits for each answer pays for a turn of the agent's loop each time. Questions with
a cookie are answered anew each time; the others are given again (`resolver/hot.py`, `denials.py`).
How other clients fare beside a crowd over TCP: `pytest -m slow -s tests/netns/test_crowd.py`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from contextlib import closing

from tests.bench import command, gauge
from tests.bench.figures import Figure, figures_table
from tests.lab import Lab
from tests.netns.asking import Client, opt, packet
from tests.netns.crowd_process import HOT, LARGE, frame
from tests.netns.manyfold import manyfold

_SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
_COOKIE = opt(options=struct.pack("!HH", 10, 8) + b"8 bytes!")
_KINDS = {
    "one address, x1": (packet(HOT), 1),
    "one address, x40": (packet(HOT), 40),
    "200 addresses, x10": (packet(LARGE), 10),
    "one address, with a cookie, x40": (packet(HOT, edns=_COOKIE), 40),
    "denied, x40": (packet("no.example.net"), 40),
}


def ask(sock: socket.socket, question: bytes, count: int, window: int) -> int:
    """Have `count` questions answered, so many in flight; how many replies were cut or empty."""
    framed, received, bad = frame(question), bytearray(), 0
    sock.sendall(framed * min(window, count))
    sent = min(window, count)
    answered = 0
    while answered < count:
        if not (data := sock.recv(1 << 18)):
            raise ConnectionError(f"closed after {answered} of {count} answers")
        received += data
        new = 0
        while len(received) >= 2 and len(received) >= (end := 2 + (received[0] << 8 | received[1])):
            bad += bool(received[4] & 2) or end < 2 + len(question)
            del received[:end]
            new += 1
        answered += new
        more = min(new, count - sent)
        sock.sendall(framed * more)
        sent += more
    return bad


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.parser("CPU per question over TCP", rounds=5)
    parser.add_argument("--questions", type=int, default=10_000, help="of each kind; default %(default)s")
    options = parser.parse_args(arguments)
    result = command.Result([], [])
    with Lab(web=False) as lab:
        lab.scripted(manyfold)
        agent = lab.agent(_SETTINGS)
        with closing(Client(lab.host)) as client:
            for turn in range(options.rounds):
                for kind, (question, window) in _KINDS.items():
                    with client.connect(within_s=30) as sock:
                        ask(sock, question, 3, 1)  # from now on it is known
                        before = gauge.usage(agent.process.pid)
                        bad = ask(sock, question, options.questions, window)
                        used = gauge.usage(agent.process.pid).since(before).total_s
                    if bad:
                        result.remarks.append(f"{kind}: {bad} replies cut or empty")
                    cpu_us = used / options.questions * 1e6
                    result.figures.append(Figure(turn, kind, "CPU a question", cpu_us, "µs"))
    command.finish(result, [figures_table(result.figures)], options)
    return result


if __name__ == "__main__":
    main()
