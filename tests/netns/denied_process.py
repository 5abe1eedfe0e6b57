"""Many short-lived processes, each of its own user, each refused once; and a flood. For test_who.py.

Says on stdout, as JSON, which connection was whose. Knows sockets and users; must not know dynallow.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
import time
from typing import Final

FIRST_USER: Final = 20_000
FLOODED: Final = 40_000
"""The port."""
_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NAME = 15


def one(user: int, way: str, address: str, port: int, name: str, linger_s: float) -> None:
    """In a process of its own: become the user, try once, be gone."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if way == "udp" else socket.SOCK_STREAM
    sock = socket.socket(family, kind)
    sock.settimeout(0.05)
    try:
        sock.connect((address, port))
        if way == "udp":
            sock.send(b"x")
    except OSError:
        pass
    if linger_s:
        time.sleep(linger_s)
    os._exit(0)


def many(
    way: str, first: int, count: int, users: int, pace: float, linger_s: float, cgroup: str = ""
) -> None:
    """`count` processes one after the other, `pace` a second; prints [[port, uid, name, unit], …].

    Ports from `first` on. `cgroup` has one below it for each user, named as a unit is.
    """
    told = []
    began = time.monotonic()
    for number in range(count):
        user = FIRST_USER + number % users
        name = f"prog-{number % users}"
        port, unit = first + number, f"u{number % users}.service" if cgroup else ""
        address = ("198.51.100.9", "2001:db8:9::9")[number % 2]
        pid = os.fork()
        if not pid:
            if cgroup:
                with open(f"{cgroup}/{unit}/cgroup.procs", "w") as file:
                    file.write("0")
            one(user, way, address, port, name, linger_s)
        os.waitpid(pid, 0)
        told.append([port, user, name, unit])
        ahead = began + (number + 1) / pace - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    print(json.dumps(told))


def flood(pace: int, seconds: float) -> None:
    """UDP packets to one address and port, `pace` a second; prints how many, and in how many seconds.

    Straight from libc: a packet that is refused is an error to the sender, and Python's exceptions cost
    as much as the packet.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number, body = sock.fileno(), b"x"
    peer = struct.pack("=H", socket.AF_INET) + struct.pack(">H", FLOODED) + socket.inet_aton("198.51.100.9")
    peer += bytes(8)
    send = _libc.sendto
    sent, began = 0, time.monotonic()
    print("begun", flush=True)
    while (spent := time.monotonic() - began) < seconds:
        behind = int(spent * pace) - sent
        for _ in range(min(behind, 200)):
            send(number, body, 1, 0, peer, 16)
        sent += min(behind, 200)
        if behind <= 0:
            time.sleep(0.0005)
    print(json.dumps([sent, time.monotonic() - began]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "flood":
        flood(int(sys.argv[2]), float(sys.argv[3]))
        sys.exit()
    way, first, count, users, pace, linger_s, *cgroup = sys.argv[1:]
    many(way, int(first), int(count), int(users), float(pace), float(linger_s), *cgroup)
