"""Many short-lived processes, each of its own user, each refused once; and a flood. For test_who.py.

Says on stdout, as JSON, which connection was whose. Knows sockets and users; must not know dynallow.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import time
from typing import Final

FIRST_USER: Final = 20_000
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


def many(way: str, count: int, users: int, pace: float, linger_s: float, cgroup: str = "") -> None:
    """`count` processes one after the other, `pace` a second; prints [[port, uid, name], …]."""
    told = []
    began = time.monotonic()
    for number in range(count):
        user = FIRST_USER + number % users
        name = f"prog-{number % users}"
        port = 2000 + number
        address = ("198.51.100.9", "2001:db8:9::9")[number % 2]
        pid = os.fork()
        if not pid:
            if cgroup:
                with open(f"{cgroup}/u{number % users}.service/cgroup.procs", "w") as file:
                    file.write("0")
            one(user, way, address, port, name, linger_s)
        os.waitpid(pid, 0)
        told.append([port, user, name])
        ahead = began + (number + 1) / pace - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    print(json.dumps(told))


if __name__ == "__main__":
    way, count, users, pace, linger_s, *cgroup = sys.argv[1:]
    many(way, int(count), int(users), float(pace), float(linger_s), *cgroup)
