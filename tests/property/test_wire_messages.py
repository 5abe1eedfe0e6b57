"""Whatever dnspython or dnslib writes, wire/ reads alike; whatever wire/ writes, they read alike.

And any bytes at all give a value or a WireError.
"""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dnslib
from dns.rdtypes.svcbbase import SVCBBase
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.errors import WireError
from dynallow.wire.chain import negative, walk
from dynallow.wire.numbers import CD, DO
from dynallow.wire.query import build_query
from dynallow.wire.question import QuestionError, parse_question
from dynallow.wire.render import render, retold
from dynallow.wire.response import Record, parse_response
from dynallow.wire.svcb import check_params, hints, priority, rebuild

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, HTTPS, PRIVATE = (
    1,
    2,
    5,
    6,
    12,
    15,
    16,
    28,
    33,
    39,
    65,
    65280,
)
QNAME = b"\x03deb\x07example\x03org\0"

brief = settings()  # as many as the profile says

_labels = st.sampled_from(
    [b"a", b"cdn", b"EDGE", b"Example", b"org", b"net", b"x" * 63, b"\x03org", b"\xc0\x0c"]
)
names = st.lists(_labels, max_size=3).map(
    lambda labels: b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
)
_strings = st.lists(
    st.binary(max_size=20).map(lambda text: bytes([len(text)]) + text), min_size=1, max_size=3
)
_values: dict[int, st.SearchStrategy[bytes]] = {
    A: st.binary(min_size=4, max_size=4),
    AAAA: st.binary(min_size=16, max_size=16),
    NS: names,
    CNAME: names,
    PTR: names,
    DNAME: names,
    MX: st.builds(bytes.__add__, st.binary(min_size=2, max_size=2), names),
    SRV: st.builds(bytes.__add__, st.binary(min_size=6, max_size=6), names),
    SOA: st.builds(
        lambda one, two, rest: one + two + rest, names, names, st.binary(min_size=20, max_size=20)
    ),
    TXT: _strings.map(b"".join),
    PRIVATE: st.binary(max_size=40),
}
_ttls = st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([0, 1, 60, 2**31 - 1]))


@st.composite
def rrsets(draw: st.DrawFn) -> list[dns.rrset.RRset]:
    """RRsets with distinct owners and types, as a message's section holds them."""
    found: dict[tuple[bytes, int], dns.rrset.RRset] = {}
    for _ in range(draw(st.integers(0, 6))):
        owner, rtype = draw(st.one_of(names, st.just(QNAME))), draw(st.sampled_from(sorted(_values)))
        many = 1 if rtype in (CNAME, SOA, DNAME) else 3
        values = draw(st.lists(_values[rtype], min_size=1, max_size=many, unique_by=bytes.lower))
        rdatas = [
            dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rtype), value, 0, len(value))
            for value in values
        ]
        name = dns.name.from_wire(owner, 0)[0]
        found[owner.lower(), rtype] = dns.rrset.from_rdata_list(name, draw(_ttls), rdatas)
    return list(found.values())


def plain(sections: list[dns.rrset.RRset]) -> set[Record]:
    """The records of `sections` with names in lower case, each name uncompressed."""
    return {
        (rrset.name.to_digestable(), int(rrset.rdtype), rrset.ttl, rdata.to_digestable())
        for rrset in sections
        for rdata in rrset
    }


@brief
@given(answer=rrsets(), authority=rrsets(), additional=rrsets(), edns=st.booleans())
def test_response_written_by_dnspython_reads_as_the_same_records(
    answer: list[dns.rrset.RRset],
    authority: list[dns.rrset.RRset],
    additional: list[dns.rrset.RRset],
    edns: bool,
) -> None:
    query = dns.message.make_query(dns.name.from_wire(QNAME, 0)[0], "A", id=7, use_edns=0 if edns else -1)
    message = dns.message.make_response(query)
    message.answer, message.authority, message.additional = answer, authority, additional
    response = parse_response(message.to_wire(max_size=65535), id=7, name=QNAME, qtype=A)
    assert set(response.answer) == plain(answer)
    assert set(response.authority) == plain(authority)


