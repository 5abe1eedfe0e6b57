"""What tests of revocation share: an agent whose clock and death they order, many flows, a peer that goes on.

Knows the lab and the programs beside it. Must not import dynallow but by the agent's own process.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.lab import Lab, Namespace, Packet, Zone
from tests.lab.agent import Agent
from tests.lab.needs import ROOT, require_lab

FOUR, SIX = "192.0.2.10", "2001:db8::a"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "web"
names = ["www.example.org"]
ports = ["tcp/6005", "udp/6005"]
{expires}
[[rule]]
name = "api"
names = ["api.example.org"]
ports = ["tcp/6006", "udp/6006"]
[[rule]]
name = "far"
names = ["far.example.org"]
ports = ["tcp/6005"]
[[destination]]
name = "mirror"
addresses = ["192.0.2.10", "2001:db8::/124"]
ports = ["tcp/6007", "udp/6007"]
"""
WITHOUT_WEB = SETTINGS.replace("www.example.org", "other.example.org")
# In the agent alone: a wall clock that the test sets, and a death that it orders.
SITE = """
import os, time
here = os.path.dirname(os.path.abspath(__file__))
real = time.time
def told():
    try:
        with open(here + "/offset") as file:
            return real() + float(file.read())
    except (OSError, ValueError):
        return real()
time.time = told
if os.path.exists(here + "/dies"):
    with open(here + "/dies") as file:
        module, name = file.read().split()
    import importlib
    def dying(*args, **kwargs):
        os.unlink(here + "/dies")
        os.kill(os.getpid(), 9)
    setattr(importlib.import_module(module), name, dying)
"""


@contextmanager
def furnished() -> Iterator[Lab]:
    """A lab whose names stand for one address of each family, with port 6005 left to the chatterer."""
    require_lab()
    with Lab() as lab:
        lab.serve(Zone("example.org").both("www", 10).both("api", 10).both("other", 20).both("far", 30))
        accept = ["nft", "insert", "rule", "inet", "lab", "pre", "meta", "l4proto", "{", "tcp,", "udp", "}"]
        lab.internet.run([*accept, "th", "dport", "6005", "accept"])
        yield lab


def chatterer(lab: Lab) -> AbstractContextManager[subprocess.Popen[str]]:
    """A peer on port 6005 that keeps sending."""
    return process(lab.internet, "chatter_process", "6005", FOUR, SIX)


@contextmanager
def process(place: Namespace, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m tests.netns.WORDS` in `place`, when it is ready."""
    argv = [place.python_path, "-m", f"tests.netns.{words[0]}", *words[1:]]
    started = place.popen(argv, stdin=subprocess.PIPE)
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        yield started
    finally:
        started.kill()
        started.communicate()


def say(process: subprocess.Popen[str], word: str = "report") -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


class Trial(Agent):
    """The agent with a settable clock and a death by order, without some of the kernel's features."""

    without: tuple[str, ...] = ()

    def _start(self) -> subprocess.Popen[str]:
        (self.directory / "sitecustomize.py").write_text(SITE)
        words = [word for feature in self.without for word in ("--without", feature)]
        argv = ["-m", "dynallow", "run", *words, "--config", str(self.config)]
        env = {"PYTHONPATH": f"{self.directory}:{ROOT}"}
        with self._log.open("a") as log:
            return self.host.popen([self.host.python_path, *argv], stdout=log, stderr=log, env=env)

    def later(self, seconds: float) -> None:
        """Set its wall clock."""
        written = self.directory / "offset.new"
        written.write_text(str(seconds))
        written.rename(self.directory / "offset")

    def dies(self, module: str, name: str) -> None:
        """At the first call of that function, from the next start on."""
        (self.directory / "dies").write_text(f"{module} {name}")


class OldTrial(Trial):
    """As on a kernel without the newer features."""

    without = ("conntrack-filter", "sock-destroy", "in-place-refresh")


def started(lab: Lab, kind: type[Trial], settings: str = SETTINGS) -> Trial:
    agent = kind(lab.host, settings.format(expires=""))
    lab.cleanup(agent.kill)
    agent.wait_ready()
    lab.host.resolv_conf(*agent.listens_on)
    return agent


def resolve(host: Namespace, *names: str) -> None:
    for name in names:
        assert host.addresses(f"{name}.example.org") == [FOUR]
        assert host.addresses(f"{name}.example.org", "AAAA") == [SIX]


def to_them(packets: list[Packet], *ports: int) -> list[Packet]:
    return [p for p in packets if p.from_host and p.dst in (FOUR, SIX) and p.dport in ports]
