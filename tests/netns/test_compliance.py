"""The probes of RFC 8906 section 8, those of ISC's `genreport`, and more of EDNS, asked with `dig`.

`genreport` itself is in no Debian package. Its manual lists its tests, and each of the groups EDNS,
FULL and COMM (`-f`, `-c`; `-R` sends them to a recursive server) is here by its name there, in brackets;
TYPE (`-t`) is below. Left out: `dnswkk`, which tries a TSIG key, and `icmp`.

Against the real agent, in front of a real name server, over both families. A
probe passes when the reply says what the RFC expects of a recursive server:
never AA, QR and RA always, RD as asked, OPT exactly when the question had one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype
import pytest

from tests.lab import Lab, Zone, dnsbytes
from tests.lab.agent import Agent
from tests.lab.needs import require
from tests.netns.asking import V4, V6, Client, ede_of, opt, packet, read
from tests.netns.malformed import raw

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "listed"
names = [".example.org"]
types = ["A", "AAAA", "SOA", "NS", "DNSKEY", "TXT", "TYPE1000"]
"""
BADVERS, FORMERR = 16, 1
COOKIE, KEEPALIVE, PADDING, NSID, EXPIRE, SUBNET = 10, 11, 12, 3, 9, 8


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(web=False) as lab:
        lab.serve(
            Zone("example.org").both("www", 10).large("many", "198.18.0.0/15", 60).txt("long", "x" * 250)
        )
        yield lab


@pytest.fixture(scope="module")
def agent(lab: Lab) -> Agent:
    return lab.agent(SETTINGS)


@pytest.fixture
def client(lab: Lab, agent: Agent) -> Iterator[Client]:
    with closing(Client(lab.host)) as client:
        yield client
    assert agent.process.poll() is None, agent.log
    assert "Traceback" not in agent.log, agent.log


# -- dig ----------------------------------------------------------------------


class Expected(NamedTuple):
    status: str = "NOERROR"
    answered: bool = True
    edns: bool = True
    flags: str = "qr ra"
    extra: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


