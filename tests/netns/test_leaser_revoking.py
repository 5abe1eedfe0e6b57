"""The leaser takes leases away, and finds them again after a restart or a stranger's hand."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from dynallow.errors import KernelError, TableMissingError
from dynallow.firewall.leaser import Leaser
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.watch import Watch
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name, to_text
from tests.netns.kernel import Since, bare_network, flush, left_s, members, nft
from tests.netns.leases import (
    CDN,
    DEB,
    ONE,
    RULES,
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


# ---------------------------------------------------------------- revoking


def test_revoke_takes_the_element_and_blocks_the_address(leaser: Leaser) -> None:
    since = Since()
    ensure(leaser, grant(), grant(TWO, name=CDN), grant(SIX))
    revocation = leaser.revoke(lambda rule, name: name == DEB)
    assert sorted(revocation.cut) == sorted([ONE, SIX])
    assert set(members("web_v4")) == {TWO}
    assert not members("web_v6")
    assert (set(members("revoked_v4")), set(members("revoked_v6"))) == ({ONE}, {SIX})
    assert since.lasts("revoked_v4", ONE, 600, 1)


def test_revoke_again_prolongs_the_block(leaser: Leaser) -> None:
    ensure(leaser, grant())
    leaser.revoke(lambda rule, name: True)
    nft("add", "element", "inet", "dynallow", "revoked_v4", "{ 192.0.2.2 timeout 1m }")
    since = Since()
    leaser.revoke(lambda rule, name: True, gone=[TWO])
    assert since.lasts("revoked_v4", TWO, 600, 1)


def test_revoke_shared_address_is_judged_anew_and_stays_in_the_other_rule(leaser: Leaser) -> None:
    ensure(leaser, grant(), grant(rule="apt", name=CDN))
    revocation = leaser.revoke(lambda rule, name: name == DEB)
    assert not members("web_v4")
    assert set(members("apt_v4")) == {ONE}
    assert set(members("revoked_v4")) == {ONE}
    leaser.release(revocation.cut)
    assert not members("revoked_v4")
    assert ensure(leaser, grant(ttl=1, rule="apt", name=CDN)) == frozenset()
    assert leaser.counts.transactions == 1, "nothing is left to unblock"


def test_ensure_after_a_revocation_unblocks_in_the_same_transaction(leaser: Leaser) -> None:
    ensure(leaser, grant(), grant(TWO))
    leaser.revoke(lambda rule, name: True)
    ensure(leaser, grant(), grant(rule="apt"))
    assert (set(members("web_v4")), set(members("apt_v4"))) == ({ONE}, {ONE})
    assert set(members("revoked_v4")) == {TWO}
    assert leaser.counts.transactions == 2


def test_revoke_refused_by_the_kernel_leaves_the_ledger(leaser: Leaser) -> None:
    ensure(leaser, grant())
    nft("delete", "set", "inet", "dynallow", "revoked_v4")
    with pytest.raises(TableMissingError):
        leaser.revoke(lambda rule, name: True)
    assert {address for _, address, _ in leaser.ledger.leases(time.monotonic())} == {ONE}
    assert set(members("web_v4")) == {ONE}


def test_revoke_every_lease_of_several_full_rules_at_once(elements: ElementSocket) -> None:
    """With the sizes that `build` gives: the revoked set must hold what all rules can lose."""
    from dynallow.firewall import load
    from dynallow.firewall.build import build_ruleset
    from dynallow.settings import Settings

    rules = ("web", "apt", "git")
    settings = Settings.model_validate(
        {
            "lease": {"max-per-rule": 3},
            "rule": [{"name": rule, "names": ["a.example.org"]} for rule in rules],
        }
    )
    flush()
    load.load(build_ruleset(settings, [], 0), elements)
    leaser = make(elements, Limits(max_per_rule=3), rules=rules)
    grants = [
        grant(bytes([198, 51, place, number]), rule=rule)
        for place, rule in enumerate(rules)
        for number in range(3)
    ]
    assert ensure(leaser, *grants) == frozenset()
    leaser.revoke(lambda rule, name: True)
    assert not any(members(f"{rule}_v4") for rule in rules)
    assert set(members("revoked_v4")) == {one.addresses[0] for one in grants}


def test_ensure_address_whose_block_the_ledger_has_just_forgotten_is_not_handed_out_blocked(
    elements: ElementSocket,
) -> None:
    """The ledger must not think the block over before the kernel does (its margin is the later)."""
    now, since = time.monotonic(), Since()
    leaser = Leaser(Ledger(Limits(), RULES), elements, to_text, in_place=True, clock=lambda: now)
    ensure(leaser, grant())
    leaser.revoke(lambda rule, name: True)
    blocked_ms = round(left_s("revoked_v4", ONE) * 1000)
    list(leaser.ledger.sweep(now + 600.0))  # the kernel's own deadline is still ahead
    assert blocked_ms > 600_000 - 1_000 * (1 + since.passed_s)
    (put,) = leaser.ledger.plan([grant()], now + 600.0)[0]
    assert put[5]


# ---------------------------------------------------------------- restart, healing


def test_restore_puts_every_lease_back_with_its_remaining_time(leaser: Leaser) -> None:
    since = Since()
    ensure(leaser, grant(), grant(SIX, 900), grant(TWO, rule="apt", name=CDN))
    for name in ("web_v4", "web_v6", "apt_v4"):
        nft("flush", "set", "inet", "dynallow", name)
    assert leaser.restore() == 3
    assert since.lasts("web_v4", ONE, 360, 1)
    assert since.lasts("web_v6", SIX, 960, 1)
    assert members("apt_v4")[TWO].comment == "cdn.example.net"


def test_restore_where_elements_still_are_changes_no_deadline(leaser: Leaser) -> None:
    since = Since()
    ensure(leaser, grant(ttl=300))
    leaser.restore()
    assert since.lasts("web_v4", ONE, 360, 1)
    assert leaser.restore() == 1


@pytest.mark.parametrize(
    ("timeout_s", "comment", "kept_s"),
    [
        pytest.param(375, "deb.example.org", 375, id="of a process that stood still is not shortened"),
        pytest.param(3600, "deb.example.org", 360, id="of another hand, far longer"),
        pytest.param(375, "elsewhere.example.net", 360, id="of another hand, by its comment"),
        pytest.param(200, "deb.example.org", 360, id="too short"),
    ],
)
def test_restore_element_that_lasts_longer_than_its_lease(
    leaser: Leaser, timeout_s: int, comment: str, kept_s: int
) -> None:
    """The kernel's end is later than the ledger's by as long as the agent stood still before it sent."""
    since = Since()
    ensure(leaser, grant(ttl=300))
    address = ip_address(ONE)
    nft("delete", "element", "inet", "dynallow", "web_v4", f"{{ {address} }}")
    element = f'{{ {address} timeout {timeout_s}s comment "{comment}" }}'
    nft("add", "element", "inet", "dynallow", "web_v4", element)
    assert leaser.restore() == 1
    assert since.lasts("web_v4", ONE, kept_s, 5)
    assert members("web_v4")[ONE].comment == "deb.example.org"


def test_restore_after_the_table_went_keeps_revoked_addresses_blocked(leaser: Leaser) -> None:
    """Nothing may be less restricted after healing than before it (invariant 9)."""
    since = Since()
    ensure(leaser, grant(), grant(TWO, name=CDN))
    leaser.revoke(lambda rule, name: name == DEB)
    flush()
    declare()
    leaser.restore()
    assert set(members("web_v4")) == {TWO}
    assert set(members("revoked_v4")) == {ONE}
    assert since.lasts("revoked_v4", ONE, 600, 1)


def test_restore_many_leases_takes_several_transactions(elements: ElementSocket) -> None:
    flush()
    declare(2000)
    leaser = make(elements, Limits(max_addresses_per_name=5000))
    addresses = [bytes([198, 51, number // 200, number % 200]) for number in range(1500)]
    for start in range(0, 1500, 300):
        ensure(leaser, *(grant(address) for address in addresses[start : start + 300]))
    nft("flush", "set", "inet", "dynallow", "web_v4")
    assert leaser.restore() == 1500
    assert set(members("web_v4")) == set(addresses)


def test_adopt_takes_over_leases_names_and_blocks(leaser: Leaser, elements: ElementSocket) -> None:
    since = Since()
    ensure(leaser, grant(), grant(SIX, 900), grant(TWO, rule="apt", name=CDN))
    leaser.revoke(lambda rule, name: name == CDN)
    heir = make(elements)
    assert heir.adopt(RULES, parse_name) == 2
    now = time.monotonic()
    adopted = {(rule, address): lease for rule, address, lease in heir.ledger.leases(now)}
    assert set(adopted) == {("web", ONE), ("web", SIX)}
    assert 355 - since.passed_s < adopted["web", ONE].deadline - now <= 360
    left = left_s("web_v4", ONE)
    assert adopted["web", ONE].deadline - time.monotonic() <= left
    assert adopted["web", ONE].name == DEB
    ensure(heir, grant(ttl=100), grant(TWO, name=CDN))
    assert not members("revoked_v4"), "the heir knows what is blocked, and unblocks what it grants"
    assert heir.counts.transactions == 1


def test_adopt_nothing_there_raises(leaser: Leaser) -> None:
    flush()
    with pytest.raises(TableMissingError):
        leaser.adopt(RULES, parse_name)


def test_adopt_permanent_element_of_a_stranger_does_not_stay_open_for_ever(elements: ElementSocket) -> None:
    """Put there while no agent ran: no lease, so nothing would ever take it away."""
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 }")
    leaser = make(elements)
    leaser.adopt(RULES, parse_name)
    assert ONE not in members("web_v4") or members("web_v4")[ONE].expires_s is not None


# ---------------------------------------------------------------- while the table is not whole


def test_ensure_while_suspended_waits_and_writes_after_resume(leaser: Leaser) -> None:
    async def work() -> frozenset[bytes]:
        leaser.suspend()
        waiting = asyncio.ensure_future(leaser.ensure([grant()]))
        for _ in range(20):  # turns of the loop: without a wait, three are enough
            await asyncio.sleep(0)
        assert not waiting.done()
        assert not members("web_v4")
        leaser.resume()
        return await asyncio.wait_for(waiting, 60)

    assert run(work) == frozenset()
    assert set(members("web_v4")) == {ONE}


def test_ensure_suspended_for_too_long_raises_and_leaves_nothing_planned(
    leaser: Leaser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynallow.firewall.leaser._HEAL_PATIENCE_S", 0.05)

    async def work() -> None:
        leaser.suspend()
        with pytest.raises(KernelError, match="not back yet"):
            await asyncio.wait_for(leaser.ensure([grant()]), 60)
        assert not members("web_v4")
        assert not list(leaser.ledger.leases(time.monotonic()))
        leaser.resume()
        assert await leaser.ensure([grant()]) == frozenset()

    run(work)
    assert set(members("web_v4")) == {ONE}


def test_ensure_of_a_lease_that_already_holds_waits_while_suspended_too(leaser: Leaser) -> None:
    """The ledger says that it holds; the kernel may have lost it meanwhile."""
    ensure(leaser, grant(ttl=900))

    async def work() -> bool:
        leaser.suspend()
        waiting = asyncio.ensure_future(leaser.ensure([grant(ttl=1)]))
        for _ in range(20):
            await asyncio.sleep(0)
        early = waiting.done()
        leaser.resume()
        await asyncio.wait_for(waiting, 60)
        return early

    assert run(work) is False


# ---------------------------------------------------------------- the watch


@contextmanager
def ended_within(seconds: float) -> Iterator[None]:
    """An alarm breaks the block off: a loop that never ends would take the whole run with it."""

    def late(number: int, frame: object) -> None:
        pytest.fail(f"not within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_watch_that_rests_hears_nothing_and_all_once_it_listens_again(elements: ElementSocket) -> None:
    async def work() -> None:
        watch = Watch(elements.port, lambda process: None)
        watch.start()
        for number, step in enumerate((watch.rest, watch.listen, watch.rest)):
            nft("add", "element", "inet", "dynallow", "web_v4", f"{{ 192.0.2.{number} timeout 1m }}")
            step()
        nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.7 timeout 1m }")
        assert len(watch._drain()) == 2  # the first and the third
        watch.close()

    run(work)


def test_look_after_the_watch_was_closed_returns_and_reports_nothing(elements: ElementSocket) -> None:
    """The healing that a stop has overtaken: its socket is gone, and says so for ever."""
    told: list[str] = []

    async def work() -> None:
        watch = Watch(elements.port, told.append)
        watch.start()
        nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.7 timeout 1m }")
        watch.close()
        with ended_within(2.0):
            watch.look()

    run(work)
    assert told == []
