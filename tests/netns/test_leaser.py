"""The leaser with the real ledger and the real kernel: invariants 1, 3 and 4 where they are made.

The loop runs in the test's own thread, inside the namespace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from dynallow.errors import DecideAgainError, KernelError, SetFullError, TableMissingError
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.table import Table
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name, to_text
from dynallow.tasks import Tasks
from tests.netns.kernel import Since, bare_network, flush, left_s, members, nft
from tests.netns.leases import (
    CDN,
    DEB,
    ONE,
    SIX,
    TWO,
    declare,
    ensure,
    fresh_elements,
    grant,
    make,
    run,
)


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with bare_network(tmp_path_factory.mktemp("net")):
        yield


@pytest.fixture
def elements() -> Iterator[ElementSocket]:
    yield from fresh_elements()


@pytest.fixture(params=[True, False], ids=["in place", "add-delete-add"])
def leaser(request: pytest.FixtureRequest, elements: ElementSocket) -> Leaser:
    """A leaser on fresh sets, once for kernels that refresh in place and once for those that do not."""
    return make(elements, in_place=request.param)


# ---------------------------------------------------------------- granting


def test_ensure_returns_when_the_kernel_holds_every_address(leaser: Leaser) -> None:
    since = Since()
    grants = [grant(), grant(SIX), grant(rule="apt"), grant(TWO, 500, name=CDN)]
    assert ensure(leaser, *grants) == frozenset()
    assert set(members("web_v4")) == {ONE, TWO}
    assert (set(members("web_v6")), set(members("apt_v4"))) == ({SIX}, {ONE})
    assert since.lasts("web_v4", ONE, 360, 1)
    assert since.lasts("web_v4", TWO, 560, 1)
    assert [members("web_v4")[one].comment for one in (ONE, TWO)] == ["deb.example.org", "cdn.example.net"]
    assert leaser.counts.transactions == 1


def test_ensure_kernel_deadline_is_never_earlier_than_the_ledgers(leaser: Leaser) -> None:
    for ttl in (0, 1, 300, 400):
        ensure(leaser, grant(ttl=ttl))
        before = time.monotonic()
        kernel = left_s("web_v4", ONE)
        ((_, _, lease),) = leaser.ledger.leases(before)
        assert kernel >= lease.deadline - time.monotonic()


def test_ensure_again_asks_the_kernel_for_nothing(leaser: Leaser) -> None:
    ensure(leaser, grant(ttl=300))
    ensure(leaser, grant(ttl=200), grant(ttl=300))
    assert leaser.counts.transactions == 1


def test_ensure_longer_ttl_prolongs_and_shorter_does_not_shorten(leaser: Leaser) -> None:
    ensure(leaser, grant(ttl=300))
    since = Since()
    ensure(leaser, grant(ttl=900))
    assert since.lasts("web_v4", ONE, 960, 1)
    ensure(leaser, grant(ttl=10), grant(ttl=10, name=CDN))
    assert since.lasts("web_v4", ONE, 960, 1)


def test_ensure_without_grace_holds(elements: ElementSocket) -> None:
    """`lease.grace = "0s"` is a valid setting: the time that passes meanwhile must not undo the lease."""
    leaser = make(elements, Limits(grace_s=0.0, min_s=1.0, max_s=600.0))
    since = Since()
    assert ensure(leaser, grant(ttl=300)) == frozenset()
    assert since.lasts("web_v4", ONE, 300, 1)


def test_ensure_hundred_at_once_share_few_transactions(leaser: Leaser) -> None:
    async def many() -> list[frozenset[bytes]]:
        grants = [[grant(bytes([198, 51, 100, number]))] for number in range(100)]
        return await asyncio.gather(*(leaser.ensure(one) for one in grants))

    assert run(many) == [frozenset()] * 100
    assert len(members("web_v4")) == 100
    assert leaser.counts.transactions <= 2
    assert leaser.counts.elements == 100


def test_ensure_more_than_one_transaction_holds_are_split(elements: ElementSocket) -> None:
    flush()
    declare(2000)
    leaser = make(elements, in_place=False)

    async def many() -> None:
        answers = [
            [
                grant(bytes([198, 51, block, number]), name=parse_name(f"n{block}.example.org"))
                for number in range(100)
            ]
            for block in range(12)
        ]
        await asyncio.gather(*(leaser.ensure(answer) for answer in answers))

    run(many)
    assert len(members("web_v4")) == 1200
    assert 10 <= leaser.counts.transactions <= 12  # at most 128 elements each, whole answers together


def test_ensure_one_answer_with_the_most_addresses_of_many_rules(elements: ElementSocket) -> None:
    """256 addresses (the default cap) in ten rules' sets, on a kernel without refresh in place."""
    rules = tuple(f"rule-{number}" for number in range(10))
    flush()
    declare(1000, rules)
    leaser = make(elements, in_place=False, rules=rules)
    name = parse_name(".".join(["x" * 60] * 3))
    addresses = [SIX[:14] + number.to_bytes(2, "big") for number in range(1, 257)]
    ensure(leaser, *(grant(address, rule=rule, name=name) for rule in rules for address in addresses))
    assert all(len(members(f"{rule}_v6")) == 256 for rule in rules)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("longer_first", [True, False])