PLAIN = Expected(edns=False)
EMPTY = Expected(answered=False, edns=False)
VERSION = Expected("BADVERS", answered=False)
_KNOWN = {
    "nsid": "+nocookie +nsid",
    "cookie": "+cookie",
    "expire": "+nocookie +expire",
    "subnet": "+nocookie +subnet=0.0.0.0/0",
}
_UNANSWERED = ("NSID", "EXPIRE", "CLIENT-SUBNET")
_BARE = "+noad +norec +nocookie"
# RFC 8906's number, what it asks (beside `example.org SOA` unless it says otherwise), what it expects.
PROBES = {
    "8.1.1 is it there (dns)": ("+noedns +noad +norec", PLAIN),
    "8.1.2 unknown type": ("+noedns +noad +norec -t TYPE1000", EMPTY),
    "8.1.2 unknown type (type666)": ("+noedns +noad +norec -t TYPE666", EMPTY),
    "8.1.2 type that no rule lists": ("+noedns +noad +norec -t TYPE1001", EMPTY),
    "8.1.3.1 CD (cd)": ("+noedns +noad +norec +cd", PLAIN._replace(flags="qr ra cd")),
    "8.1.3.2 AD (ad)": ("+noedns +norec +ad", PLAIN),
    "8.1.3.3 reserved bit (zflag)": ("+noedns +noad +norec +zflag", PLAIN._replace(never=("MBZ",))),
    "8.1.3.4 recursion (rd)": ("+noedns +noad +rec", PLAIN._replace(flags="qr rd ra")),
    "AA in a question (aa)": ("+noedns +noad +norec +aaflag", PLAIN),
    "RA in a question (ra)": ("+noedns +noad +norec +raflag", PLAIN),
    "TC in a question (tc)": ("+noedns +noad +norec +tcflag", PLAIN),
    "8.1.4 unknown opcode (opcode)": (
        "+noedns +noad +opcode=15 +norec +header-only", Expected("NOTIMP", False, False, "qr ra")),
    "8.1.4 unknown opcode, with a question": (
        "+noedns +noad +opcode=15 +norec", Expected("NOTIMP", False, False, "qr ra")),
    "8.1.4 unknown opcode and every flag (opcodeflg)": (
        "+noedns +opcode=15 +header-only +tcflag +rec +raflag +cd +ad +aaflag +zflag",
        Expected("NOTIMP", False, False, "qr rd ra cd")._replace(never=("MBZ",))),
    "8.1.5 TCP (tcp)": ("+noedns +noad +norec +tcp", PLAIN),
    "8.2.1 EDNS (edns)": (f"+edns=0 {_BARE}", Expected()),
    "8.2.2 EDNS version 1 (edns1)": (f"+edns=1 +noednsneg {_BARE}", VERSION),
    "8.2.3 unknown option (ednsopt)": (f"+edns=0 +ednsopt=100 {_BARE}", Expected(never=("OPT=100",))),
    "8.2.4 unknown flags (ednsflags)": (f"+edns=0 +ednsflags=0x40 {_BARE}", Expected(never=("MBZ",))),
    "8.2.5 version 1 and unknown flags": (
        f"+edns=1 +noednsneg +ednsflags=0x40 {_BARE}", VERSION._replace(never=("MBZ",))),
    "8.2.6 version 1 and unknown option (edns1opt)": (
        f"+edns=1 +noednsneg +ednsopt=100 {_BARE}", VERSION._replace(never=("OPT=100",))),
    "8.2.7 truncated (edns@512)": (
        f"+edns=0 +bufsize=512 +ignore +dnssec {_BARE} many.example.org A",
        Expected(answered=False, flags="qr tc ra", extra=("flags: do; udp: 1232",))),
    "8.2.8 DO (do)": (f"+edns=0 +dnssec {_BARE}", Expected(extra=("flags: do;",))),
    "DO and CD (docd)": (f"+edns=0 +dnssec +cd {_BARE}", Expected(flags="qr ra cd", extra=("flags: do;",))),
    "8.2.9 version 1 and DO (edns1do)": (f"+edns=1 +noednsneg +dnssec {_BARE}", VERSION),
    "8.2.10 many known options (optlist)": (
        "+edns=0 +noad +norec +cookie +nsid +expire +subnet=0.0.0.0/0",
        Expected(extra=("; COOKIE: ", "(good)"), never=("NSID", "EXPIRE", "CLIENT-SUBNET"))),
    **{
        f"{name} ({version}{name})": (f"+edns={number} {more} {words} +noad +norec", expected)
        for version, number, more, expected in (
            ("edns", 0, "", Expected(never=_UNANSWERED)),
            ("edns1", 1, "+noednsneg", VERSION._replace(never=(*_UNANSWERED, "COOKIE"))),
        )
        for name, words in _KNOWN.items()
    },
    "as BIND 9.11 asks (bind11)": (
        "+edns=0 +bufsize=4096 +cookie +dnssec +norec +noad", Expected(extra=("(good)", "flags: do;"))),
    "as dig 9.11 asks (dig11)": (
        "+edns=0 +bufsize=4096 +cookie +ad +rec", Expected(flags="qr rd ra", extra=("(good)",))),
    "EDNS over TCP (ednstcp)": (f"+edns=0 +tcp {_BARE}", Expected()),
    "truncated without EDNS": (
        "+noedns +ignore +noad +norec many.example.org A", EMPTY._replace(flags="qr tc ra")),
    "buffer below 512": (f"+edns=0 +bufsize=100 {_BARE}", Expected(extra=("udp: 1232",))),
    "keepalive over UDP": (f"+edns=0 +keepalive {_BARE}", Expected(never=("KEEPALIVE",))),
    "keepalive over TCP": (f"+edns=0 +keepalive +tcp {_BARE}", Expected(extra=("KEEPALIVE: 10.0 secs",))),
    "padding": (f"+edns=0 +padding=128 {_BARE}", Expected(never=("PAD",))),
    "cookie over TCP": ("+edns=0 +cookie +tcp +noad +norec", Expected(extra=("(good)",))),
    "cookie and version 1": ("+edns=1 +noednsneg +cookie +noad +norec", VERSION._replace(never=("COOKIE",))),
    "cookie and a denied name": (
        "+cookie +noad +norec denied.example.net A",
        Expected("NXDOMAIN", False, extra=("(good)", "EDE: 15"))),
    "cookie and an unserved type": (
        "+cookie +noad +norec example.org ANY +notcp", Expected("REFUSED", False, extra=("(good)",))),
    "half a cookie": ("+noad +norec +nocookie +ednsopt=10:0011223344", Expected("FORMERR", False)),
}  # fmt: skip


@pytest.mark.parametrize("server", [V4, V6])
@pytest.mark.parametrize("what", PROBES)
def test_probe_gets_the_reply_that_rfc_8906_expects(lab: Lab, client: Client, server: str, what: str) -> None:
    require("dig")
    line, expected = PROBES[what]
    words = line.split()
    asked = [] if any(word.endswith(("example.org", "example.net")) for word in words) else ["example.org"]
    if asked and "-t" not in words:
        asked.append("SOA")
    out = lab.host.run(["dig", f"@{server}", "+tries=1", "+time=30", *asked, *words], check=False).stdout
    assert _found(r"status: (\w+)", out) == expected.status, out
    assert _found(r"flags: ([a-z ]+);", out).strip() == expected.flags, out
    assert (int(_found(r"ANSWER: (\d+)", out)) > 0) == expected.answered, out
    assert ("; EDNS: version: 0," in out) == expected.edns, out
    for text in expected.extra:
        assert text in out, out
    for text in expected.never:
        assert text not in out, out


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]


# genreport's TYPE group: the types that its manual names.
TYPES = """
A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY PX
GPOS AAAA LOC NXT SRV NAPTR KX CERT A6 DNAME APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM
TLSA SMIMEA HIP CDS CDNSKEY OPENPGPKEY SPF NID L32 L64 LP EUI48 EUI64 URI CAA AVC TYPE259 TYPE32769 TYPE1000
"""


