"""Signatures beside an answer, with dnspython and real keys as the oracle.

Invariant: whatever an upstream sends, each RRset of the answer that is told as the upstream gave it
comes with exactly the signatures that the upstream gave for it, and they validate; one that is told
in any other way, and one that is not on the chain, comes with none; the answer is called authentic
only when the upstream said so and all of it is told.
"""

from __future__ import annotations

import time
from ipaddress import ip_network
from typing import Any

import dns.dnssec
import dns.dnssectypes
import dns.flags
import dns.message
import dns.name
import dns.rdataset
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.lease.grant import Limits
from dynallow.policy.names import parse_name
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.answer import Scope, compose, proven, without
from dynallow.wire.render import render
from dynallow.wire.response import parse_response

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME, ALIAS, FAR = "deb.example.org.", "alias.example.org.", "cdn.example.net."
ZONES = ("example.org.", "example.net.")
SCOPE = Scope(Verdict(Outcome.ALLOWED, (Rule(0, "web"),)), Limits(), frozenset(), False)
KEYS = {zone: Ed25519PrivateKey.generate() for zone in ZONES}
DNSKEYS = {
    zone: dns.dnssec.make_dnskey(key.public_key(), dns.dnssectypes.Algorithm.ED25519)
    for zone, key in KEYS.items()
}
TRUSTED: Any = {dns.name.from_text(zone): dns.rdataset.from_rdata(300, key) for zone, key in DNSKEYS.items()}
_NOW = int(time.time())

chains = st.sampled_from([(), ((NAME, ALIAS),), ((NAME, FAR),), ((NAME, ALIAS), (ALIAS, FAR))])
finals = st.sampled_from(
    [
        ("A", ["192.0.2.1"]),
        ("A", ["192.0.2.1", "192.0.2.2", "198.51.100.7"]),
        ("A", ["192.0.2.1", "10.0.0.1"]),  # which is taken out
        ("A", ["10.0.0.1"]),
        ("AAAA", ["2001:db8::1", "2001:db8::2"]),
        ("TXT", ['"a"', '"b"']),
        ("MX", ["10 Mail.Example.ORG."]),
        ("HTTPS", ["1 . alpn=h2 ipv4hint=192.0.2.9"]),
        ("HTTPS", ["1 . alpn=h2 ipv4hint=192.0.2.9,10.0.0.1"]),
        ("HTTPS", ["1 . alpn=h2 ech=AAT+DQAA"]),
        ("HTTPS", ["1 . alpn=h2", "2 other.example.com. alpn=h2"]),
        ("DNSKEY", ["257 3 13 " + "A" * 86 + "=="]),
    ]
)
others = st.lists(
    st.sampled_from([(NAME, "LOC", "1 N 1 E 1m"), (FAR, "CAA", '0 issue "x"'), (ZONES[0], "A", "192.0.2.8")])
)


def sign(rrset: dns.rrset.RRset, signer: str | None = None, **more: Any) -> dns.rrset.RRset:
    """Its signature, by the zone that it is in."""
    zone = signer or next(zone for zone in ZONES if rrset.name.is_subdomain(dns.name.from_text(zone)))
    at = dns.name.from_text(zone)
    key, dnskey = KEYS[zone], DNSKEYS[zone]
    rrsig = dns.dnssec.sign(rrset, key, at, dnskey, inception=_NOW - 60, lifetime=more.get("life", 3600))
    return dns.rrset.from_rdata(rrset.name, rrset.ttl, rrsig)


def message(
    answer: list[dns.rrset.RRset], qtype: str, flags: int
) -> tuple[dns.message.Message, dns.message.Message]:
    query = dns.message.make_query(NAME, qtype, want_dnssec=True, id=7)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= flags
    reply.answer = answer
    return query, reply


def told(query: dns.message.Message, packet: bytes, refused: frozenset[bytes] = frozenset()) -> Any:
    """(what a client with DO is told, whether the answer counts as authentic)."""
    qtype = query.question[0].rdtype
    response = parse_response(packet, id=7, name=parse_name(NAME), qtype=qtype)
    answer = compose(response, parse_name(NAME), qtype, SCOPE, now=0.0, left_s=None)
    answer = proven(answer, response, parse_name(NAME), qtype, 0.0)
    if refused:
        trimmed = without(answer, qtype, refused)
        assert trimmed is not None
        answer = trimmed
    assert answer.proof is not None
    section = parse_name(NAME) + qtype.to_bytes(2, "big") + b"\0\1"
    reply = render(
        section,
        flags=0x0100,
        rcode=answer.rcode,
        records=answer.told(True, True)[0],
        ttl_s=answer.ttl_s,
        edns=True,
        do=True,
    )
    return dns.message.from_wire(b"\0\7" + reply[0]), answer.proof.secure


