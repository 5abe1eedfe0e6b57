"""Sends the first packets that test_explained.py asks about: `python -m tests.netns.explained_process USER`.

Reads from stdin a JSON list of [source port, "tcp" or "udp", address, port]; each is tried once, all together
and from that port, so that what passes the wire tells which it was. Says on stdout what each program saw.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import struct
import sys

_SETTLED_S = 1.0
"""What answers here is heard in less than a millisecond; who is dropped is never answered."""
_NO_LINGER = struct.pack("ii", 1, 0)


def begin(source: int, protocol: str, address: str, port: int) -> tuple[socket.socket, int]:
    """The socket, and the errno that it has so far."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    sock.setblocking(False)
    if protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.bind(("", source))
    number = sock.connect_ex((address, port))
    if protocol == "udp" and not number:
        try:
            sock.send(b"out")
        except OSError as error:
            number = error.errno or 0
    return sock, number


def main() -> None:
    cases = json.load(sys.stdin)
    begun = {case[0]: begin(*case) for case in cases}
    waiting = {sock.fileno(): sock for sock, number in begun.values() if number == errno.EINPROGRESS}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLOUT)
    outcomes = {}
    while waiting and (ready := poll.poll(_SETTLED_S * 1000)):
        for descriptor, _ in ready:
            sock = waiting.pop(descriptor)
            poll.unregister(descriptor)
            outcomes[sock.getsockname()[1]] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    print(json.dumps({source: told(outcomes.get(source, number)) for source, (_, number) in begun.items()}))


def told(number: int) -> str:
    """ "sent", "timeout", or the errno's name."""
    return {0: "sent", errno.EINPROGRESS: "timeout"}.get(number) or errno.errorcode[number]


if __name__ == "__main__":
    main()