@pytest.mark.parametrize("server", [V4, V6])
def test_every_type_of_genreports_gets_an_answer_or_an_empty_one(client: Client, server: str) -> None:
    for rtype in TYPES.split():
        asked = dns.message.make_query("example.org", dns.rdatatype.from_text(rtype), use_edns=False)
        reply = read(client.udp(asked.to_wire(), server))
        assert reply.rcode == "NOERROR", rtype
        assert reply.message.question == asked.question
        assert reply.message.edns == -1
        assert bool(reply.message.answer) == (rtype in ("NS", "SOA")), rtype


# -- what dig cannot make -----------------------------------------------------

QUESTION = dnsbytes.name("www.example.org") + struct.pack("!HH", dnsbytes.A, dnsbytes.IN)


def option(code: int, data: bytes) -> bytes:
    return struct.pack("!HH", code, len(data)) + data


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw(QUESTION + opt() + opt(), ar=2), id="two OPT records"),
        pytest.param(raw(QUESTION + opt(), an=1), id="OPT in the answer section"),
        pytest.param(raw(QUESTION + opt(), ns=1), id="OPT in the authority section"),
        pytest.param(raw(QUESTION + opt(options=b"\0\x0a\0"), ar=1), id="option cut off"),
        *(
            pytest.param(
                raw(QUESTION + opt(options=option(COOKIE, bytes(size))), ar=1), id=f"cookie of {size}"
            )
            for size in (0, 1, 7, 9, 15, 41, 255)
        ),
    ],
)
def test_malformed_edns_gets_formerr(client: Client, data: bytes, tcp: bool) -> None:
    reply = client.tcp(data) if tcp else client.udp(data)
    assert reply[3] & 15 == FORMERR
    assert dns.message.from_wire(reply).answer == []


@pytest.mark.parametrize("server", [V4, V6])
@pytest.mark.parametrize("size", [8, 16, 24, 40])
def test_question_with_any_cookie_is_answered_with_the_same_one(
    client: Client, server: str, size: int
) -> None:
    """Good, old or made up: over UDP and TCP, fresh and cached, a client has one cookie."""
    sent = bytes(range(1, size + 1))
    told = {
        _cookie(client.tcp(data, server) if tcp else client.udp(data, server))
        for tcp in (False, True, False)
        for data in (packet("www.example.org", edns=opt(options=option(COOKIE, sent))),)
    }
    (cookie,) = told
    assert len(cookie) == 24
    assert cookie[:8] == sent[:8]
    again = packet("www.example.org", edns=opt(options=option(COOKIE, cookie)))
    assert _cookie(client.udp(again, server)) == cookie


def test_cookie_differs_by_client_cookie_and_family(client: Client) -> None:
    asked = [opt(options=option(COOKIE, bytes([n]) * 8)) for n in (1, 2)]
    told = {_cookie(client.udp(packet("www.example.org", edns=one), s)) for one in asked for s in (V4, V6)}
    assert len({cookie[8:] for cookie in told}) == 4


def _cookie(reply: bytes) -> bytes:
    told = read(reply)
    assert list(told.addresses) == ["192.0.2.10"]
    (found,) = [one for one in told.message.options if one.otype == COOKIE]
    return bytes(found.to_wire() or b"")


def test_reply_that_fits_only_without_the_cookie_is_cut(client: Client) -> None:
    """With 512 bytes: an answer that fills them, then the same with a cookie."""
    name = "many.example.org"
    for size in range(512, 1233):
        told = client.udp(packet(name, edns=opt(size=size)))
        if not read(told).truncated:
            break
    asked = packet(name, edns=opt(size=size, options=option(COOKIE, bytes(8))))
    reply = client.udp(asked)
    assert len(told) == size
    assert len(reply) < 512
    assert read(reply).truncated
    assert read(reply).addresses == {}
    assert COOKIE in [one.otype for one in read(reply).message.options]
    larger = packet(name, edns=opt(size=size + 28, options=option(COOKIE, bytes(8))))
    assert not read(client.udp(larger)).truncated


def test_reason_of_a_denial_gives_way_to_the_cookie(client: Client) -> None:
    long = ".".join(["x" * 60] * 3 + ["net"])
    asked = packet(long, edns=opt(size=512, options=option(COOKIE, bytes(8))))
    reply = client.udp(asked)
    told = read(reply)
    assert (told.rcode, told.truncated) == ("NXDOMAIN", False)
    assert len(reply) <= 512
    assert ede_of(told) == []
    assert ede_of(read(client.tcp(asked)))


def test_unknown_options_flags_and_records_are_passed_over(client: Client) -> None:
    options = b"".join(
        option(code, bytes(12)) for code in (65001, NSID, EXPIRE, PADDING, SUBNET, 5, 6, 7, 13)
    )
    tsig = dnsbytes.rr(dnsbytes.name("key"), 250, bytes(20), rclass=255, ttl=0)
    data = raw(QUESTION + opt(flags=0x7FFF, options=options) + tsig, ar=2)
    told = read(client.udp(data))
    assert list(told.addresses) == ["192.0.2.10"]
    assert told.message.options == ()
    assert told.message.ednsflags & 0xFFFF == 0
    assert not told.message.flags & (dns.flags.AD | dns.flags.AA)
