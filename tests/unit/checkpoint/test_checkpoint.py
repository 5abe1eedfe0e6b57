"""What an agent remembers, and what the next one makes of it, without a kernel: the ledger stands for it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest

from dynallow.checkpoint.checkpoint import Checkpoint
from dynallow.checkpoint.lines import Header, Told, seal, write_told
from dynallow.policy.names import parse_name, to_text
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from tests.unit.checkpoint.remembering import BOOT, Life, run
from tests.unit.resolver.host import addresses
from tests.unit.resolver.responses import SOA, packet, response

DEB, EDGE, MAIL = "deb.example.org", "edge.cdn.example.net", "mail.example.org"
ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
CHAIN = (f"{DEB} 300 IN CNAME {EDGE}.", f"{EDGE} 300 IN A 192.0.2.1")


def policy(*names: str, excepted: str = "", expires_at: float | None = None) -> Policy:
    builder = PolicyBuilder()
    rule = builder.add_rule("web", expires_at=expires_at)
    for name in names or (DEB, MAIL):
        builder.add_pattern(rule, parse_pattern(name))
    if excepted:
        builder.add_exception(rule, parse_pattern(excepted))
    return builder.build()


@pytest.fixture
def before(tmp_path: Path) -> Life:
    """Has told a chain, and that there is nothing of another type."""
    life = Life(tmp_path, policy())
    life.answered(DEB, "A", response(DEB, "A", *CHAIN))
    life.answered(DEB, "AAAA", response(DEB, "AAAA", authority=(SOA,)))
    life.save()
    return life


def after(before: Life, tmp_path: Path, allowed: Policy | None = None, passed: float = 10.0) -> Life:
    return Life(tmp_path, allowed or policy(), now=before.now + passed)


def test_answer_denial_of_a_type_and_derived_name_come_back_with_what_is_left_of_their_time(
    before: Life, tmp_path: Path
) -> None:
    life = after(before, tmp_path)
    life.begin(before.leases())
    told = life.told(DEB)
    assert addresses(told) == {ONE}
    assert {rrset.ttl for rrset in told.answer} == {290}
    assert life.told(DEB, "AAAA").rcode() == dns.rcode.NOERROR
    (target,) = life.road.derived.rules
    assert to_text(target) == EDGE
    assert life.road.derived.leads(target, life.now)[0][1].root == parse_name(DEB)


@pytest.mark.parametrize("passed", [299.0, 1e7, -1.0])
def test_nothing_that_is_over_or_of_a_time_to_come_is_told(
    before: Life, tmp_path: Path, passed: float
) -> None:
    life = after(before, tmp_path, passed=passed)
    life.begin(before.leases() if passed < 300 else [])
    assert life.told(DEB).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize("lost", ["lease", "time", "revoked"])
def test_answer_is_told_only_while_the_kernel_holds_its_address_long_enough(
    before: Life, tmp_path: Path, lost: str
) -> None:
    life = after(before, tmp_path)
    held = [("web", ONE, life.now + (500 if lost == "revoked" else 200), parse_name(DEB))]
    if lost == "lease":
        held = [("web", TWO, life.now + 1000, parse_name(DEB))]
    if lost == "revoked":
        life.ledger.adopt_revoked(ONE, life.now + 100)
    life.begin(held)
    assert life.told(DEB).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(("left_s", "made", "told"), [(300, -1, True), (298, -1, False), (900, 1, False)])
def test_answer_of_a_lease_that_ends_before_it_or_of_a_time_to_come_is_not_told(
    tmp_path: Path, left_s: float, made: float, told: bool
) -> None:
    life = Life(tmp_path, policy())
    message = packet(MAIL, "A", f"{MAIL} 300 IN A 192.0.2.2", id=0)
    line = write_told(Told(parse_name(MAIL), 1, life.now + made, message))
    life.checkpoint.path.write_bytes(seal(Header(BOOT, life.now), [line]))
    life.checkpoint.path.chmod(0o600)
    life.begin([("web", TWO, life.now + left_s, parse_name(MAIL))])
    assert bool(addresses(life.told(MAIL))) == told


def test_derived_name_lives_no_longer_than_the_lease_of_its_listed_name(before: Life, tmp_path: Path) -> None:
    life = after(before, tmp_path)
    life.begin([("web", TWO, life.now + 5, parse_name(DEB))])
    assert life.told(EDGE).rcode() == dns.rcode.SERVFAIL  # may be asked for
    life.now += 6
    assert life.told(EDGE).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize(
    ("allowed", "lists_deb"),
    [(policy(MAIL), False), (policy(excepted=EDGE), True), (policy(expires_at=1.0), False)],
)
def test_policy_of_now_decides_what_comes_back(
    before: Life, tmp_path: Path, allowed: Policy, lists_deb: bool
) -> None:
    life = after(before, tmp_path, allowed)
    life.begin(before.leases())
    assert bool(addresses(life.told(DEB))) == lists_deb
    assert life.told(EDGE).rcode() == dns.rcode.NXDOMAIN


def test_answer_that_leads_to_a_name_that_is_not_derived_any_more_is_asked_anew(
    before: Life, tmp_path: Path
) -> None:
    life = after(before, tmp_path)
    life.checkpoint.path.write_bytes(before.checkpoint.path.read_bytes())
    life.road.derived.size = 0
    life.begin(before.leases())
    assert life.told(DEB).rcode() == dns.rcode.SERVFAIL


def test_nothing_is_believed_where_no_lease_was_adopted_or_the_boot_is_another(
    before: Life, tmp_path: Path
) -> None:
    life = after(before, tmp_path)
    life.checkpoint._boot = "another"
    life.begin(before.leases())
    assert life.told(DEB, "AAAA").rcode() == dns.rcode.SERVFAIL
    life = after(before, tmp_path)
    life.begin([])
    assert life.told(DEB, "AAAA").rcode() == dns.rcode.SERVFAIL


def test_what_the_first_start_of_a_boot_did_not_believe_the_second_does_not_either(
    before: Life, tmp_path: Path
) -> None:
    """Killed before it wrote one of its own, where nobody can tell one boot from another by their ids."""
    after(before, tmp_path).begin([])
    second = after(before, tmp_path, passed=11.0)
    second.begin([("web", TWO, second.now + 400, parse_name(MAIL))])
    assert second.told(DEB, "AAAA").rcode() == dns.rcode.SERVFAIL


def test_wall_clock_a_year_off_changes_nothing(before: Life, tmp_path: Path) -> None:
    for off in (-365 * 86400, 365 * 86400):
        life = after(before, tmp_path)
        life.wall += off
        life.begin(before.leases())
        assert addresses(life.told(DEB)) == {ONE}


def test_rule_that_expires_ends_what_comes_back(before: Life, tmp_path: Path) -> None:
    life = after(before, tmp_path, policy(DEB, expires_at=5100.0))
    life.begin([("web", ONE, life.now + 400, parse_name(DEB))])
    told = life.told(DEB)
    assert {rrset.ttl for rrset in told.answer} == {100}


def test_further_names_of_a_lease_and_whole_names_come_back(tmp_path: Path) -> None:
    long = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 50, "example.org"])
    allowed = policy(DEB, MAIL, long)
    before = Life(tmp_path, allowed)
    for name in (DEB, MAIL):
        before.answered(name, "A", response(name, "A", f"{name} 300 IN A 192.0.2.1"))
    before.answered(long, "A", response(long, "A", f"{long} 300 IN A 192.0.2.2"))
    before.save()
    life = Life(tmp_path, allowed)
    life.checkpoint.read()
    assert life.checkpoint.name_of(before.checkpoint._comment(parse_name(long)).decode()) == parse_name(long)
    assert life.checkpoint.name_of("...") == b""
    life.begin([("web", ONE, life.now + 50, parse_name(DEB)), ("web", TWO, life.now + 50, parse_name(long))])
    assert life.ledger.names_of(ONE, life.now) == {parse_name(DEB), parse_name(MAIL)}
    assert life.ledger.names_of(ONE, life.now + 51) == set()


def test_two_names_cut_alike_give_none(tmp_path: Path) -> None:
    tail = ".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 55])
    names = [f"{tail}.{end}.example" for end in ("one", "two")]
    allowed = policy(*names)
    before = Life(tmp_path, allowed)
    for name, address in zip(names, ("192.0.2.1", "192.0.2.2"), strict=True):
        before.answered(name, "A", response(name, "A", f"{name} 300 IN A {address}"))
    before.save()
    life = Life(tmp_path, allowed)
    life.checkpoint.read()
    assert life.checkpoint.name_of(before.checkpoint._comment(parse_name(names[0])).decode()) == b""


def test_write_only_when_something_has_changed_and_never_while_it_is_withdrawn(tmp_path: Path) -> None:
    life = Life(tmp_path, policy())
    path = life.checkpoint.path

    async def work() -> None:
        await life.checkpoint.write()
        assert not path.exists()
        life.answered(DEB, "A", response(DEB, "A", *CHAIN))
        life.road.counts.fresh += 1
        await life.checkpoint.write()
        first = path.stat().st_ino
        await life.checkpoint.write()
        assert path.stat().st_ino == first
        life.road.counts.fresh += 1
        async with life.checkpoint.withdrawn():
            assert not path.exists()
            writing = asyncio.ensure_future(life.checkpoint.write())
            for _ in range(5):
                await asyncio.sleep(0)
            assert not writing.done()
            assert not path.exists()
            life.road.forget()
        await writing
        assert path.exists()
        assert b"\nanswer " not in path.read_bytes()

    run(work())


def test_withdrawal_in_the_middle_of_a_writing_ends_it(tmp_path: Path) -> None:
    life = Life(tmp_path, policy("*.example.org"))
    for number in range(100):
        name = f"n{number}.example.org"
        life.answered(name, "A", response(name, "A", f"{name} 300 IN A 192.0.2.{number + 1}"))

    async def work() -> None:
        life.road.counts.fresh += 1
        writing = asyncio.ensure_future(life.checkpoint.write())
        await asyncio.sleep(0)
        async with life.checkpoint.withdrawn():
            assert writing.done()
            assert not life.checkpoint.path.exists()

    run(work())


def test_place_that_takes_no_file_is_said_once_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    life = Life(tmp_path, policy())
    life.checkpoint = Checkpoint(
        tmp_path / "absent" / "control.sock", life.road, life.ledger, life.checkpoint._comment, ""
    )
    life.checkpoint.read()
    for _ in range(2):
        life.save()
    assert life.checkpoint.why_not == "No such file or directory"
    assert len(caplog.records) == 1


def test_saved_before_all_was_taken_back_what_was_not_is_kept(before: Life, tmp_path: Path) -> None:
    life = after(before, tmp_path)
    life.checkpoint.read()
    for lease in before.leases():
        life.ledger.adopt(*lease)
    told = life.checkpoint._lines["answer"]
    life.checkpoint._lines["answer"] = []
    life.checkpoint.recall_names(lambda rule, name: False)
    life.checkpoint.recall(1)
    life.checkpoint._left = told
    life.save()
    third = after(before, tmp_path, passed=20.0)
    third.begin(before.leases())
    assert addresses(third.told(DEB)) == {ONE}
