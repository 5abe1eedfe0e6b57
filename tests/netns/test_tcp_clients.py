"""TCP clients that misbehave: slow, silent, never reading, far too many (DESIGN section 10, invariant 10).

What the slow ones meet takes its time, so all of them run side by side, once,
and each test looks at one fate. UDP clients must not notice any of it.
"""

from __future__ import annotations

import re
import resource
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import pytest

from tests.lab import Lab, dnsbytes, wait_until
from tests.lab.agent import Agent
from tests.lab.standing import clock
from tests.lab.waiting import in_time
from tests.netns.asking import V4, V6, Client, packet, read, read_frame
from tests.netns.manyfold import manyfold

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
[[rule]]
name = "listed"
names = ["*.example.org"]
"""
FIRST_BYTE_S, IDLE_S, MESSAGE_S, WRITE_S = 3.0, 10.0, 10.0, 10.0
SLACK_S = 1.5
CROWD, CONNECTIONS_MAX = 1100, 1024
MEMORY_BYTES = 32 << 20
UDP_WITHIN_S = 1.5  # who had to wait for a TCP client would wait for FIRST_BYTE_S at least
_fresh = count(1)


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> object:
    return shared_lab.scripted(manyfold)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, upstream: object) -> Agent:
    """With as few descriptors as a login shell gives, though it may ask for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        return shared_lab.agent(SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def client(shared_lab: Lab, agent: Agent) -> Iterator[Client]:
    client = Client(shared_lab.host)
    yield client
    client.close()
    assert agent.process.poll() is None, agent.log
    assert "Traceback" not in agent.log, agent.log


# -- slow ones, side by side --------------------------------------------------


class Fates:
    """What became of each slow client: until it was cut off, or what it got.

    `cut_s` has seconds at least, from before the agent began to count, and at most, on a machine that
    goes on.
    """

    def __init__(self, client: Client, agent: Agent) -> None:
        self.cut_s: dict[str, tuple[float, float]] = {}
        self.answered: dict[str, list[str]] = {}
        self.udp_slowest_s = 0.0
        self._client = client
        before = agent.rss_bytes()
        threads = [threading.Thread(target=self._play, args=(play,)) for play in PLAYS]
        for thread in threads:
            thread.start()
        self.grown_bytes = 0
        while any(thread.is_alive() for thread in threads):
            self._ask_by_udp()
            self.grown_bytes = max(self.grown_bytes, agent.rss_bytes() - before)

    def _play(self, play: Callable[[Fates, socket.socket, float], None]) -> None:
        began = time.monotonic()
        with self._client.connect(V6, within_s=30) as sock:
            play(self, sock, began)

    def _ask_by_udp(self) -> None:
        """A cached name and a fresh one."""
        for name in ("good.example.org", f"f{next(_fresh)}.example.org"):
            began = clock()
            assert self._client.ask(name).rcode == "NOERROR"
            self.udp_slowest_s = max(self.udp_slowest_s, clock() - began)
        time.sleep(0.02)  # the pace of the questions, no wait for anything


def _frame(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def _until_cut(sock: socket.socket, before: float) -> tuple[float, float]:
    began = clock()
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - before, clock() - began


def silent_from_the_start(fates: Fates, sock: socket.socket, began: float) -> None:
    fates.cut_s["silent"] = _until_cut(sock, began)


def idle_after_an_answer(fates: Fates, sock: socket.socket, began: float) -> None:
    sock.sendall(_frame(packet("good.example.org")))
    fates.answered["idle"] = [*read(read_frame(sock)).addresses]
    fates.cut_s["idle"] = _until_cut(sock, began)


def stuck_in_a_message(fates: Fates, sock: socket.socket, began: float) -> None:
    sock.sendall(_frame(packet("good.example.org"))[:9])
    fates.cut_s["stuck"] = _until_cut(sock, began)


def stuck_after_one_byte(fates: Fates, sock: socket.socket, began: float) -> None:
    sock.sendall(b"\0")
    fates.cut_s["one byte"] = _until_cut(sock, began)


def byte_by_byte(fates: Fates, sock: socket.socket, began: float) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in _frame(packet("good.example.org")):
        sock.sendall(bytes((byte,)))
        time.sleep(0.03)  # the client's own slowness
    fates.answered["byte by byte"] = [*read(read_frame(sock)).addresses]


def drip(fates: Fates, sock: socket.socket, began: float) -> None:
    """One byte a second, each of which would start an idle timer anew."""
    going = clock()
    try:
        for byte in _frame(packet("good.example.org")):
            sock.sendall(bytes((byte,)))
            # The end is heard when it comes, not a byte later.
            if select.select([sock], [], [], 1.0)[0] and not sock.recv(1):
                break
    except ConnectionError:
        pass
    fates.cut_s["drip"] = time.monotonic() - began, clock() - going


def never_reading(fates: Fates, sock: socket.socket, began: float) -> None:
    """Questions with large answers without end, and not one byte is read."""
    question = _frame(packet("many200.example.org")) * 50
    sock.settimeout(0.5)
    going = clock()
    while clock() - going < 3 * WRITE_S:
        try:
            sock.sendall(question)  # may stop half-way: nonsense to the agent, and cut off all the same
        except TimeoutError:
            continue
        except ConnectionError:
            fates.cut_s["never reading"] = time.monotonic() - began, clock() - going
            return


def pipelining(fates: Fates, sock: socket.socket, began: float) -> None:
    """A hundred questions in one write; each is answered when its answer is there (RFC 7766 section 7)."""
    names = [f"p{number}.example.org" for number in range(100)]
    questions = [packet(name) for name in names]
    sock.sendall(b"".join(_frame(question) for question in questions))
    replies = [read_frame(sock) for _ in questions]
    assert sorted(reply[:2] for reply in replies) == sorted(question[:2] for question in questions)
    fates.answered["pipelining"] = [address for reply in replies for address in read(reply).addresses]


PLAYS = (
    silent_from_the_start,
    idle_after_an_answer,
    stuck_in_a_message,
    stuck_after_one_byte,
    byte_by_byte,
    drip,
    never_reading,
    pipelining,
)


@pytest.fixture(scope="module")
def fates(client: Client, agent: Agent) -> Fates:
    return Fates(client, agent)


@pytest.mark.parametrize(
    ("who", "after_s"),
    [
        ("silent", FIRST_BYTE_S),
        ("idle", IDLE_S),
        ("stuck", MESSAGE_S),
        ("one byte", MESSAGE_S),
        ("drip", MESSAGE_S),
    ],
)
def test_slow_tcp_client_is_cut_off_in_time(fates: Fates, who: str, after_s: float) -> None:
    at_least_s, at_most_s = fates.cut_s[who]
    assert after_s - 0.1 <= at_least_s
    in_time(at_most_s, after_s + SLACK_S)


def test_tcp_client_that_never_reads_is_cut_off_and_costs_no_memory(fates: Fates) -> None:
    assert fates.grown_bytes < MEMORY_BYTES
    in_time(fates.cut_s["never reading"][1], WRITE_S + 2 * SLACK_S)


def test_tcp_question_byte_by_byte_is_answered(fates: Fates) -> None:
    assert fates.answered["byte by byte"] == ["192.0.2.1"]
    assert fates.answered["idle"] == ["192.0.2.1"]


def test_tcp_questions_in_one_write_are_all_answered(fates: Fates) -> None:
    assert fates.answered["pipelining"] == ["192.0.2.1"] * 100


def test_udp_clients_do_not_notice_slow_tcp_clients(fates: Fates) -> None:
    in_time(fates.udp_slowest_s, UDP_WITHIN_S)


# -- a crowd ------------------------------------------------------------------


def test_crowd_of_tcp_clients_is_bounded_and_udp_clients_do_not_notice(agent: Agent, client: Client) -> None:
    """1,100 at once: 1,024 are kept, whoever sat there longest is closed, and names are still resolved."""
    before, began = agent.rss_bytes(), time.monotonic()
    with _many_descriptors(), _crowd(client, CROWD) as crowd:
        for name in ("good.example.org", *(f"c{number}.example.org" for number in range(50))):
            asked = clock()
            assert client.ask(name, dnsbytes.A, V4).rcode == "NOERROR", agent.log
            in_time(clock() - asked, UDP_WITHIN_S)
        closed = wait_until(
            lambda: _count_closed(crowd) >= CROWD - CONNECTIONS_MAX and _count_closed(crowd), "the first cut"
        )
        if closed > CROWD - CONNECTIONS_MAX + 5:
            in_time(time.monotonic() - began, FIRST_BYTE_S, "filling the agent's places")
        assert closed <= CROWD - CONNECTIONS_MAX + 5
        assert agent.rss_bytes() - before < 4 * MEMORY_BYTES
        wait_until(lambda: _count_closed(crowd) == CROWD, "all of the crowd cut off")
    assert client.ask("good.example.org", tcp=True).rcode == "NOERROR"


def test_crowd_that_asks_is_answered(agent: Agent, client: Client) -> None:
    """A thousand well-behaved ones all get their answer."""
    question = packet("good.example.org")
    with _many_descriptors(), _crowd(client, 1000) as crowd:
        for sock in crowd:
            sock.sendall(_frame(question))
        for sock in crowd:
            sock.settimeout(60)
            assert [*read(read_frame(sock)).addresses] == ["192.0.2.1"]


def test_halves_of_long_questions_are_bounded_together_and_others_do_not_notice(
    agent: Agent, client: Client
) -> None:
    """Of 700 clients that say 64 KiB come, and send nearly all of it: 44 MB. DESIGN's 32 MiB are kept."""
    before, cut = agent.rss_bytes(), _counted(agent, 'questions_total{outcome="tcp_cut"}')
    half = b"\xff\xff" + bytes(64_000)
    with _many_descriptors(), _crowd(client, 700) as crowd:
        for sock in crowd:
            sock.settimeout(0.2)
            with suppress(ConnectionError, TimeoutError):
                sock.sendall(half)
        wait_until(
            lambda: _counted(agent, 'questions_total{outcome="tcp_cut"}') - cut >= 100, "some to be cut"
        )
        assert 24 << 20 < _counted(agent, "tcp_held_bytes") <= 32 << 20
        assert agent.rss_bytes() - before < 64 << 20  # what they take, and what grows must be copied to
        assert client.ask("good.example.org").rcode == "NOERROR"
        assert client.ask("good.example.org", tcp=True).rcode == "NOERROR"
    wait_until(lambda: _counted(agent, "tcp_held_bytes") == 0, "all of it given back")


def _counted(agent: Agent, metric: str) -> float:
    found = re.search(rf"^dynallow_{re.escape(metric)} (\S+)$", agent.get("/metrics")[1], re.MULTILINE)
    assert found is not None, metric
    return float(found[1])


@contextmanager
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _crowd(client: Client, size: int) -> Iterator[list[socket.socket]]:
    crowd: list[socket.socket] = []
    try:
        for _ in range(size):
            crowd.append(client.connect(V4))
        yield crowd
    finally:
        for sock in crowd:
            sock.close()


def _count_closed(crowd: list[socket.socket]) -> int:
    return sum(_is_closed(sock) for sock in crowd)


def _is_closed(sock: socket.socket) -> bool:
    try:
        sock.settimeout(0)
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
