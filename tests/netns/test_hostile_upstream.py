"""An upstream that lies gets nothing into the kernel but what the client was validly told.

Each lie is asked for A over UDP and for AAAA over TCP, side by side. Whatever the agent
makes of it: the reply comes in time, the new elements are exactly the
addresses in the reply, those are exactly the ones that the lie may bring
about, and an honest name still resolves afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import count
from typing import TypeVar

import pytest

from tests.lab import Lab, ScriptedServer, dnsbytes, wait_until
from tests.lab.agent import Agent
from tests.lab.hostile import EVIL_PREFIXES, GOOD, LIES, NOTHING, honest_address, hostile, pointing_at
from tests.lab.standing import clock
from tests.lab.waiting import TooSlowError, in_time
from tests.netns.asking import PROMISED_WITHIN_S, Client, Told, ede_of
from tests.netns.kernelsets import KernelSets
from tests.netns.special import SPECIAL

pytestmark = pytest.mark.netns

OWN = ("192.0.2.77", "2001:db8:77::77")  # documentation space: only being the host's own speaks against them
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12", "[fd00:10::12]:53"]
timeout = "%s"
stale = "0s"
[[resolver.zone]]
names = [".closed.example.org"]
upstreams = ["10.10.0.10"]
[[resolver.zone]]
names = [".second.example.org"]
upstreams = ["10.10.0.10", "10.10.0.12"]
[[rule]]
name = "hostile"
names = [".hostile.example.org", ".closed.example.org", ".second.example.org"]
[[rule]]
name = "inside"
names = [".inside.example.org"]
private = ["10.0.0.0/8", "fc00::/7"]
"""
CAP = 256  # lease.max-addresses-per-name
_numbers = count(1)
T = TypeVar("T")
_late = set[str]()  # true addresses of names whose answers came too late to be told, if they came


@pytest.fixture(scope="module")
def server(shared_lab: Lab) -> ScriptedServer:
    shared_lab.host.ip(f"addr add {OWN[0]}/32 dev lo", f"addr add {OWN[1]}/128 dev lo nodad")
    return shared_lab.scripted(hostile)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, server: ScriptedServer) -> Agent:
    """Short patience: a lie that ends in silence costs three tries."""
    return shared_lab.agent(SETTINGS % "150ms")


@pytest.fixture
def client(shared_lab: Lab) -> Iterator[Client]:
    client = Client(shared_lab.host)
    yield client
    client.close()


@pytest.fixture
def sets(shared_lab: Lab, agent: Agent) -> Iterator[KernelSets]:
    """Checked at the end of each test: no evil address came in, and the agent lives."""
    sets = KernelSets(shared_lab.host)
    before = sets.members("hostile")
    yield sets
    new = sets.members("hostile").keys() - before.keys()
    sets.close()
    assert not [address for address in new if address.startswith(EVIL_PREFIXES)]
    assert agent.process.poll() is None, agent.log
    assert "Traceback" not in agent.log, agent.log


@contextmanager
def _patience(agent: Agent, lie: str) -> Iterator[None]:
    """The default timeout for lies that keep the lab's own server busy longer than the short one."""
    if not lie.startswith(("addresses-", "flood")):
        yield
        return
    assert agent.reload(SETTINGS % "2s").returncode == 0
    try:
        yield
    finally:
        assert agent.reload(SETTINGS % "150ms").returncode == 0


