"""A peer that keeps sending whatever becomes of the other side.

`python -m tests.netns.chatter_process PORT ADDRESS…`. Takes TCP connections and datagrams on that port of
each address, and sends something to each that ever came, every 50 ms. Says "ready" first, and for each line
on stdin how many packets and pieces it has sent.
"""

from __future__ import annotations

import select
import socket
import sys
from typing import Any

PACE_S = 0.05
KNOWN_MAX = 64  # the newest; those of tests before are not to crowd the wire


def main() -> None:
    port = int(sys.argv[1])
    listeners, datagrams = [], []
    for address in sys.argv[2:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(256)
        listeners.append(listener)
        peer = socket.socket(family, socket.SOCK_DGRAM)
        peer.bind((address, port))
        datagrams.append(peer)
    for opened in (*listeners, *datagrams):
        opened.setblocking(False)
    streams: list[socket.socket] = []
    known: dict[tuple[int, Any], None] = {}
    sent = 0
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([sys.stdin, *listeners, *datagrams, *streams], [], [], PACE_S)
        for sock in readable:
            if sock is sys.stdin:
                continue
            if sock in listeners:
                stream, _ = sock.accept()
                stream.setblocking(False)
                streams.append(stream)
            elif sock in datagrams:
                try:
                    known[datagrams.index(sock), sock.recvfrom(65536)[1]] = None
                    if len(known) > KNOWN_MAX:
                        del known[next(iter(known))]
                except OSError:  # a port that is closed now says so: the peer does not care
                    pass
            elif sock in streams:
                try:
                    gone = not sock.recv(65536)
                except OSError:
                    gone = True
                if gone:
                    streams.remove(sock)
        for stream in streams:
            try:
                sent += stream.send(b"12345678") > 0
            except OSError:
                pass
        for index, end in known:
            try:
                sent += datagrams[index].sendto(b"12345678", end) > 0
            except OSError:
                pass
        if sys.stdin in readable:
            if not sys.stdin.readline():
                return
            print(sent, flush=True)


if __name__ == "__main__":
    main()
