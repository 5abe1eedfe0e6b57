"""Bad, odd and forbidden questions to the real agent (DESIGN section 10, first rows).

The fast cases are raw bytes, because `dig` cannot make them; what `dig` can
ask is asked by `dig`, as an administrator would. Whatever comes in: the reply
is what RFC 8906 asks for, and the agent answers the next question.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import dns.flags
import pytest

from tests.lab import Lab, dnsbytes
from tests.lab.agent import Agent
from tests.lab.needs import require
from tests.netns.asking import V4, V6, Client, Told, ede_of, opt, packet, read
from tests.netns.malformed import GOOD, MALFORMED, NAME, TAIL, raw
from tests.netns.manyfold import manyfold

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
denied = "%s"
[[rule]]
name = "listed"
names = ["*.example.org", "deep.below.example.net", "%s.label.example.com"]
except = ["tracker.example.org"]
reason = "what the lab needs"
"""
LABEL_63 = "a" * 63
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
EDE_BLOCKED, EDE_FILTERED = 15, 17
AXFR, IXFR, BADVERS = 252, 251, 16
SILENCE_S = 0.3


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> object:
    return shared_lab.scripted(manyfold)


@pytest.fixture(scope="module")
def agent(shared_lab: Lab, upstream: object) -> Agent:
    return shared_lab.agent(SETTINGS % ("nxdomain", LABEL_63))


@pytest.fixture
def client(shared_lab: Lab, agent: Agent) -> Iterator[Client]:
    """Checked at the end of each test: the agent still answers, and nothing broke inside."""
    client = Client(shared_lab.host)
    yield client
    assert client.ask("good.example.org").addresses == {"192.0.2.1": pytest.approx(300, abs=300)}
    client.close()
    assert agent.process.poll() is None, agent.log
    assert "Traceback" not in agent.log, agent.log


@pytest.fixture(params=["udp-v4", "udp-v6", "tcp-v4", "tcp-v6"])
def exchange(request: pytest.FixtureRequest, client: Client) -> Exchange:
    way, family = request.param.split("-")
    return Exchange(client, way == "tcp", V6 if family == "v6" else V4)


class Exchange:
    """One question by one transport to one listener."""

    def __init__(self, client: Client, tcp: bool, server: str) -> None:
        self._send = client.tcp if tcp else client.udp
        self._server = server
        self.tcp = tcp

    def __call__(self, data: bytes) -> bytes:
        return self._send(data, self._server)

    def is_silent(self, data: bytes) -> bool:
        """No reply; over TCP the connection is closed without one."""
        try:
            self._send(data, self._server, within_s=SILENCE_S)
        except (TimeoutError, EOFError, ConnectionResetError):
            return True
        return False


def _header(reply: bytes) -> tuple[int, int, int]:
    """(rcode, opcode, questions) without a parser: an error reply may be a bare header."""
    _ident, flags, questions = struct.unpack_from("!3H", reply)
    assert flags & dnsbytes.QR
    return flags & 15, flags >> 11 & 15, questions


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_question_gets_formerr(exchange: Exchange, what: str) -> None:
    reply = exchange(MALFORMED[what])
    assert reply[:2] == b"\x42\x42"
    rcode, opcode, _ = _header(reply)
    assert (rcode, opcode) == (FORMERR, 0)
    assert read(reply).addresses == {}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw(NAME + TAIL, flags=dnsbytes.QR | dnsbytes.RD), id="response"),
        pytest.param(raw(b"", qd=0, flags=dnsbytes.QR | FORMERR), id="error response"),
        pytest.param(raw(NAME + TAIL, flags=dnsbytes.QR | 4 << 11), id="notify response"),
        pytest.param(GOOD[:11], id="eleven bytes"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(b"", id="empty"),
    ],
)
def test_response_or_stump_gets_silence(exchange: Exchange, data: bytes) -> None:
    """A reply to a reply is how two servers talk for ever."""
    assert exchange.is_silent(data)


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 7, 15])
def test_unknown_opcode_gets_notimp(exchange: Exchange, opcode: int) -> None:
    rcode, echoed, _ = _header(exchange(raw(NAME + TAIL, flags=opcode << 11)))
    assert (rcode, echoed) == (NOTIMP, opcode)