@pytest.mark.parametrize("lie", sorted(LIES))
def test_lie_of_an_upstream_grants_only_what_was_validly_told(
    agent: Agent, client: Client, sets: KernelSets, lie: str
) -> None:
    has_answer = lie.startswith("addresses-") or LIES[lie].told == GOOD

    def once() -> tuple[str, tuple[Told, Told]]:
        name = f"{lie}-{next(_numbers)}.hostile.example.org"
        before = sets.members("hostile").keys()
        replies = client.ask_both_ways(name)
        told = replies[0].addresses.keys() | replies[1].addresses.keys()
        assert sets.members("hostile").keys() - before - _late == told
        if has_answer:
            _must_be_heard(*replies)
        return name, replies

    with _patience(agent, lie):
        name, replies = _until_heard(once)
    for told, rtype in zip(replies, (dnsbytes.A, dnsbytes.AAAA), strict=True):
        assert told.rcode in ("NOERROR", "SERVFAIL")
        if lie.startswith("addresses-"):  # the cap is the name's, for both families together
            assert sum(len(each.addresses) for each in replies) == CAP
        elif LIES[lie].told == GOOD:
            assert list(told.addresses) == [honest_address(name, rtype)], told.message
        else:
            assert LIES[lie].told == NOTHING
            assert not told.addresses, told.message
    _honest_name_resolves(client)


@pytest.mark.parametrize("address", SPECIAL)
def test_special_purpose_address_in_an_answer_is_left_out(
    client: Client, sets: KernelSets, address: str
) -> None:
    name = f"{pointing_at(address, next(_numbers))}.hostile.example.org"
    rtype = dnsbytes.A if ip_address(address).version == 4 else dnsbytes.AAAA
    told = _ask_and_compare(client, sets, name, rtype)
    assert list(told.addresses) == [honest_address(name, rtype)]


@pytest.mark.parametrize(
    "address",
    [*OWN, "64:ff9b::c000:24d", "2002:c000:24d::1", "::ffff:192.0.2.77", "10.10.1.2", "fd00:10:1::2"],
)
def test_hosts_own_address_in_an_answer_is_left_out(client: Client, sets: KernelSets, address: str) -> None:
    name = f"{pointing_at(address, next(_numbers))}.hostile.example.org"
    rtype = dnsbytes.A if ip_address(address).version == 4 else dnsbytes.AAAA
    told = _ask_and_compare(client, sets, name, rtype)
    assert list(told.addresses) == [honest_address(name, rtype)]


def test_address_that_became_the_hosts_own_is_left_out(
    shared_lab: Lab, client: Client, sets: KernelSets
) -> None:
    """The host's addresses change while the agent runs (DHCP, a container bridge)."""

    def told_now() -> list[str]:
        name = f"{pointing_at('192.0.2.99', next(_numbers))}.hostile.example.org"
        told = client.ask(name)
        _must_be_heard(told)
        return list(told.addresses)

    assert "192.0.2.99" in _until_heard(told_now)
    shared_lab.host.ip("addr add 192.0.2.99/32 dev lo")
    try:
        wait_until(lambda: "192.0.2.99" not in _until_heard(told_now), "the new address is noticed")
    finally:
        shared_lab.host.ip("addr del 192.0.2.99/32 dev lo")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("fd12::3", True),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("::ffff:10.1.2.3", False),
        ("::10.1.2.3", False),
        ("64:ff9b::a01:203", False),
        ("64:ff9b:1::a01:203", False),
        ("2002:a01:203::1", False),
        ("2001:0:a01:203::1", False),
        ("fe80::1", False),
    ],
)
def test_private_prefix_of_a_rule_opens_that_prefix_alone(
    client: Client, sets: KernelSets, address: str, allowed: bool
) -> None:
    """An IPv6 form that embeds a private IPv4 address leaves by another road, so it stays shut."""
    name = f"{pointing_at(address, next(_numbers))}.inside.example.org"
    rtype = dnsbytes.A if ip_address(address).version == 4 else dnsbytes.AAAA
    told = _ask_and_compare(client, sets, name, rtype, "inside")
    assert (str(ip_address(address)) in told.addresses) is allowed
    assert honest_address(name, rtype) in told.addresses


def test_upstream_whose_port_is_closed_gives_servfail_at_once(client: Client, sets: KernelSets) -> None:
    """ICMP port unreachable is an answer of a kind: no reason to wait."""
    began = clock()
    told = client.ask(f"ok-{next(_numbers)}.closed.example.org")
    assert told.rcode == "SERVFAIL"
    in_time(clock() - began, 1.0)


