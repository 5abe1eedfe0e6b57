"""For an approved name a client is told what a plain forwarder of the same server would have told it.

unbound is the forwarder. Where the two differ, `compared.EXPLAINED` says why, and README too.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator

import dns.name
import pytest

from tests.lab import Lab, LabError, wait_until
from tests.lab.agent import Agent
from tests.lab.dnsbytes import SOA
from tests.lab.namespace import Namespace
from tests.lab.needs import require
from tests.lab.recursor import Unbound
from tests.lab.topology import NAME_SERVER
from tests.lab.zone import TTL
from tests.netns.asking import read_frame
from tests.netns.compared import EXPLAINED, Reply, differences, read, unexplained
from tests.netns.probes import HALF, NUMBERED, ORIGIN, OTHER, RECURSOR, SETTINGS, Probe, probes, zones

pytestmark = pytest.mark.netns


class Side:
    """One of the two resolvers, as its client reaches it."""

    def __init__(self, place: Namespace, tries: int = 1) -> None:
        self._place, self._tries = place, tries
        with place.entered():
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.connect(("127.0.0.1", 53))
        self._udp.settimeout(15)
        self._ident = 0

    def close(self) -> None:
        self._udp.close()

    def ask(self, probe: Probe) -> Reply:
        self._ident = (self._ident + 1) & 0xFFFF
        data = probe.wire(self._ident)
        reply = self._ask_tcp(data) if probe.tcp else self._ask_udp(data)
        assert reply[:2] == data[:2]
        return read(reply)

    def _ask_udp(self, data: bytes) -> bytes:
        for left in reversed(range(self._tries)):
            self._udp.send(data)
            try:
                while (reply := self._udp.recv(65535))[:2] != data[:2]:
                    pass
                return reply
            except TimeoutError:
                if not left:
                    raise
        raise AssertionError("no try at all")

    def _ask_tcp(self, data: bytes) -> bytes:
        with self._place.entered():
            sock = socket.socket()
        with sock:
            sock.settimeout(15)
            sock.connect(("127.0.0.1", 53))
            sock.sendall(struct.pack("!H", len(data)) + data)
            return read_frame(sock)


class Comparison:
    """Asks both, keeps count of what differs."""

    def __init__(self, ours: Side, theirs: Side) -> None:
        self.ours, self.theirs = ours, theirs
        self.asked: Counter[str] = Counter()
        self.seen: dict[str, Counter[str]] = defaultdict(Counter)
        self.unexplained: list[str] = []
        # The forwarder keeps a zone's SOA and that of a denial, which lives shorter, in one place.
        self.longest: dict[tuple[dns.name.Name, int], int] = {(dns.name.from_text(ORIGIN), SOA): TTL}
        """The TTL of an RRset as the forwarder told it when it was fresh."""

    def run(self, count: int, seed: int) -> None:
        for probe in probes(count, seed):
            if "TC" in self._compare(probe).flags and not probe.tcp:
                self._compare(probe._replace(tcp=True))

    def _compare(self, probe: Probe) -> Reply:
        theirs, ours = self.theirs.ask(probe), self.ours.ask(probe)
        self.asked[probe.kind] += 1
        found = differences(ours, theirs)
        for key, ttl in theirs.ttls.items():
            self.longest[key] = max(ttl, self.longest.get(key, 0))
        if any(ttl > self.longest.get(key, ttl) for key, ttl in ours.ttls.items()):
            found.add("longer ttl")
        # Where it is explained it stays so, and there is nothing to wait for.
        if 0 in ours.ttls.values() and (not unexplained(probe, {"ttl 0"}) or not self._in_last_second(probe)):
            found.add("ttl 0")
        self.seen[probe.kind].update(found)
        if unexplained(probe, found):
            self.unexplained.append(
                f"{sorted(found)} {probe}\n  ours   {ours!s:.400}\n  theirs {theirs!s:.400}"
            )
        return ours

    def _in_last_second(self, probe: Probe) -> bool:
        """Whether the recursor had no whole second left of a link that it remembers: soon there is more."""
        try:
            return wait_until(lambda: 0 not in self.ours.ask(probe).ttls.values(), "a TTL above 0")
        except LabError:
            return False

    def table(self) -> str:
        rows = [f"{'kind':38} {'asked':>6}  differ in"]
        for kind, asked in sorted(self.asked.items()):
            differ = ", ".join(f"{field} {number}" for field, number in sorted(self.seen[kind].items()))
            rows.append(f"{kind:38} {asked:6}  {differ or '-'}")
        return "\n".join(rows)


@pytest.fixture(scope="module")
def comparison(shared_lab: Lab) -> Iterator[Comparison]:
    require("unbound")
    shared_lab.serve(*zones(), addresses=NAME_SERVER)
    known = dict.fromkeys((ORIGIN, OTHER, "example.com"), NAME_SERVER[0])
    recursor = Unbound(shared_lab.internet, RECURSOR, known, recursive=True)
    shared_lab.cleanup(recursor.stop)
    recursor.wait_ready(ORIGIN)
    forwarder = Unbound(shared_lab.elsewhere, "127.0.0.1", {".": RECURSOR, HALF: NAME_SERVER[0]})
    shared_lab.cleanup(forwarder.stop)
    forwarder.wait_ready(ORIGIN)
    agent: Agent = shared_lab.agent(SETTINGS)
    # unbound may lose a question on a busy machine; dynallow may not.
    ours, theirs = Side(shared_lab.host), Side(shared_lab.elsewhere, tries=3)
    yield Comparison(ours, theirs)
    ours.close()
    theirs.close()
    assert "Traceback" not in agent.log, agent.log


def test_forwarder_of_the_same_server_tells_the_same(comparison: Comparison) -> None:
    _run(comparison, 400, seed=1)


@pytest.mark.slow
def test_forwarder_of_the_same_server_tells_the_same_ten_thousand_times(comparison: Comparison) -> None:
    _run(comparison, 10_000, seed=2)
    # A reason that explains nothing any more would hide the next difference.
    assert {kind for kind in EXPLAINED if not comparison.seen[kind]} == set()
    assert comparison.asked["address"] > NUMBERED / 2  # cached ones among them, and fresh ones


def _run(comparison: Comparison, count: int, seed: int) -> None:
    comparison.run(count, seed)
    print("\n" + comparison.table())
    if comparison.unexplained:
        pytest.fail("\n".join(comparison.unexplained[:20]))
