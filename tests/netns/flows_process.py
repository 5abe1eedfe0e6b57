"""Many flows at once, which all go on sending: `python -m tests.netns.flows_process GROUPS [wait]`.

GROUPS is a JSON list of [protocol, address, port, how many]. Says "ready" when each flow has had an answer;
with "wait" also before, and begins with a line on stdin. Then for each line one of JSON: a group's flows that
live, the errors that ended or met others, and what was sent and received. "hush" stops the sending first, and
waits until nothing more comes.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import sys
import time
from collections import Counter

PACE_S = 0.05
QUIET_S = 0.3


class Group:
    """Flows of one kind."""

    def __init__(self, protocol: str, address: str, port: int, count: int) -> None:
        self.stream = protocol == "tcp"
        self.errors: Counter[str] = Counter()
        self.sent = self.received = 0
        self.heard: set[int] = set()
        self.flows: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(count):
            flow = socket.socket(family, socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM)
            flow.settimeout(10)
            flow.connect((address, port))
            flow.setblocking(False)
            self.flows.append(flow)
        self.all = count

    def send(self) -> None:
        for flow in list(self.flows):
            try:
                self.sent += flow.send(b"12345678") == 8
            except BlockingIOError:
                pass
            except OSError as error:
                self._failed(flow, error)

    def receive(self, flow: socket.socket) -> None:
        try:
            data = flow.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(flow, error)
            return
        self.heard.add(id(flow))
        if self.stream and not data:
            self._end(flow, "closed")
        self.received += len(data) if self.stream else 1

    def _failed(self, flow: socket.socket, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, str(error))
        # A datagram that is refused ends nothing: such programs go on.
        ends = self.stream or error.errno in (errno.ECONNABORTED, errno.EDESTADDRREQ)
        if ends:
            self._end(flow, name)
        else:
            self.errors[name] += 1

    def _end(self, flow: socket.socket, why: str) -> None:
        if flow in self.flows:
            self.errors[why] += 1
            self.flows.remove(flow)
            flow.close()

    def report(self) -> dict[str, object]:
        received = self.received // 8 if self.stream else self.received
        return {
            "alive": len(self.flows),
            "errors": dict(self.errors),
            "sent": self.sent,
            "received": received,
            "heard": len(self.heard),
        }


def main() -> None:
    if sys.argv[2:] == ["wait"]:
        print("ready", flush=True)
        sys.stdin.readline()
    groups = [Group(*group) for group in json.loads(sys.argv[1])]
    ready = hushed = False
    last = time.monotonic()
    while True:
        owner = {flow: group for group in groups for flow in group.flows}
        readable, _, _ = select.select([sys.stdin, *owner], [], [], PACE_S)
        for flow in readable:
            if flow in owner:
                last = time.monotonic()
                owner[flow].receive(flow)
        if not hushed:
            for group in groups:
                group.send()
        if not ready and all(len(group.heard) == group.all for group in groups):
            ready = True
            print("ready", flush=True)
        if sys.stdin in readable:
            word = sys.stdin.readline().strip()
            if not word:
                return
            if word == "hush":
                hushed = True
                last = time.monotonic()
                while time.monotonic() < last + QUIET_S:
                    owner = {flow: group for group in groups for flow in group.flows}
                    for flow in select.select(list(owner), [], [], QUIET_S / 3)[0]:
                        last = time.monotonic()
                        owner[flow].receive(flow)
            print(json.dumps([group.report() for group in groups]), flush=True)


if __name__ == "__main__":
    main()