def test_first_upstream_closed_second_answers(client: Client, sets: KernelSets) -> None:
    name = f"ok-{next(_numbers)}.second.example.org"
    told = _ask_and_compare(client, sets, name, dnsbytes.A)
    assert list(told.addresses) == [honest_address(name, dnsbytes.A)]


def test_many_lies_at_once_leave_only_what_was_told(agent: Agent, client: Client, sets: KernelSets) -> None:
    """Answers that share a transaction must not share their addresses."""
    lies = [lie for lie in LIES if not lie.startswith("addresses-")]

    def once() -> None:
        before = sets.members("hostile").keys()
        names = [f"{lie}-{next(_numbers)}.hostile.example.org" for lie in lies for _ in range(3)]
        told: set[str] = set()
        for answer in client.ask_all(names, within_s=30):
            told |= answer.addresses.keys()
        honest = {honest_address(name, dnsbytes.A) for name in names if LIES[_lie_of(name)].told == GOOD}
        # Some run out of time: the server plays all of them in one thread.
        assert told <= honest
        assert sets.members("hostile").keys() - before - _late == told
        _late.update(honest)
        if len(told) <= len(honest) / 2:
            raise TooSlowError(f"{len(told)} of {len(honest)} were answered in time")

    with _patience(agent, "flood"):
        _until_heard(once)


def test_silent_upstream_with_default_timeouts_gives_servfail_within_4_s(
    patient: Agent, client: Client
) -> None:
    """Before glibc gives up (5 s) and asks again; side by side, to spare the suite the time."""
    lies = ("silence", "tcp-silent", "wrong-id", "tcp-half-then-silent")
    names = [f"{lie}-{next(_numbers)}.hostile.example.org" for lie in lies]
    began = clock()
    replies = client.ask_all(names, within_s=30)
    took_s = clock() - began
    assert {told.rcode for told in replies} == {"SERVFAIL"}
    _honest_name_resolves(client)
    in_time(took_s, PROMISED_WITHIN_S)


@pytest.fixture(scope="module")
def patient(shared_lab: Lab, agent: Agent) -> Agent:
    """The same agent once more, with the default timeout; the last tests of the module use it."""
    agent.stop()
    agent.write_settings(SETTINGS % "2s")
    agent.start()
    return agent


def _ask_and_compare(client: Client, sets: KernelSets, name: str, rtype: int, rule: str = "hostile") -> Told:
    """The reply, after the sets were found to have grown by exactly its addresses."""

    def once() -> Told:
        before = sets.members(rule)
        told = client.ask(name, rtype)
        assert told.rcode in ("NOERROR", "SERVFAIL")
        grown = sets.members(rule).keys() - before.keys()
        assert grown - _late == told.addresses.keys() - before.keys() - _late
        assert told.addresses.keys() <= sets.members(rule).keys()
        _must_be_heard(told)
        return told

    return _until_heard(once)


def _lie_of(name: str) -> str:
    return name.split(".", 1)[0].rpartition("-")[0]


def _honest_name_resolves(client: Client) -> None:
    def once() -> None:
        name = f"honest-{next(_numbers)}.hostile.example.org"
        told = client.ask(name)
        _must_be_heard(told)
        assert list(told.addresses) == [honest_address(name, dnsbytes.A)]

    _until_heard(once)


def _until_heard(once: Callable[[], T]) -> T:
    """What it brings, asked again where the lab's server stood still for longer than the short patience."""
    for _ in range(10):
        try:
            return once()
        except TooSlowError:
            time.sleep(0.3)  # a failure is remembered for a moment
    return once()


def _must_be_heard(*replies: Told) -> None:
    """The lab's server has answered within the agent's short patience; else nothing is shown."""
    for told in replies:
        if any("no answer in " in text for _, text in ede_of(told)):
            name = told.message.question[0].name.to_text(omit_final_dot=True)
            _late.update(honest_address(name, rtype) for rtype in (dnsbytes.A, dnsbytes.AAAA))
            raise TooSlowError(f"the lab's server: {ede_of(told)}")
