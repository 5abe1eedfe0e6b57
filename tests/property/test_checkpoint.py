"""Whatever stands in the checkpoint, nobody is told an address that the kernel does not hold under every rule
that allows the name, or for longer than it does; and no name may be asked for that no lease leads to.

The ledger is the kernel here; upstreams and leaser give nothing: all that is told comes from the checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.checkpoint.lines import (
    Claim,
    Header,
    Lineage,
    Told,
    seal,
    write_claim,
    write_lineage,
    write_name,
    write_told,
)
from dynallow.lease.grant import Limits
from dynallow.policy.names import Name, parse_name, to_text
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.resolver.derived import STEPS_MAX
from dynallow.wire import svcb
from tests.unit.checkpoint.remembering import BOOT, Life
from tests.unit.resolver.responses import SOA, packet

LISTED = ["a.example.org", "b.example.org"]
TARGETS = ["one.example.net", "two.example.net"]
NAMES = [*LISTED, *TARGETS]
TYPES = {"A": 1, "AAAA": 28, "HTTPS": 65, "SRV": 33}
FOURS = ["192.0.2.1", "192.0.2.2", "10.0.0.1"]
SIXES = ["2001:db8::1", "::1"]
ADDRESSES = [ip_address(text).packed for text in (*FOURS, *SIXES)]
NOW = 1000.0
LIMITS = Limits(max_addresses_per_name=2)


def policy(excepts: bool) -> Policy:
    """Two rules, of which the second lists one name too, and opens a private prefix."""
    builder = PolicyBuilder()
    both = builder.add_rule("both")
    for name in LISTED:
        builder.add_pattern(both, parse_pattern(name))
    builder.add_pattern(
        builder.add_rule("lan", private=(ip_network("10.0.0.0/8"),)), parse_pattern(LISTED[0])
    )
    if excepts:
        builder.add_exception(both, parse_pattern(TARGETS[0]))
    return builder.build()


names = st.sampled_from(NAMES)
wires = names.map(parse_name)
rules = st.sampled_from(["both", "lan", "gone"])
times = st.sampled_from([0.0, NOW - 500, NOW - 1, NOW, NOW + 1, NOW + 100, NOW + 500, NOW + 1e6])
_data = {
    "A": st.sampled_from(FOURS),
    "AAAA": st.sampled_from(SIXES),
    "CNAME": names.map("{}.".format),
    "SRV": names.map("0 0 80 {}.".format),
    "HTTPS": st.sampled_from(["1 . ipv4hint=192.0.2.1", "0 one.example.net.", "1 two.example.net. alpn=h2"]),
}
records = st.sampled_from(sorted(_data)).flatmap(
    lambda rtype: st.builds(
        "{} {} IN {} {}".format, names, st.sampled_from([0, 60, 600, 10**6]), st.just(rtype), _data[rtype]
    )
)


@st.composite
def answers(draw: st.DrawFn) -> str:
    """A message that an upstream could have sent, some of its bytes others perhaps."""
    name, qtype = draw(names), draw(st.sampled_from(sorted(TYPES)))
    lines = draw(st.lists(records, max_size=4, unique_by=lambda line: (line.split()[0], line.split()[3])))
    authority = (SOA,) if draw(st.booleans()) else ()
    rcode = draw(st.sampled_from(["NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL"]))
    message = bytearray(packet(name, qtype, *lines, authority=authority, rcode=rcode, id=0))
    for place in draw(st.lists(st.integers(0, len(message) - 1), max_size=2)):
        message[place] = draw(st.integers(0, 255))
    asked = parse_name(draw(st.sampled_from([name, name, name, draw(names)])))
    return write_told(Told(asked, TYPES[qtype], draw(times), bytes(message)))


@st.composite
def honest(draw: st.DrawFn) -> str:
    """What an agent could well have told a second ago."""
    name, qtype = draw(st.sampled_from(LISTED)), draw(st.sampled_from(["A", "AAAA"]))
    ttl, data = draw(st.sampled_from([60, 300, 600])), draw(st.sampled_from(FOURS if qtype == "A" else SIXES))
    message = packet(name, qtype, f"{name} {ttl} IN {qtype} {data}", id=0)
    return write_told(Told(parse_name(name), TYPES[qtype], NOW - 1, message))


lines = st.lists(
    st.one_of(
        honest(),
        answers(),
        st.builds(Claim, rules, wires, st.sampled_from(ADDRESSES), times).map(write_claim),
        st.builds(Lineage, rules, wires, wires, times, st.integers(0, 13)).map(write_lineage),
        wires.map(write_name),
        st.text(st.characters(max_codepoint=126), max_size=20).map("answer {}\n".format),
    ),
    max_size=12,
)
leases = st.lists(
    st.tuples(rules, st.sampled_from(ADDRESSES), times, wires), max_size=12, unique_by=lambda held: held[:2]
)


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@given(lines, leases, st.booleans())
def test_whatever_the_checkpoint_says_is_told_as_far_as_the_kernel_holds_it(
    directory: Path, remembered: list[str], held: list[tuple[str, bytes, float, Name]], excepts: bool
) -> None:
    allowed = policy(excepts)
    life = Life(directory, allowed, limits=LIMITS, now=NOW)
    life.checkpoint.path.write_bytes(seal(Header(BOOT, NOW - 1), remembered))
    life.checkpoint.path.chmod(0o600)
    kernel = {(rule, address): until for rule, address, until, _ in held if until > NOW}
    life.begin(one for one in held if one[2] > NOW)
    for rule, address, lease in life.ledger.leases(NOW):
        assert lease.deadline == kernel[rule, address]
    for (name, _), told in life.told_of([(name, qtype) for name in NAMES for qtype in TYPES]).items():
        granting = listing(life, allowed, parse_name(name))
        for rrset in told.answer:
            assert granting, f"{name} was answered"
            for address in addresses(rrset):
                assert_held(kernel, granting, address, rrset.ttl)
    assert_derived(life, allowed)


def listing(life: Life, allowed: Policy, name: Name) -> list[str]:
    """The rules that list the name, or that its derivation names."""
    traces = [trace for trace in allowed.explain(name, 1, life.wall) if trace.outcome == "allows"]
    led = [rule.name for rule, _ in life.road.derived.leads(name, NOW)]
    return [trace.rule.name for trace in traces] or led


def addresses(rrset: dns.rrset.RRset) -> list[bytes]:
    """All that a client could take from it."""
    if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
        return [ip_address(record.to_text()).packed for record in rrset]
    if rrset.rdtype == dns.rdatatype.HTTPS:
        return [address for record in rrset for address in svcb.hints(record.to_wire() or b"")]
    return []


def assert_held(
    kernel: dict[tuple[str, bytes], float], granting: list[str], address: bytes, ttl: int
) -> None:
    private = address == ip_address("10.0.0.1").packed
    assert address != ip_address("::1").packed
    for rule in ["lan"] if private else granting:
        assert rule in granting
        assert kernel.get((rule, address), 0.0) >= NOW + ttl


def assert_derived(life: Life, allowed: Policy) -> None:
    rules_now = {rule.name: rule for rule in allowed.rules}
    for name, target, lead in life.road.derived.held():
        rule = rules_now[name]
        assert allowed.lists(rule, lead.root), to_text(target)
        assert allowed.leaves(rule, target)
        assert 0 < lead.steps <= STEPS_MAX
        claims = [
            min(lease.deadline, NOW + 1e9)
            for holder, _, lease in life.ledger.of(lead.root, NOW)
            if holder == name
        ]
        assert lead.until <= max(claims)