@brief
@given(answer=rrsets())
def test_response_rewritten_by_dnslib_reads_as_the_same_records(answer: list[dns.rrset.RRset]) -> None:
    # dnslib cannot hold labels with dots or odd bytes faithfully, nor some types: addresses and CNAMEs do.
    record = dnslib.DNSRecord(
        dnslib.DNSHeader(id=7, qr=1, ra=1), q=dnslib.DNSQuestion("deb.example.org", dnslib.QTYPE.A)
    )
    expected = set()
    for index, rrset in enumerate(rrset for rrset in answer if rrset.rdtype in (A, AAAA)):
        owner = f"n{index}.cdn.Example.net"
        record.add_answer(
            dnslib.RR(owner, dnslib.QTYPE.CNAME, rdata=dnslib.CNAME("edge." + owner), ttl=rrset.ttl)
        )
        wire = dns.name.from_text("edge." + owner).to_digestable()
        expected.add((wire[5:], CNAME, rrset.ttl, wire))
        for rdata in rrset:
            data = dnslib.A(str(rdata)) if rrset.rdtype == A else dnslib.AAAA(str(rdata))
            record.add_answer(dnslib.RR("edge." + owner, int(rrset.rdtype), rdata=data, ttl=rrset.ttl))
            expected.add((wire, int(rrset.rdtype), rrset.ttl, rdata.to_digestable()))
    assert set(parse_response(bytes(record.pack()), id=7, name=QNAME, qtype=A).answer) == expected


@brief
@given(answer=rrsets(), authority=rrsets(), edns=st.booleans(), ttl_s=st.integers(0, 2**31 - 1))
def test_reply_reads_in_dnspython_as_the_records_it_was_made_from(
    answer: list[dns.rrset.RRset], authority: list[dns.rrset.RRset], edns: bool, ttl_s: int
) -> None:
    records, denial = sorted(plain(answer)), sorted(plain(authority))
    template = render(
        QNAME + b"\0\1\0\1", flags=0x0100, rcode=0, records=records, authority=denial, edns=edns
    )
    message = dns.message.from_wire(b"\0\7" + template[0])
    assert plain(message.answer) == set(records)
    assert plain(message.authority) == set(denial)
    later = dns.message.from_wire(b"\0\7" + retold(template, ttl_s))

    def all_told(section: list[Record]) -> set[Record]:
        return {(owner, rtype, ttl_s, rdata) for owner, rtype, _, rdata in section}

    assert plain(later.answer) == all_told(records)
    assert plain(later.authority) == all_told(denial)
    assert (message.edns == 0) is edns


@brief
@given(answer=rrsets(), size=st.integers(0, 700))
def test_reply_never_exceeds_its_size_unless_it_is_empty(answer: list[dns.rrset.RRset], size: int) -> None:
    records = sorted(plain(answer))
    template = render(QNAME + b"\0\1\0\1", flags=0, rcode=0, records=records, edns=True, max_size=size)
    message = dns.message.from_wire(b"\0\7" + template[0])
    if message.flags & dns.flags.TC:
        assert not message.answer
        assert len(render(QNAME + b"\0\1\0\1", flags=0, rcode=0, records=records, edns=True)[0]) + 2 > size
    else:
        assert len(template[0]) + 2 <= size


@brief
@given(name=names, qtype=st.integers(0, 65535), id=st.integers(0, 65535), cd=st.booleans(), do=st.booleans())
def test_query_reads_alike_here_and_in_dnspython(
    name: bytes, qtype: int, id: int, cd: bool, do: bool
) -> None:
    packet = build_query(id, name, qtype, CD * cd | DO * do)
    ours = parse_question(packet)
    assert (ours.id, ours.name, ours.qtype, bool(ours.flags & CD), ours.do) == (
        id,
        name.lower(),
        qtype,
        cd,
        do,
    )
    if qtype not in (251, 252):  # dnspython makes transfers of these
        theirs = dns.message.from_wire(packet)
        assert (theirs.id, theirs.question[0].name.to_wire(), int(theirs.question[0].rdtype)) == (
            id,
            name,
            qtype,
        )