@pytest.mark.parametrize("more", [0, 100], ids=["one-transaction", "two"])
def test_ensure_names_that_share_an_address_in_one_turn_leave_the_longer_lease(
    elements: ElementSocket, in_place: bool, longer_first: bool, more: int
) -> None:
    """Planned apart, written together: the kernel keeps what it is told last, so that must be the longest."""
    flush()
    declare(2000)
    leaser = make(elements, in_place=in_place)

    async def both() -> None:
        answers = [
            [grant(ttl=ttl, name=name)]
            + [grant(bytes([198, 51, block, number]), ttl, name=name) for number in range(more)]
            for block, (ttl, name) in enumerate([(900, DEB), (10, CDN)])
        ]
        if not longer_first:
            answers.reverse()
        await asyncio.gather(*(leaser.ensure(answer) for answer in answers))

    run(both)
    held = [lease.deadline for _, address, lease in leaser.ledger.leases(time.monotonic()) if address == ONE]
    assert left_s("web_v4", ONE) >= max(held) - time.monotonic() > 900


def test_ensure_client_that_gives_up_does_not_stop_the_others(leaser: Leaser) -> None:
    async def one_gives_up() -> frozenset[bytes]:
        first = asyncio.ensure_future(leaser.ensure([grant()]))
        second = asyncio.ensure_future(leaser.ensure([grant(TWO)]))
        asyncio.get_running_loop().call_soon(first.cancel)
        return await second

    assert run(one_gives_up) == frozenset()
    assert TWO in members("web_v4")


# ---------------------------------------------------------------- refusals


def test_ensure_fault_of_our_own_in_one_transaction_leaves_nobody_waiting(leaser: Leaser) -> None:
    """What comes after a transaction that ended in an unexpected error is written all the same."""
    described = leaser._describe

    def broken(name: bytes) -> str:
        if name == CDN:
            raise ZeroDivisionError("by nought")
        return described(name)

    leaser._describe = broken

    async def two() -> tuple[frozenset[bytes] | BaseException, frozenset[bytes] | BaseException]:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        bad = [grant(bytes([198, 51, 100, number]), name=CDN) for number in range(128)]
        answers = (leaser.ensure(bad), leaser.ensure([grant(ONE)]))
        async with asyncio.timeout(5):
            return await asyncio.gather(*answers, return_exceptions=True)

    failed, well = run(two)
    assert isinstance(failed, KernelError)
    assert well == frozenset()
    assert len(members("web_v4")) == 1


def test_ensure_missing_set_fails_and_leaves_no_trace(leaser: Leaser) -> None:
    missing: list[bool] = []
    leaser.on_missing = lambda why: missing.append(True)
    nft("delete", "set", "inet", "dynallow", "apt_v4")
    with pytest.raises(TableMissingError):
        ensure(leaser, grant(), grant(rule="apt"))
    assert not members("web_v4")
    assert list(leaser.ledger.leases(0.0)) == []
    assert missing
    assert leaser.counts.refused >= 1


