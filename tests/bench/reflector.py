"""Not a resolver: the least that a process can do with a question. A program of its own.

    python tests/bench/reflector.py

Sends each packet back as an answer, always with the same address. What it costs, and
how long it takes, is what a Python process, its wake-up, the kernel and dnsperf cost
together: no figure of a real server can be read without that floor below it.
"""

from __future__ import annotations

import socket

_FLAGS = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"  # response, one question, one answer
_ANSWER = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc6\x12\x00\x01"


def main() -> None:
    """Until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 53))
        while True:
            packet, client = listener.recvfrom(1500)
            end = packet.index(0, 12) + 5  # behind the question: what follows, OPT, is not sent back
            listener.sendto(packet[:2] + _FLAGS + packet[12:end] + _ANSWER, client)


if __name__ == "__main__":
    main()
