"""What may be told of a response, and what it grants. The responses are dnspython's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import dns.rdata
import pytest

from dynallow.errors import WireError
from dynallow.lease.grant import Grant, Limits
from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.answer import Answer, Scope, aged, compose, grants, without
from dynallow.wire import svcb
from dynallow.wire.response import Response
from tests.unit.resolver.responses import CDN, DEB, EDGE, SOA, response

A, CNAME, TXT, AAAA, SRV, HTTPS = 1, 5, 16, 28, 33, 65
WEB, APT = Rule(0, "web"), Rule(1, "apt")
LAN = Rule(2, "lan", private=(ip_network("10.0.0.0/8"), ip_network("fc00::/7")))
NAME = parse_name(DEB)
FOUR, SIX, LOCAL, OWN = "192.0.2.1", "2001:db8::1", "10.1.2.3", "198.51.100.9"


def packed(*texts: str) -> tuple[bytes, ...]:
    return tuple(ip_address(text).packed for text in texts)


def scope(*rules: Rule, observe: bool = False, outcome: Outcome = Outcome.ALLOWED, **limits: float) -> Scope:
    verdict = Verdict(outcome, rules or (WEB,))
    return Scope(verdict, Limits(**limits), frozenset(packed(OWN)), observe)  # type: ignore[arg-type]


def answer(
    *lines: str,
    qtype: str = "A",
    within: Scope | None = None,
    now: float = 1000.0,
    left_s: float | None = None,
    authority: tuple[str, ...] = (),
    rcode: str = "NOERROR",
) -> Answer:
    got = response(DEB, qtype, *lines, authority=authority, rcode=rcode)
    number = {"A": A, "AAAA": AAAA, "HTTPS": HTTPS, "TXT": TXT, "CNAME": CNAME, "SRV": SRV}[qtype]
    return compose(got, NAME, number, within or scope(), now=now, left_s=left_s)


def addresses(told: Answer, rtype: int = A) -> tuple[bytes, ...]:
    return tuple(record[3] for record in told.records if record[1] == rtype)


def granted(told: Answer) -> dict[str, tuple[bytes, ...]]:
    return {rule.name: accepted for rule, accepted in told.by_rule}


# ---------------------------------------------------------------- TTLs


def test_compose_chain_every_ttl_is_the_smallest_on_it() -> None:
    told = answer(f"{DEB} 300 IN CNAME {CDN}.", f"{CDN} 40 IN A {FOUR} | 192.0.2.2")
    assert [record[1] for record in told.records] == [CNAME, A, A]
    assert (told.ttl_s, told.ends, told.data_ends, told.rcode) == (40, 1040.0, 1040.0, 0)
    told = answer(f"{DEB} 20 IN CNAME {CDN}.", f"{CDN} 40 IN A {FOUR}")
    assert told.ttl_s == 20


def test_compose_ttl_of_a_week_is_bounded_by_the_longest_lease() -> None:
    told = answer(f"{DEB} 604800 IN A {FOUR}")
    assert told.ttl_s == 86340


def test_compose_rule_that_expires_bounds_the_ttl_and_the_grants() -> None:
    told = answer(f"{DEB} 300 IN A {FOUR}", left_s=9.7)
    assert (told.ttl_s, told.ends, told.rules_end) == (9, 1009.0, 1009.7)
    assert grants(told, NAME, 1000.0) == [Grant("web", tuple(packed(FOUR)), 9, NAME, 1009.7)]


def test_left_floors_to_whole_seconds_and_never_below_zero() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR}")
    assert [told.left(now) for now in (1000.0, 1000.01, 1038.5, 1039.01, 1040.0, 2000.0)] == [
        40,
        39,
        1,
        0,
        0,
        0,
    ]


def test_grants_ask_for_the_time_left_rounded_up() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR}")
    assert [one.ttl_s for one in grants(told, NAME, 1010.5)] == [30]
    assert [one.ttl_s for one in grants(told, NAME, 1050.0)] == [0]


# ---------------------------------------------------------------- special-purpose space


@pytest.mark.parametrize("address", [LOCAL, "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", OWN])
def test_compose_special_address_is_removed_and_not_granted(address: str) -> None:
    told = answer(f"{DEB} 40 IN A {FOUR} | {address}")
    assert addresses(told) == packed(FOUR)
    assert granted(told) == {"web": packed(FOUR)}
    assert told.ede is None


@pytest.mark.parametrize("address", ["::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", f"64:ff9b::{OWN}"])
def test_compose_special_six_is_removed_and_not_granted(address: str) -> None:
    told = answer(f"{DEB} 40 IN AAAA {SIX} | {address}", qtype="AAAA")
    assert addresses(told, AAAA) == packed(SIX)


def test_compose_nothing_but_special_addresses_is_empty_and_says_why() -> None:
    told = answer(f"{DEB} 300 IN CNAME {CDN}.", f"{CDN} 40 IN A {LOCAL}")
    assert [record[1] for record in told.records] == [CNAME]
    assert not grants(told, NAME, 1000.0)
    assert told.ede is not None
    assert told.ede[0] == 17


def test_compose_private_rule_gets_what_it_names_and_the_others_do_not() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR} | {LOCAL} | 192.168.0.1", within=scope(WEB, LAN))
    assert addresses(told) == packed(FOUR, LOCAL)
    assert granted(told) == {"web": packed(FOUR), "lan": packed(FOUR, LOCAL)}
    own = Rule(3, "own", private=(ip_network(f"{OWN}/32"),))
    assert addresses(answer(f"{DEB} 40 IN A {OWN}", within=scope(own))) == packed(OWN)


# ---------------------------------------------------------------- caps, off-chain, other types


def test_compose_more_addresses_than_the_cap_hands_out_what_it_leases() -> None:
    many = " | ".join(f"203.0.113.{number}" for number in range(1, 101))
    told = answer(f"{DEB} 40 IN A {many}", within=scope(WEB, APT, max_addresses_per_name=7))
    assert len(addresses(told)) == 7
    assert granted(told) == {"web": addresses(told), "apt": addresses(told)}


def test_compose_special_addresses_do_not_use_up_the_cap() -> None:
    """An upstream that lists private addresses first must not push the public ones out."""
    line = f"{DEB} 40 IN A {LOCAL} | 10.0.0.2 | {FOUR} | 192.0.2.2"
    assert set(addresses(answer(line, within=scope(max_addresses_per_name=2)))) == set(
        packed(FOUR, "192.0.2.2")
    )


def test_compose_records_off_the_chain_neither_told_nor_granted() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR}", "evil.example.com 40 IN A 192.0.2.66", f"{DEB} 40 IN TXT hello")
    assert addresses(told) == packed(FOUR)
    assert len(told.records) == 1
    assert granted(told) == {"web": packed(FOUR)}


def test_compose_loop_raises() -> None:
    with pytest.raises(WireError):
        answer(f"{DEB} 40 IN CNAME {CDN}.", f"{CDN} 40 IN CNAME {DEB}.")


def test_compose_nxdomain_beside_data_raises() -> None:
    with pytest.raises(WireError):
        answer(f"{DEB} 40 IN A {FOUR}", rcode="NXDOMAIN")


def test_compose_other_type_is_passed_on_and_grants_nothing() -> None:
    told = answer(f"{DEB} 40 IN TXT hello", qtype="TXT")
    assert len(told.records) == 1
    assert told.by_rule == ()


# ---------------------------------------------------------------- negative


def test_compose_nxdomain_keeps_the_soa_and_its_negative_ttl() -> None:
    told = answer(authority=(SOA,), rcode="NXDOMAIN")
    assert (told.rcode, told.records, told.ttl_s, told.ends) == (3, (), 120, 1120.0)
    (soa,) = told.authority
    assert (soa[1], soa[2]) == (6, 120)


def test_compose_nodata_behind_a_chain_takes_the_smaller_ttl() -> None:
    soa = SOA.replace("example.org 900", "example.net 900")
    told = answer(f"{DEB} 50 IN CNAME {CDN}.", authority=(soa,))
    assert (told.ttl_s, [r[1] for r in (*told.records, *told.authority)]) == (50, [CNAME, 6])
    told = answer(f"{DEB} 500 IN CNAME {CDN}.", authority=(soa,))
    assert told.ttl_s == 120


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
def test_compose_denial_without_soa_is_not_kept(rcode: str) -> None:
    assert answer(rcode=rcode).ttl_s == 0


# ---------------------------------------------------------------- HTTPS


def https(*params: str) -> list[str]:
    return [f"{DEB} 40 IN HTTPS {' | '.join(params)}"]


def test_compose_https_hints_are_granted_and_ech_is_gone() -> None:
    told = answer(
        *https(f"1 . alpn=h2 ipv4hint={FOUR},{LOCAL} ech=AAT+DQAA ipv6hint={SIX},::1"), qtype="HTTPS"
    )
    assert granted(told) == {"web": packed(FOUR, SIX)}
    (record,) = told.records
    assert svcb.hints(record[3]) == packed(FOUR, SIX)
    text = dns.rdata.from_wire("IN", "HTTPS", record[3], 0, len(record[3])).to_text()
    assert text == f'1 . alpn="h2" ipv4hint="{FOUR}" ipv6hint="{SIX}"'


def test_compose_https_of_another_target_is_told_with_its_hints_and_leads_there() -> None:
    told = answer(*https(f"1 {CDN}. ipv4hint=192.0.2.66", f"2 {DEB}. ipv4hint={FOUR}"), qtype="HTTPS")
    assert granted(told) == {"web": packed("192.0.2.66", FOUR)}
    assert len(told.records) == 2
    assert told.targets == (parse_name(CDN),)


@pytest.mark.parametrize("target", ["x.onion", "localhost", "cdn", "1.2.0.192.in-addr.arpa"])
def test_compose_https_of_a_target_that_nobody_may_ask_for_is_left_out(target: str) -> None:
    told = answer(*https(f"1 {target}. ipv4hint=192.0.2.66", f"2 {DEB}. ipv4hint={FOUR}"), qtype="HTTPS")
    assert granted(told) == {"web": packed(FOUR)}
    assert (len(told.records), told.targets) == (1, ())
    told = answer(*https(f"0 {target}."), qtype="HTTPS")
    assert (told.records, told.ede and told.ede[0]) == ((), 17)


def test_compose_https_of_a_target_that_the_rule_excepts_is_left_out() -> None:
    builder = PolicyBuilder()
    web, apt = builder.add_rule("web"), builder.add_rule("apt")
    builder.add_exception(web, parse_pattern(CDN))
    within = scope(web)._replace(policy=builder.build())
    assert answer(*https(f"0 {CDN}."), qtype="HTTPS", within=within).records == ()
    within = scope(web, apt)._replace(policy=within.policy)
    assert answer(*https(f"0 {CDN}."), qtype="HTTPS", within=within).targets == (parse_name(CDN),)


def test_compose_https_alias_is_told_as_it_is() -> None:
    told = answer(*https(f"0 {CDN}."), qtype="HTTPS")
    (record,) = told.records
    assert record[3] == b"\0\0" + parse_name(CDN)
    assert (told.targets, told.ede) == ((parse_name(CDN),), None)
    assert not any(addresses for _, addresses in told.by_rule)


# ---------------------------------------------------------------- targets


def test_compose_chain_leads_to_each_of_its_names() -> None:
    told = answer(f"{DEB} 300 IN CNAME {CDN}.", f"{CDN} 9 IN CNAME {EDGE}.", f"{EDGE} 40 IN A {FOUR}")
    assert told.targets == (parse_name(CDN), parse_name(EDGE))
    told = answer(f"{DEB} 300 IN CNAME {CDN}.", authority=(SOA,), rcode="NXDOMAIN")
    assert told.targets == (parse_name(CDN),)
    assert answer(f"{DEB} 300 IN CNAME {CDN}.", qtype="CNAME").targets == (parse_name(CDN),)


def test_compose_plain_addresses_and_off_chain_records_lead_nowhere() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR}", f"evil.example.com 40 IN CNAME {CDN}.")
    assert told.targets == ()


def test_compose_srv_leads_to_the_targets_of_best_priority() -> None:
    lines = " | ".join(f"{number} 0 80 t{number}.{CDN}." for number in range(100, 0, -1))
    told = answer(f"{DEB} 40 IN SRV {lines}", qtype="SRV")
    assert told.targets == tuple(parse_name(f"t{number}.{CDN}") for number in range(1, 33))
    assert len(told.records) == 100


def test_compose_https_hints_over_the_cap_are_not_told() -> None:
    hints = ",".join(f"203.0.113.{number}" for number in range(1, 11))
    told = answer(*https(f"1 . ipv4hint={hints}"), qtype="HTTPS", within=scope(max_addresses_per_name=3))
    assert svcb.hints(told.records[0][3]) == granted(told)["web"]
    assert len(granted(told)["web"]) == 3


def test_compose_https_same_hint_in_two_records_is_one_grant() -> None:
    told = answer(*https(f"1 . alpn=h3 ipv4hint={FOUR}", f"2 . alpn=h2 ipv4hint={FOUR}"), qtype="HTTPS")
    assert granted(told) == {"web": packed(FOUR)}
    assert len(told.records) == 2


# ---------------------------------------------------------------- observe


def test_compose_observe_passes_everything_on_and_grants_only_what_it_may() -> None:
    told = answer(f"{DEB} 40 IN A {FOUR} | {LOCAL}", within=scope(observe=True))
    assert addresses(told) == packed(FOUR, LOCAL)
    assert granted(told) == {"web": packed(FOUR)}
    told = answer(*https(f"1 . ech=AAT+DQAA ipv4hint={LOCAL}"), qtype="HTTPS", within=scope(observe=True))
    assert b"\0\4\xfe\x0d" in told.records[0][3]


def test_compose_observe_of_a_denied_name_grants_nothing() -> None:
    denied = Scope(Verdict(Outcome.DENIED), Limits(), frozenset(), True)
    told = answer(f"{DEB} 40 IN A {FOUR}", within=denied)
    assert addresses(told) == packed(FOUR)
    assert not grants(told, NAME, 1000.0)
    filtered = scope(WEB, observe=True, outcome=Outcome.FILTERED)
    assert not grants(answer(f"{DEB} 40 IN A {FOUR}", within=filtered), NAME, 1000.0)


# ---------------------------------------------------------------- without, aged


def test_without_takes_the_refused_address_out_of_answer_and_grants() -> None:
    told = answer(f"{DEB} 300 IN CNAME {CDN}.", f"{CDN} 40 IN A {FOUR} | 192.0.2.2", within=scope(WEB, APT))
    less = without(told, A, set(packed(FOUR)))
    assert less is not None
    assert addresses(less) == packed("192.0.2.2")
    assert less.records[0][1] == CNAME
    assert granted(less) == {"web": packed("192.0.2.2"), "apt": packed("192.0.2.2")}
    assert without(less, A, set(packed("192.0.2.2"))) is None


def test_without_takes_a_refused_hint_out_of_its_record() -> None:
    less = without(answer(*https(f"1 . ipv4hint={FOUR},192.0.2.2"), qtype="HTTPS"), HTTPS, set(packed(FOUR)))
    assert less is not None
    assert svcb.hints(less.records[0][3]) == packed("192.0.2.2")


def test_aged_answer_is_told_for_thirty_seconds_more() -> None:
    told = aged(answer(f"{DEB} 40 IN A {FOUR}"), Limits(), 5000.0)
    assert (told.ttl_s, told.ends, told.data_ends, told.left(5000.0)) == (30, 5030.0, 1040.0, 30)
    assert told.ede is not None
    assert told.ede[0] == 3
    assert [one.ttl_s for one in grants(told, NAME, 5000.0)] == [30]


def test_aged_answer_ends_with_its_rules() -> None:
    told = aged(answer(f"{DEB} 40 IN A {FOUR}", left_s=4010.5), Limits(), 5000.0)
    assert told.left(5000.0) == 10


# ---------------------------------------------------------------- what an upstream can make of it


def heap(count: int, qtype: int, rdata: Callable[[int], bytes]) -> Response:
    """A response with `count` records of one type at the asked name."""
    return Response(7, 0x8180, 0, tuple((NAME, qtype, 60, rdata(number)) for number in range(count)), ())


def composed(got: Response, qtype: int) -> Answer:
    return compose(got, NAME, qtype, scope(), now=0.0, left_s=None)


def test_compose_thousands_of_addresses_hands_out_the_first_of_them() -> None:
    told = composed(heap(4000, A, lambda number: struct.pack(">I", 0x08000000 + number)), A)
    assert addresses(told) == tuple(struct.pack(">I", 0x08000000 + number) for number in range(256))


def test_compose_heap_of_special_addresses_is_not_looked_through() -> None:
    told = composed(heap(4000, A, lambda number: struct.pack(">I", 0x0A000000 + number)), A)
    assert (told.records, told.scrubbed, told.ede is not None) == ((), 256, True)


def test_compose_heap_of_other_records_is_cut() -> None:
    told = composed(heap(4000, TXT, lambda number: b"\4" + struct.pack(">I", number)), TXT)
    assert len(told.records) == 512


def test_compose_heap_of_https_records_is_cut_and_grants_what_it_tells() -> None:
    def service(number: int) -> bytes:
        return b"\0\1\0\0\4\0\4" + struct.pack(">I", 0x08000000 + number)

    told = composed(heap(4000, HTTPS, service), HTTPS)
    hinted = [address for record in told.records for address in svcb.hints(record[3])]
    assert tuple(hinted) == granted(told)["web"]
    assert len(told.records) == 16
