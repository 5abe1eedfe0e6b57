"""One service's work of a day: `python -m tests.lab.day_process ERRAND…`, each once, in order.

An errand is `KIND:WHERE[:PORT]`: `tcp` and `udp` to a name or [address] and a port (connected to and
answered, or not), `ask` a name of the resolver that resolv.conf names, `dns` a name of another server
(`dns:NAME:SERVER`). Prints one line of JSON: the errands that failed, with why.
"""

from __future__ import annotations

import json
import socket
import sys

PATIENCE_S = 30.0  # for an answer that is on its way; a refusal comes at once
SILENCE_S = 1.0  # for one that nobody expects


def connect(kind: str, host: str, port: int) -> None:
    """As a program does it: each address that the resolver gives, until one answers. Raises OSError."""
    problem: OSError | None = None
    for family, how, _, _, address in socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    ):
        try:
            with socket.socket(family, how) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(address)
                sock.send(b"GET / HTTP/1.0\r\n\r\n")
                sock.recv(4096)  # also the end: a TLS server has nothing to say to this
                return
        except OSError as error:
            problem = error
    raise problem or OSError("no address")


def question(name: str) -> bytes:
    """An A question with RD."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\0\0\1\0\1"


def ask_elsewhere(name: str, server: str) -> None:
    """Ask a server past the host's resolver; an answer with an address is success. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SILENCE_S)
        sock.connect((server, 53))
        sock.send(question(name))
        reply = sock.recv(4096)
    if not int.from_bytes(reply[6:8]):
        raise OSError(f"rcode {reply[3] & 15}, no records")


def run(errand: str) -> None:
    """Raises OSError where it fails."""
    kind, _, rest = errand.partition(":")
    if kind == "ask":
        socket.getaddrinfo(rest, None, socket.AF_INET, socket.SOCK_DGRAM)
        return
    where, _, last = rest.rpartition(":")
    if kind == "dns":
        ask_elsewhere(where, last)
    else:
        connect(kind, where, int(last))


def main(errands: list[str]) -> None:
    failed = {}
    for errand in errands:
        try:
            run(errand)
        except OSError as error:
            failed[errand] = f"{type(error).__name__}: {error}"
    print(json.dumps(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