@pytest.mark.parametrize("qtype", [dnsbytes.ANY, AXFR, IXFR, 41, 249, 250], ids=str)
def test_unserved_type_gets_refused(exchange: Exchange, qtype: int) -> None:
    told = read(exchange(packet("good.example.org", qtype)))
    assert told.rcode == "REFUSED"
    assert not told.message.answer


@pytest.mark.parametrize("qclass", [dnsbytes.CH, 4, 254, 255], ids=["CH", "HS", "NONE", "ANY"])
def test_other_class_gets_refused(exchange: Exchange, qclass: int) -> None:
    assert read(exchange(packet("good.example.org", qclass=qclass))).rcode == "REFUSED"


def test_edns_version_1_gets_badvers(exchange: Exchange) -> None:
    told = read(exchange(packet("good.example.org", edns=opt(version=1))))
    assert told.message.rcode() == BADVERS
    assert told.message.edns == 0
    assert told.addresses == {}


def test_edns_flags_and_options_are_ignored(exchange: Exchange) -> None:
    """An unknown option, a client subnet, padding; all Z bits (RFC 6891 section 6.1.4). A cookie is not."""
    options = b"".join(
        struct.pack("!HH", code, len(data)) + data
        for code, data in (
            (10, b"8 bytes!"),
            (8, b"\0\x01\x18\0\xc0\0\2"),
            (12, bytes(30)),
            (65001, b"?"),
            (3, b""),
        )
    )
    told = read(exchange(packet("good.example.org", edns=opt(flags=0x7FFF, options=options))))
    assert list(told.addresses) == ["192.0.2.1"]
    assert [option.otype for option in told.message.options] == [10]  # the cookie, and nothing else


def test_question_without_edns_gets_a_reply_without(exchange: Exchange) -> None:
    told = read(exchange(packet("good.example.org", edns=None)))
    assert list(told.addresses) == ["192.0.2.1"]
    assert told.message.edns == -1


def test_do_bit_is_echoed_and_unknown_header_bits_are_not(exchange: Exchange) -> None:
    told = read(exchange(packet("good.example.org", edns=opt(flags=0x8000), flags=dnsbytes.RD | 0x0060)))
    assert told.message.ednsflags & dns.flags.DO
    assert not told.message.flags & 0x0040


# -- sizes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edns", "limit"),
    [
        pytest.param(None, 512, id="no EDNS"),
        pytest.param(opt(size=0), 512, id="size 0"),
        pytest.param(opt(size=512), 512, id="size 512"),
        pytest.param(opt(size=900), 900, id="size 900"),
        pytest.param(opt(size=1232), 1232, id="size 1232"),
        pytest.param(opt(size=65535), 1232, id="size 65535"),
    ],
)
def test_reply_that_does_not_fit_is_truncated_and_empty_and_tcp_carries_it(
    client: Client, edns: bytes | None, limit: int
) -> None:
    """Owners are two bytes long in the reply, so an A record takes 16."""
    room = (limit - len(GOOD) - 11) // 16
    for count, fits in ((room - 2, True), (room + 2, False)):
        name = f"many{count}.example.org"
        data = packet(name, edns=edns)
        reply = client.udp(data)
        told = read(reply)
        assert len(reply) <= limit
        assert told.truncated is not fits
        assert len(told.addresses) == (count if fits else 0)
        assert len(told.message.answer) == (1 if fits else 0)
        whole = read(client.tcp(data))
        assert not whole.truncated
        assert len(whole.addresses) == count
        # and again, now from the cache
        assert read(client.udp(data)).truncated is not fits