_frames = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda counts, tail: b"\0\7\x81\x80\0\1" + counts + QNAME + b"\0\1\0\1" + tail,
        st.sampled_from([b"\0\1\0\0\0\0", b"\0\2\0\1\0\0", b"\0\0\0\0\0\1", b"\xff\xff\0\0\0\0"]),
        st.lists(
            st.one_of(
                st.sampled_from(
                    [b"\xc0\x0c", b"\xc0\x10", b"\0\1\0\1\0\0\0\x3c\0\4", b"\0\5\0\1\0\0\0\x3c\0\2"]
                ),
                st.sampled_from([b"\0\0\x29\4\xd0\0\0\0\0\0\0", b"\0\x41\0\1\0\0\0\x3c\0\7\0\1\0"]),
                st.binary(max_size=8),
            ),
            max_size=12,
        ).map(b"".join),
    ),
)


@settings(max_examples=4 * settings().max_examples)
@given(packet=_frames)
def test_any_bytes_as_response_give_a_value_or_wire_error(packet: bytes) -> None:
    try:
        response = parse_response(packet, id=7, name=QNAME, qtype=A)
        negative(response, walk(response, QNAME, A).end)
    except WireError:
        pass


@settings(max_examples=4 * settings().max_examples)
@given(packet=st.one_of(_frames, _frames.map(lambda packet: packet[:2] + b"\1\0" + packet[4:])))
def test_any_bytes_as_question_give_a_value_or_an_error_that_can_be_answered(packet: bytes) -> None:
    try:
        question = parse_question(packet)
    except QuestionError as error:
        if error.rcode is not None:
            head = render(error.section, flags=error.flags, rcode=error.rcode, edns=error.edns is not None)[0]
            dns.message.from_wire(packet[:2] + head)
    else:
        assert packet[12:].startswith(question.section)
        assert question.edns is None or isinstance(question.edns.options, tuple)


_hint = st.sampled_from([bytes([192, 0, 2, last]) for last in range(4)])
_hint6 = _hint.map(lambda packed: packed * 4)
_params = st.fixed_dictionaries(
    {},
    optional={
        1: st.just(b"\x02h2"),
        3: st.just(b"\x01\xbb"),
        4: st.lists(_hint, min_size=1, max_size=3).map(b"".join),
        5: st.binary(max_size=5),
        6: st.lists(_hint6, min_size=1, max_size=3).map(b"".join),
        65000: st.binary(max_size=5),
    },
)


@brief
@given(
    params=_params, rank=st.integers(0, 2), demand=st.booleans(), keep=st.frozensets(st.one_of(_hint, _hint6))
)
def test_rebuilt_svcb_is_well_formed_and_holds_nothing_outside_keep(
    params: dict[int, bytes], rank: int, demand: bool, keep: frozenset[bytes]
) -> None:
    if params and demand:
        params = {0: struct.pack(f">{len(params)}H", *sorted(params)), **params}
    body = b"".join(struct.pack(">HH", key, len(params[key])) + params[key] for key in sorted(params))
    rdata = struct.pack(">H", rank) + b"\0" + body
    check_params(rdata)
    rebuilt = rebuild(rdata, keep)
    check_params(rebuilt)
    assert hints(rebuilt) == tuple(address for address in hints(rdata) if address in keep)
    theirs = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HTTPS, rebuilt, 0, len(rebuilt))
    assert isinstance(theirs, SVCBBase)
    assert 5 not in {int(key) for key in theirs.params}
    assert priority(rebuilt) == rank
