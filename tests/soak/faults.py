"""What befalls the agent in a soak, one thing at a time, each undone before the next.

Each fault returns when it is over; that the agent works again then is for the caller to see. Invariant of
each: it ends with everything as it was, also where it fails half-way.
"""

from __future__ import annotations

import errno
import random
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab import topology
from tests.lab.faulty import FaultyAgent, lowest_free
from tests.lab.lab import Lab
from tests.lab.scripted import ScriptedServer
from tests.soak.names import EXTRA, SETTINGS

_LASTS_S = 1.0
_KERNEL_FAULTS = (
    ("refuse", errno.ENOMEM),
    ("refuse", errno.EBUSY),
    ("refuse", errno.ENFILE),
    ("refuse", errno.ERESTART),
    ("unsent", errno.EMSGSIZE),
    ("unsent", errno.ENOBUFS),
    ("lost", 0),
    ("overrun", 0),
    ("stranger", 0),
    ("short", 0),
    ("garbled", 0),
    ("late", 0),
    ("slow", 0),
)
_TAMPERINGS = (
    "flush table inet dynallow",
    "delete table inet dynallow",
    "flush set inet dynallow web_v4",
    "flush chain inet dynallow output",
    "insert rule inet dynallow output accept",
    "add element inet dynallow web_v4 { 198.51.100.200 timeout 1h }",
)


@dataclass
class Bed:
    """What a fault can get at."""

    lab: Lab
    agent: FaultyAgent
    server: ScriptedServer
    dice: random.Random
    extra: bool = True

    def settings(self) -> str:
        return SETTINGS + (EXTRA if self.extra else "")


def kill(bed: Bed) -> None:
    """kill -9, and started again as a service manager does."""
    bed.agent.kill()
    bed.agent.start()


def restart(bed: Bed) -> None:
    """SIGTERM, and started again."""
    bed.agent.stop()
    bed.agent.start()


def hang_up(bed: Bed) -> None:
    """SIGHUP with other rules: one goes, or comes back."""
    bed.extra = not bed.extra
    bed.agent.write_settings(bed.settings())
    reloads = bed.agent.log.count("reloaded: ")
    bed.agent.process.send_signal(signal.SIGHUP)
    _until(lambda: bed.agent.log.count("reloaded: ") > reloads)


def broken_reload(bed: Bed) -> None:
    """A reload of settings that are no settings: nothing changes."""
    bed.agent.reload(bed.settings().replace('"enforce"', '"enforced"'))
    bed.agent.write_settings(bed.settings())


def flush(bed: Bed) -> None:
    """`dynallow flush`, of a rule or of a name."""
    what = bed.dice.choice((("--rule", "web"), ("--rule", "both"), ("--name", "h3.web.example.org")))
    bed.agent.cli("flush", *what)


def tamper(bed: Bed) -> None:
    """Somebody else's hand on the table; over when it is whole again, or was refused by the kernel."""
    whole = bed.agent.log.count("is whole again")
    done = bed.lab.host.run(["nft", "-f", "-"], stdin=bed.dice.choice(_TAMPERINGS), check=False)
    if done.returncode == 0:
        _until(lambda: bed.agent.log.count("is whole again") > whole)


def upstream(bed: Bed) -> None:
    """The upstream is silent, slow, garbled, …"""
    how = bed.dice.choice(("silent", "failing", "garbled", "wrong", "slow", "private"))
    try:
        bed.server.turn(fails=how)
        time.sleep(_LASTS_S)
    finally:
        bed.server.turn(fails="")


def stop(bed: Bed) -> None:
    """The process stands still for a second: SIGSTOP."""
    bed.agent.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1.0)
    finally:
        bed.agent.process.send_signal(signal.SIGCONT)


def descriptors(bed: Bed) -> None:
    """No descriptor is to be had: neither for an upstream's socket nor for a client."""
    pid = bed.agent.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free(pid), before[1]))
        time.sleep(_LASTS_S)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def kernel(bed: Bed) -> None:
    """Transactions that the kernel refuses, or does not acknowledge as it should."""
    kind, number = bed.dice.choice(_KERNEL_FAULTS)
    bed.agent.fault(kind, bed.dice.choice((1, 3, 10)), number=number, delay_s=0.1)
    try:
        time.sleep(0.5)
    finally:
        bed.agent.mend()


def replies(bed: Bed) -> None:
    """Replies that cannot be sent."""
    bed.agent.fault("unanswered", 200, number=bed.dice.choice((errno.ENOBUFS, errno.EPERM)))
    try:
        time.sleep(0.5)
    finally:
        bed.agent.mend()


def clock(bed: Bed) -> None:
    """The wall clock jumps by a year, and back."""
    bed.agent.set_clock(bed.dice.choice((-1, 1)) * 365 * 86400.0)
    try:
        time.sleep(0.5)
    finally:
        bed.agent.set_clock(0.0)


def link(bed: Bed) -> None:
    """The host's link goes down, with its routes, and comes up again."""
    host, (_, six) = bed.lab.host, topology.HOST
    try:
        host.ip("link set eth0 down")
        time.sleep(_LASTS_S)
    finally:
        host.ip(
            "link set eth0 up",
            f"addr replace {six}/64 dev eth0 nodad",
            *(f"route replace default via {gateway} dev eth0" for gateway in topology.HOST_GATEWAY),
        )


def _until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Return when it holds, or at the latest then: that nothing came of it is seen by what comes next."""
    ends = time.monotonic() + within_s
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)


@dataclass(frozen=True)
class Fault:
    """`weight` of it in the draw; `takes` leases away, or leaves the host open, by somebody's will."""

    strike: Callable[[Bed], None]
    weight: int
    takes: bool = False
    ends_the_process: bool = False


FAULTS = {
    "kill -9": Fault(kill, 3, ends_the_process=True),
    "restart": Fault(restart, 2, ends_the_process=True),
    "SIGHUP": Fault(hang_up, 2, takes=True),
    "broken reload": Fault(broken_reload, 1),
    "flush": Fault(flush, 2, takes=True),
    "tampering": Fault(tamper, 4, takes=True),
    "upstream": Fault(upstream, 4),
    "stopped": Fault(stop, 2),
    "descriptors": Fault(descriptors, 2),
    "kernel": Fault(kernel, 8),
    "replies": Fault(replies, 1),
    "clock": Fault(clock, 1),
    "link": Fault(link, 2),
}