# -- denials ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "example.net.evil.test", "notexample.org", "example.org", "xexample.org", "example.org.evil.test",
        "tracker.example.org", "org", "good.example.org.net", "good-example.org", "goodexample.org",
        "x.deep.below.example.net", "other.label.example.com",
    ],
)  # fmt: skip
def test_denied_name_gets_a_denial_with_soa_and_reason(exchange: Exchange, name: str) -> None:
    told = read(exchange(packet(name)))
    # Allowed names lie below, also below the one that is excepted: NODATA.
    below = name in ("org", "example.org", "tracker.example.org")
    assert told.rcode == ("NOERROR" if below else "NXDOMAIN")
    _is_denial(told, EDE_BLOCKED)


def test_ancestor_of_an_allowed_name_gets_nodata(exchange: Exchange) -> None:
    """NXDOMAIN would deny the names below as well (RFC 8020)."""
    for name in ("below.example.net", "example.net", "net", "label.example.com"):
        told = read(exchange(packet(name)))
        assert told.rcode == "NOERROR", name
        _is_denial(told, EDE_BLOCKED)


@pytest.mark.parametrize(
    "qtype", [dnsbytes.TXT, 10, dnsbytes.MX, dnsbytes.NS, dnsbytes.SOA, 48, 65280], ids=str
)
def test_type_that_no_rule_lists_gets_nodata_with_ede_17(exchange: Exchange, qtype: int) -> None:
    told = read(exchange(packet("good.example.org", qtype)))
    assert told.rcode == "NOERROR"
    _is_denial(told, EDE_FILTERED)


def test_denied_name_without_edns_gets_no_reason(exchange: Exchange) -> None:
    told = read(exchange(packet("notexample.org", edns=None)))
    assert told.rcode == "NXDOMAIN"
    assert told.message.edns == -1


def test_root_is_denied(exchange: Exchange) -> None:
    told = read(exchange(packet(b"\0")))
    assert told.addresses == {}
    assert told.rcode in ("NOERROR", "NXDOMAIN")


def _is_denial(told: Told, code: int) -> None:
    assert not told.message.answer
    (soa,) = told.message.authority
    assert soa.rdtype == dnsbytes.SOA
    assert 0 < soa.ttl <= 60
    assert 0 < soa[0].minimum <= 60
    ((number, text),) = ede_of(told)
    assert number == code
    assert text


def test_denied_question_never_leaves_the_host(shared_lab: Lab, client: Client) -> None:
    """Invariant 7."""
    sniffer = shared_lab.sniffer()
    for name in ("notexample.org", "example.org", "tracker.example.org", "secret.exfiltration.test"):
        client.ask(name)
        client.ask(name, dnsbytes.TXT, V6, tcp=True)
    assert not sniffer.stop()


# -- names --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GOOD.EXAMPLE.ORG", "gOoD.eXaMpLe.OrG", "Good.example.org"])
def test_case_of_the_question_is_echoed(exchange: Exchange, name: str) -> None:
    """Clients that mix it compare the echo ("0x20"), also with a cached answer of another case."""
    for _ in range(2):
        data = packet(name)
        reply = exchange(data)
        assert reply[12 : 12 + len(NAME) + 4] == dnsbytes.name(name) + TAIL
        assert list(read(reply).addresses) == ["192.0.2.1"]


def test_denied_name_in_mixed_case_is_denied(exchange: Exchange) -> None:
    for name in ("TRACKER.example.org", "tRaCkEr.ExAmPlE.oRg", "NotExample.Org"):
        reply = exchange(packet(name))
        assert [code for code, _ in ede_of(read(reply))] == [EDE_BLOCKED]
        assert dnsbytes.name(name) in reply


def test_label_of_63_bytes_resolves_and_of_64_is_malformed(exchange: Exchange) -> None:
    told = read(exchange(packet(f"{LABEL_63}.label.example.com")))
    assert told.rcode == "NOERROR"
    assert told.addresses
    rcode, _, _ = _header(exchange(packet(f"{LABEL_63}a.label.example.com")))
    assert rcode == FORMERR


