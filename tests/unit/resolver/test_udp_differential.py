"""The UDP listener beside a plain loop of `recvfrom` and `sendto`: the same replies."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.policy.names import parse_name
from dynallow.policy.policy import Policy
from dynallow.policy.verdict import Verdict
from dynallow.resolver.mmsg import DATAGRAM_MAX
from tests.unit.resolver.host import DEB, WEB, Host, on_host, question
from tests.unit.resolver.nameserver import Nameserver, zone
from tests.unit.resolver.udp_client import Client, listening, with_listener


async def plain(host: Host, packet: bytes) -> bytes | None:
    """What a loop of `recvfrom` and `sendto` would reply: the road, and nothing before it."""
    return await host.road.walk(packet[: 12 if len(packet) > DATAGRAM_MAX else None], udp=True)


NAMES = (DEB, DEB.upper(), "no.example.net", "other.example.net", "example.org")
ASKED = st.builds(
    question,
    st.sampled_from(NAMES),
    st.sampled_from(["A", "AAAA", "TXT", "ANY"]),
    edns=st.booleans(),
    id=st.integers(0, 0xFFFF),
)
CUT = st.builds(lambda packet, size: packet[:size], ASKED, st.integers(0, 40))
LONGER = st.builds(lambda packet, size: packet + bytes(size), ASKED, st.sampled_from([1, 2000, 5000]))
STEPS = st.lists(
    st.tuples(
        st.lists(ASKED | ASKED | ASKED | CUT | LONGER | st.binary(max_size=60), min_size=1, max_size=80),
        st.sampled_from([0.0, 0.3, 1.0, 7.7, 100.0, 299.5, 400.0]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_any_packets_get_the_replies_of_a_plain_loop(steps: list[tuple[list[bytes], float]]) -> None:
    """Two hosts that live through the same, one of them with stores and bursts."""

    async def run(host: Host, server: Nameserver) -> None:
        other = Host(server, WEB)
        async with listening(host) as client:
            for packets, passed in steps:
                expected = [reply for packet in packets if (reply := await plain(other, packet)) is not None]
                for packet in packets:
                    client.sock.send(packet)
                replies = await client.replies(len(expected))
                assert Counter(replies) == Counter(expected)
                host.pass_time(passed)
                other.pass_time(passed)
            assert not client.has_more()
        await other.tasks.stop()

    on_host(run, zone(f"{DEB} 300 IN A 192.0.2.1"))


def test_question_that_makes_the_road_fail_costs_its_own_answer_alone() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        policy, poison = host.road.terms.policy, parse_name("poison.example.net")

        class Broken:
            def decide(self, name: bytes, qtype: int, wall: float) -> Verdict:
                if name == poison:
                    raise ZeroDivisionError("by nought")
                return policy.decide(name, qtype, wall)

        host.road.terms = dataclasses.replace(host.road.terms, policy=cast(Policy, Broken()))
        for number in range(20):
            name = "poison" if number == 10 else f"denied-{number}"
            client.sock.send(question(f"{name}.example.net", id=number))
        ids = {struct.unpack(">H", reply[:2])[0] for reply in await client.replies(19)}
        assert ids == {*range(20)} - {10}
        assert (host.tasks.failed, client.has_more()) == (1, False)

    with_listener(work)


def test_more_others_than_wait_at_once_are_all_answered() -> None:
    async def work(host: Host, client: Client, server: Nameserver) -> None:
        got: set[int] = set()
        for start in range(0, 600, 200):
            for number in range(start, start + 200):
                client.sock.send(question(f"denied-{number}.example.net", id=number))
            got |= {struct.unpack(">H", reply[:2])[0] for reply in await client.replies(200)}
        assert got == set(range(600))

    with_listener(work)
