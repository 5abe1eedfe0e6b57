"""Case and cookies, from the real agent to real name servers and to odd ones.

knotd with its cookies module wants a good cookie for every question over UDP; unbound and
knotd without it keep the case and give none. The odd ones are scripted. Shown by `status`,
the metrics, and the questions as they stood on the wire.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from tests.lab import Lab, Zone
from tests.lab.agent import Agent
from tests.lab.guarded import cookie_of, guarded
from tests.lab.needs import require
from tests.lab.recursor import Unbound
from tests.lab.scenarios import fresh_address
from tests.lab.topology import NAME_SERVER
from tests.netns.asking import Client

pytestmark = pytest.mark.netns

STRICT, RECURSOR = "10.10.0.14", "10.10.0.15"
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["%s"]
[[rule]]
name = "all"
names = [".example.org"]
"""
ZONE = Zone("example.org")
for _number in range(30):
    ZONE.a(f"n{_number}", fresh_address(_number))
_addresses = (f"10.10.0.{number}" for number in count(16))
_numbers = count(100, 50)
Told = tuple[bool, bool]
"""`keeps_case` and `gives_cookies` of the one upstream."""


class Asking:
    """The agent, which asks one server after the other; counts are since the last `of`."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._before: Counter[str] = Counter()

    def of(self, server: str) -> None:
        """Ask this one from now on."""
        self.agent.reload(SETTINGS % server)
        self._before = self._packets()

    def counted(self, kind: str) -> int:
        return self._packets()[kind] - self._before[kind]

    def _packets(self) -> Counter[str]:
        line = r'^dynallow_upstream_packets_total{kind="(.*)"} (.*)$'
        found = re.findall(line, self.agent.get("/metrics")[1], re.MULTILINE)
        return Counter({kind: int(float(number)) for kind, number in found})


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(web=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def honest(lab: Lab) -> str:
    return lab.serve(ZONE, addresses=[NAME_SERVER[0]]).addresses[0]


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Iterator[Agent]:
    agent = lab.agent(SETTINGS % NAME_SERVER[0])
    yield agent
    agent.stop()
    assert "Traceback" not in agent.log, agent.log


@pytest.fixture
def asking(agent: Agent) -> Asking:
    return Asking(agent)


def told(agent: Agent) -> Told:
    (upstream,) = agent.cli_json("status")["upstreams"]
    assert upstream["failed"] == 0, upstream
    metrics = agent.get("/metrics")[1]
    for by, on in (("case", upstream["keeps_case"]), ("cookie", upstream["gives_cookies"])):
        line = rf'^dynallow_upstream_checked{{by="{by}",server="[^"]*"}} (.*)$'
        checked = re.search(line, metrics, re.MULTILINE)
        assert checked is not None, metrics
        assert float(checked[1]) == on
    return upstream["keeps_case"], upstream["gives_cookies"]


def ask(lab: Lab, first: int, count: int) -> None:
    """Fresh names one after the other; each must have its own address."""
    with closing(Client(lab.host)) as client:
        for number in range(first, first + count):
            (reply,) = client.ask_all([f"n{number}.example.org"])
            assert set(reply.addresses) == {fresh_address(number)}


def test_knot_keeps_case_and_gives_no_cookies_unless_told_to(lab: Lab, asking: Asking, honest: str) -> None:
    asking.of(honest)
    ask(lab, 0, 10)
    assert told(asking.agent) == (True, False)
    assert asking.counted("tcp") == asking.counted("mismatched") == 0


def test_knot_that_wants_cookies_gets_them_without_tcp(lab: Lab, asking: Asking) -> None:
    asking.of(lab.serve(ZONE, addresses=[STRICT], cookies=True).addresses[0])
    ask(lab, 10, 10)
    assert told(asking.agent) == (True, True)
    assert asking.counted("tcp") == asking.counted("mismatched") == 0, "BADCOOKIE is no reason for TCP"


def test_unbound_keeps_case_and_gives_no_cookies(lab: Lab, asking: Asking, honest: str) -> None:
    require("unbound")
    recursor = Unbound(lab.internet, RECURSOR, {"example.org": honest})
    lab.cleanup(recursor.stop)
    recursor.wait_ready("example.org")
    asking.of(RECURSOR)
    ask(lab, 20, 10)
    assert told(asking.agent) == (True, False)
    assert asking.counted("tcp") == 0


@pytest.mark.parametrize(
    ("knobs", "expected", "tcp"),
    [
        ({"case": "lower"}, (False, False), 1),
        ({"case": "lower", "cookies": True}, (False, True), 1),
        ({"case": "udp"}, (True, False), 10),
    ],
    ids=str,
)
def test_odd_server_is_found_out_and_every_question_answered(
    lab: Lab, asking: Asking, knobs: dict[str, Any], expected: Told, tcp: int
) -> None:
    server = lab.scripted(guarded, addresses=[next(_addresses)], **knobs)
    asking.of(server.addresses[0])
    ask(lab, next(_numbers), 10)
    assert told(asking.agent) == expected
    assert asking.counted("tcp") == asking.counted("miscased") == tcp
    shown = asking.agent.cli("status").stdout.splitlines()
    line = next(line for line in shown if line.startswith("upstreams"))
    assert (", changes case" in line, ", gives cookies" in line) == (not expected[0], expected[1])


def test_server_that_gives_cookies_no_longer_and_then_again_is_believed_all_along(
    lab: Lab, asking: Asking
) -> None:
    server = lab.scripted(guarded, addresses=[next(_addresses)], cookies=True)
    asking.of(server.addresses[0])
    number = next(_numbers)
    ask(lab, number, 3)
    assert told(asking.agent) == (True, True)
    asking.agent.reload()
    assert told(asking.agent) == (True, True), "a reload forgets nothing"
    server.turn(cookies=False)
    ask(lab, number + 3, 3)
    assert told(asking.agent) == (True, False)
    assert asking.counted("cookieless") == asking.counted("tcp") == 1
    server.turn(cookies=True)
    ask(lab, number + 6, 3)
    assert asking.counted("tcp") == 1
    assert "gives no DNS cookies any more" in asking.agent.log


def test_case_and_cookie_on_the_wire_are_as_they_should_be(lab: Lab, asking: Asking) -> None:
    """Each name in a case of its own; one cookie, with the server's part from the second question on."""
    server = lab.scripted(guarded, addresses=[next(_addresses)], cookies=True)
    asking.of(server.addresses[0])
    sniffer = lab.sniffer()
    number = next(_numbers)
    ask(lab, number, 12)
    packets = sniffer.stop()
    questions = [one.payload[8:] for one in packets if one.from_host and one.dst == server.addresses[0]]
    names = [question[12 : question.index(0, 12)] for question in questions]
    assert [name.lower() for name in names] == [
        b"\x04n%d\x07example\x03org" % one for one in range(number, number + 12)
    ]
    assert len({name[6:] for name in names}) > 8, "ten letters: 1,024 ways to write them"
    first, *others = map(cookie_of, questions)
    assert (len(first), {len(cookie) for cookie in others}) == (8, {24})
    assert {cookie[:8] for cookie in others} == {first}
