"""What was asked is in a list, once, whichever way it was answered; and lists have an end."""

from __future__ import annotations

from collections import Counter

import pytest

from dynallow.policy.names import parse_name
from dynallow.policy.verdict import DENIED, FILTERED
from dynallow.resolver.seen import BATCHES_MAX, FEW, ROOM, Batch, question_of
from tests.unit.resolver.host import DEB, WEB, Host, on_host, question
from tests.unit.resolver.nameserver import Nameserver


def refused(batches: list[Batch]) -> Counter[tuple[bytes, int, str]]:
    """Every denied and filtered question by name, type and outcome."""
    found: Counter[tuple[bytes, int, str]] = Counter()
    for batch in batches:
        found.update((name, qtype, verdict.outcome.value) for name, qtype, verdict in batch.refused)
        found.update((*question_of(packet), DENIED.value) for packet in batch.kin)
        for outcome, asked in ((DENIED, batch.denied), (FILTERED, batch.filtered)):
            for packet, times in asked.items():
                found[(*question_of(packet), outcome.value)] += times
    return found


def again(host: Host, packet: bytes) -> bool:
    """Whether the store of denials answers it."""
    replies: list[bytes | None] = [None]
    return host.road.repeat([packet[2:]], replies, [0], host.now) == []


@pytest.mark.parametrize("observe", [False, True])
def test_every_denied_and_filtered_question_is_seen_once_however_it_is_answered(observe: bool) -> None:
    async def work(host: Host, server: Nameserver) -> None:
        asked = [("a.example.net", "A"), ("b.example.net", "A"), ("EVIL.example", "AAAA"), (DEB, "TXT")]
        for name, qtype in asked * 3:
            if not again(host, question(name, qtype)):
                await host.ask(name, qtype)
        await host.ask(DEB, "A")
        counts = host.road.counts
        found = refused(host.road.denials.seen.drain())
        types = {"A": 1, "AAAA": 28, "TXT": 16}
        assert found == {
            (parse_name(name), types[qtype], "filtered" if name == DEB else "denied"): 3
            for name, qtype in asked
        }
        assert counts.denied + counts.filtered == found.total()
        assert not host.road.denials.seen

    on_host(work, observe=observe)


def test_answer_in_mode_observe_to_a_name_that_no_rule_lists_is_told_and_never_hot() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        for _ in range(2):
            await host.ask(DEB)
        (batch,) = host.road.denials.seen.drain()
        assert [(told[0], told[2].outcome, told[3].rcode) for told in batch.told] == [
            (parse_name(DEB), DENIED, 0)
        ] * 2
        assert len(batch.leased) == 1
        assert len(host.road.hot) == 0

    on_host(work, allowed=type(WEB)(), observe=True)


def test_question_that_this_host_answers_itself_is_none_of_the_denied() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("localhost")
        assert host.road.counts.local == 1
        assert not host.road.denials.seen.drain()

    on_host(work)


def test_drain_after_other_terms_tells_each_under_its_own() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("a.example.net")
        first = host.road.terms
        host.road.change(type(first)(first.policy, first.limits, True, "nxdomain"))
        await host.ask("b.example.net")
        batches = host.road.denials.seen.drain()
        assert [batch.terms.observe for batch in batches] == [False, True]

    on_host(work)


def test_flood_that_nobody_drains_is_bounded_and_counted() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("aaaaaa.example.net")
        packet = question("aaaaaa.example.net")[2:]
        count = (BATCHES_MAX + 3) * ROOM // 64 * 64
        for first in range(0, count, 64):
            burst = [packet.replace(b"aaaaaa", b"%06d" % (first + number)) for number in range(64)]
            host.road.repeat(burst, [None] * 64, list(range(64)), host.now)
        seen = host.road.denials.seen
        batches = seen.drain()
        assert sum(len(batch.denied) + len(batch.kin) for batch in batches) <= (BATCHES_MAX + 1) * (ROOM + 64)
        assert refused(batches).total() + seen.untold == count + 1 == host.road.counts.denied
        assert seen.untold > ROOM

    on_host(work)


def test_one_question_however_often_is_counted_exactly_in_no_room() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        await host.ask("a.example.net")
        burst = [question("a.example.net")[2:]] * 64
        for _ in range(5000):
            host.road.repeat(burst, [None] * 64, list(range(64)), host.now)
        (batch,) = host.road.denials.seen.drain()
        assert list(batch.denied.values()) == [5000 * 64 - len(batch.kin)]
        assert len(batch.kin) <= 1
        assert host.road.denials.seen.untold == 0

    on_host(work)


def test_flood_of_names_on_the_road_is_bounded_and_counted() -> None:
    async def work(host: Host, server: Nameserver) -> None:
        seen, verdict = host.road.denials.seen, host.road.decide(parse_name("evil.example"), 1)
        count = (BATCHES_MAX + 3) * FEW
        for _ in range(count):
            seen.refuse(b"\4evil\0", 1, verdict)
        assert refused(seen.drain()).total() + seen.untold == count
        assert seen.untold > FEW

    on_host(work)