def test_name_of_255_bytes_resolves(exchange: Exchange) -> None:
    """The longest name there is: 255 bytes in wire form."""
    end = dnsbytes.name("example.org")
    rest = 255 - len(end) - 3 * 64
    name = (b"\x3f" + b"x" * 63) * 3 + bytes((rest - 1,)) + b"y" * (rest - 1) + end
    assert len(name) == 255
    assert list(read(exchange(packet(name))).addresses) == ["192.0.2.1"]


def test_label_with_odd_bytes_matches_by_label(exchange: Exchange) -> None:
    """A dot, a zero byte or a backslash inside a label is no boundary."""
    end = dnsbytes.name("org")
    sneaky = b"\x0cgood.example" + end  # one label "good.example" below org
    assert read(exchange(packet(sneaky))).addresses == {}
    assert read(exchange(packet(b"\x05ab\0.\\" + dnsbytes.name("example.org")))).rcode == "NOERROR"
    assert read(exchange(packet(b"\x10good.example.org\0"))).rcode == "NXDOMAIN"


# -- settings -----------------------------------------------------------------


def test_denied_as_refused_where_the_settings_say_so(shared_lab: Lab, agent: Agent, client: Client) -> None:
    assert agent.reload(SETTINGS % ("refused", LABEL_63)).returncode == 0
    try:
        for tcp in (False, True):
            told = client.ask("notexample.org", tcp=tcp)
            assert told.rcode == "REFUSED"
            assert not told.message.authority
            assert [code for code, _ in ede_of(told)] == [EDE_BLOCKED]
            assert client.ask("below.example.net", tcp=tcp).rcode == "NOERROR"
    finally:
        assert agent.reload(SETTINGS % ("nxdomain", LABEL_63)).returncode == 0


# -- dig ----------------------------------------------------------------------

DIG = {
    "allowed": (["good.example.org"], "NOERROR", "192.0.2.1"),
    "allowed AAAA over TCP": (["good.example.org", "AAAA", "+tcp"], "NOERROR", "2001:db8::1"),
    "denied": (["notexample.org"], "NXDOMAIN", "EDE: 15 (Blocked)"),
    "excepted": (["tracker.example.org", "+tcp"], "NOERROR", "EDE: 15 (Blocked)"),
    "filtered": (["good.example.org", "TXT"], "NOERROR", "EDE: 17 (Filtered)"),
    "ancestor": (["below.example.net"], "NOERROR", "dynallow.invalid"),
    "any": (["good.example.org", "ANY"], "REFUSED", ""),
    "axfr": (["good.example.org", "AXFR"], "", "Transfer failed"),
    "chaos": (["version.bind", "TXT", "CH"], "REFUSED", ""),
    "badvers": (["good.example.org", "+edns=1", "+noednsnegotiation"], "BADVERS", ""),
    "flags and options": (["good.example.org", "+ednsflags=0x7fff", "+ednsopt=65001:00", "+subnet=192.0.2.0"],
                          "NOERROR", "192.0.2.1"),
    "opcode": (["good.example.org", "+opcode=STATUS"], "NOTIMP", ""),
    "truncated": (["many200.example.org", "+ignore"], "NOERROR", "flags: qr tc rd ra"),
    "truncated, then TCP": (["many200.example.org"], "NOERROR", "ANSWER: 200,"),
    "small buffer": (["many40.example.org", "+bufsize=512", "+ignore"], "NOERROR", "flags: qr tc rd ra"),
    "no recursion wanted": (["good.example.org", "+norecurse"], "NOERROR", "192.0.2.1"),
}  # fmt: skip


@pytest.mark.parametrize("server", [V4, V6])
@pytest.mark.parametrize("what", DIG)
def test_dig_sees(shared_lab: Lab, client: Client, server: str, what: str) -> None:
    require("dig")
    words, status, shown = DIG[what]
    out = shared_lab.host.run(["dig", f"@{server}", "+tries=1", "+time=30", *words], check=False).stdout
    found = re.search(r"status: (\w+)", out)
    assert (found[1] if found else "") == status, out
    assert shown in out, out