def test_ensure_one_answer_that_is_refused_does_not_fail_its_neighbours(leaser: Leaser) -> None:
    nft("delete", "set", "inet", "dynallow", "apt_v4")

    async def three() -> list[frozenset[bytes] | BaseException]:
        answers = [[grant(ONE)], [grant(ONE, rule="apt")], [grant(TWO)]]
        return await asyncio.gather(*(leaser.ensure(one) for one in answers), return_exceptions=True)

    first, second, third = run(three)
    assert isinstance(second, TableMissingError)
    assert (first, third) == (frozenset(), frozenset())
    assert set(members("web_v4")) == {ONE, TWO}


def test_ensure_full_set_fails_only_who_does_not_fit(elements: ElementSocket) -> None:
    flush()
    declare(4)  # 8 in each set
    leaser = make(elements)  # whose own budget is far larger, so that the kernel is the one to refuse
    fits = [[grant(bytes([198, 51, 100, number]))] for number in range(7)]
    too_many = [grant(bytes([203, 0, 113, number])) for number in range(5)]

    async def all_at_once() -> list[frozenset[bytes] | BaseException]:
        everything = [*fits, too_many]
        return await asyncio.gather(*(leaser.ensure(one) for one in everything), return_exceptions=True)

    *well, badly = run(all_at_once)
    assert well == [frozenset()] * 7
    assert isinstance(badly, SetFullError)
    assert set(members("web_v4")) == {one.addresses[0] for (one,) in fits}
    assert leaser.counts.full >= 1


def test_ensure_full_set_is_tried_again_when_lapsed_elements_were_collected(elements: ElementSocket) -> None:
    flush()
    declare(1)
    leaser = make(elements)
    batch = Batch()
    for number in range(2):
        batch.add(Element("web_v4", bytes([198, 51, 100, number]), 300, b""))
    elements.commit(batch)
    assert ensure(leaser, grant()) == frozenset()
    assert ONE in members("web_v4")


class BusySocket(ElementSocket):
    """The kernel refuses its first transaction: a chain of the hash table would get too long."""

    tried = 0

    def commit(self, batch: Batch) -> None:
        self.tried += 1
        if self.tried == 1:
            batch = Batch()
            for _ in range(40):
                batch.replace(Element("web_v4", TWO, 60_000, b""))
        super().commit(batch)


def test_ensure_set_whose_table_is_growing_is_tried_again_and_nothing_healed(elements: ElementSocket) -> None:
    busy = BusySocket()
    try:
        leaser = make(busy, in_place=False)
        healed: list[str] = []
        leaser.on_missing = healed.append
        assert ensure(leaser, grant()) == frozenset()
    finally:
        busy.close()
    assert busy.tried == 2
    assert leaser.counts.refused == 1
    assert set(members("web_v4")) == {ONE}
    assert not healed


def test_prove_passes_for_a_table_that_is_fought_for_as_long_as_it_is_got_back() -> None:
    """The watchdog must not end who does that: the host would be open until another had started."""

    async def fought_for() -> list[bool]:
        table = Table(Ledger(Limits(), ["web"]), to_text, Tasks(), lambda: None)
        table.leaser.suspend()
        well = []
        for heals in (1, 1, 3, 3):  # as each round of the watchdog finds them
            table.heals = heals
            try:
                table.prove()
                well.append(True)
            except KernelError:
                well.append(False)
        table.close()
        return well

    assert run(fought_for) == [True, False, True, False]


def test_ensure_answers_at_once_do_not_overshoot_the_rules_budget(elements: ElementSocket) -> None:
    """The set is twice the budget for lapsed elements, not for a burst of new names."""
    leaser = make(elements, Limits(max_per_rule=4))

    async def burst() -> list[frozenset[bytes]]:
        answers = [[grant(bytes([198, 51, 100, n]), name=parse_name(f"n{n}.example.org"))] for n in range(20)]
        return await asyncio.gather(*(leaser.ensure(answer) for answer in answers))

    refused = run(burst)
    assert len(members("web_v4")) == 4
    assert sum(map(len, refused)) == 16


def test_ensure_waits_for_the_kernel_and_a_revocation_meanwhile_refuses_it(leaser: Leaser) -> None:
    async def raced() -> frozenset[bytes]:
        waiting = asyncio.ensure_future(leaser.ensure([grant()]))
        await asyncio.sleep(0)
        leaser.revoke(lambda rule, name: True)
        return await waiting

    with pytest.raises(DecideAgainError):
        run(raced)
    assert not members("web_v4")
    assert set(members("revoked_v4")) == {ONE}
