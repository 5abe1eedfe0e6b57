"""The process that holds one namespace of the lab, run as a plain script.

Knows how to leave the machine's network and mounts for fresh ones. Must not
import anything of the project: it starts with `-I -S`, in 20 ms.

Invariant: the namespace and everything that runs in it end with the process
that asked for it, even after its kill -9. The pipe on stdin says so (it
closes with the last holder of its other end). PR_SET_PDEATHSIG was rejected:
it fires when the *thread* that forked ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC_PRIVATE = 0x4000 | 0x40000


def leave() -> None:
    """Enter fresh network and mount namespaces; later mounts stay in here."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    if libc.mount(None, b"/", None, MS_REC_PRIVATE, None) != 0:
        sys.exit(f"making mounts private: {os.strerror(ctypes.get_errno())}")


def inhabitants(spare: set[int]) -> list[int]:
    """Processes in this network namespace; zombies have none and do not count."""
    own = os.readlink("/proc/self/ns/net")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in spare:
            try:
                if os.readlink(f"/proc/{entry}/ns/net") == own:
                    found.append(int(entry))
            except OSError:
                continue
    return found


def sweep(spare: set[int]) -> None:
    """Kill until nobody is left: a process may fork while it is being looked for."""
    while victims := inhabitants(spare):
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.001)


def main() -> None:
    # The parent may have a thread inside this namespace: never kill it.
    spare = {os.getpid(), os.getppid()}
    leave()
    os.write(1, b"ready\n")
    while os.read(0, 1):
        pass
    sweep(spare)


if __name__ == "__main__":
    main()