@settings(max_examples=100)
@given(chains, finals, others, st.sets(st.integers(0, 9)), st.booleans(), st.randoms(use_true_random=False))
def test_signatures_are_those_of_the_rrsets_that_are_told_whole(
    chain: tuple[tuple[str, str], ...],
    final: tuple[str, list[str]],
    more: list[tuple[str, str, str]],
    unsigned: set[int],
    authentic: bool,
    random: Any,
) -> None:
    qtype, rdatas = final
    end = chain[-1][1] if chain else NAME
    sets = [dns.rrset.from_text(owner, 300, "IN", "CNAME", target) for owner, target in chain]
    sets.append(dns.rrset.from_text(end, 300, "IN", qtype, *rdatas))
    on_chain = len(sets)
    for owner, rtype, rdata in dict.fromkeys(more):
        if (dns.name.from_text(owner), rtype) not in [
            (s.name, dns.rdatatype.to_text(s.rdtype)) for s in sets
        ]:
            sets.append(dns.rrset.from_text(owner, 300, "IN", rtype, rdata))
    signatures = {number: sign(one) for number, one in enumerate(sets) if number not in unsigned}
    given_sets = [*sets, *signatures.values()]
    random.shuffle(given_sets)
    query, upstream = message(given_sets, qtype, dns.flags.AD if authentic else 0)
    reply, secure = told(query, upstream.to_wire(max_size=65535))

    whole = 0
    for number, one in enumerate(sets):
        kept = reply.get_rrset(reply.answer, one.name, one.rdclass, one.rdtype)
        signed = reply.get_rrset(reply.answer, one.name, one.rdclass, dns.rdatatype.RRSIG, covers=one.rdtype)
        if number >= on_chain or kept is None or set(kept) != set(one) or number in unsigned:
            assert signed is None
        else:
            assert set(signed) == set(signatures[number])
            dns.dnssec.validate(kept, signed, TRUSTED)
        whole += number < on_chain and kept is not None and set(kept) == set(one)
    assert secure == (authentic and whole == on_chain)


def test_signatures_of_a_set_that_lost_an_address_to_a_budget_are_gone() -> None:
    rrset = dns.rrset.from_text(NAME, 300, "IN", "A", "192.0.2.1", "192.0.2.2")
    query, upstream = message([rrset, sign(rrset)], "A", dns.flags.AD)
    packet = upstream.to_wire()
    assert told(query, packet)[1]
    reply, secure = told(query, packet, frozenset({ip_network("192.0.2.1").network_address.packed}))
    assert ([one.rdtype for one in reply.answer], secure) == ([dns.rdatatype.A], False)


def test_signatures_of_others_and_of_deeper_wildcards_are_not_passed_on() -> None:
    rrset = dns.rrset.from_text(NAME, 300, "IN", "A", "192.0.2.1")
    good, foreign = sign(rrset), sign(rrset, ZONES[1])
    deep = dns.rrset.from_rdata(rrset.name, 300, good[0].replace(labels=4))
    query, upstream = message([rrset, good, foreign, deep], "A", 0)
    reply, _ = told(query, upstream.to_wire())
    (signed,) = [one for one in reply.answer if one.rdtype == dns.rdatatype.RRSIG]
    assert set(signed) == set(good)


def test_signature_with_a_shorter_ttl_shortens_what_is_told() -> None:
    rrset = dns.rrset.from_text(NAME, 300, "IN", "A", "192.0.2.1")
    signed = sign(rrset)
    signed.ttl = 20
    query, upstream = message([rrset, signed], "A", 0)
    reply, _ = told(query, upstream.to_wire())
    assert {one.ttl for one in reply.answer} == {20}


@pytest.mark.parametrize(
    ("target", "stands"), [("deb.tree.example.org.", True), ("x.tree.example.org.", False)]
)
def test_dname_is_told_before_the_cname_that_it_stands_for_and_beside_no_other(
    target: str, stands: bool
) -> None:
    cname = dns.rrset.from_text(NAME, 300, "IN", "CNAME", target)
    dname = dns.rrset.from_text("example.org.", 300, "IN", "DNAME", "tree.example.org.")
    final = dns.rrset.from_text(target, 300, "IN", "A", "192.0.2.1")
    query, upstream = message([final, cname, dname, sign(dname), sign(final)], "A", 0)
    reply, _ = told(query, upstream.to_wire())
    types = [dns.rdatatype.to_text(one.rdtype) for one in reply.answer]
    assert types == (["DNAME", "CNAME", "A", "RRSIG", "RRSIG"] if stands else ["CNAME", "A", "RRSIG"])
