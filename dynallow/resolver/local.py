"""Replies made here, without asking anybody: denials, refusals, errors.

dnslib builds what is rare; denials are put together from constant pieces,
because anybody can cause as many of them as he likes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Literal

import dnslib

from dynallow.errors import DynallowError, UpstreamError
from dynallow.policy.names import parse_name
from dynallow.policy.verdict import FILTERED, Verdict
from dynallow.resolver.options import is_malformed
from dynallow.wire import numbers as n
from dynallow.wire.question import Edns, Question, QuestionError
from dynallow.wire.render import Template, beside_question, render, render_denial, render_opt

DENIAL_TTL_S = 10
"""How long a client may remember a denial, unless set: short, so that a reload is felt (RFC 2308)."""

_EDE_BLOCKED = 15
_EDE_FILTERED = 17
_EDE_OTHER, _EDE_NO_AUTHORITY, _EDE_NETWORK = 0, 22, 23
_AXFR, _IXFR, _ANY = 252, 251, 255
_UNSERVED = frozenset({_AXFR, _IXFR, _ANY, n.OPT, 249, 250})  # 249 TKEY, 250 TSIG

_SOA_NAMES = parse_name("dynallow.invalid") + parse_name("hostmaster.dynallow.invalid")


def refusal(question: Question) -> bytes | None:
    """The reply to a well-formed question that a stub resolver does not serve; None to go on.

    RFC 8906 section 8: an answer with an error beats silence. RFC 8482: ANY is
    refused, nobody needs it here.
    """
    edns = question.edns
    if edns is not None:
        if edns.version != 0:
            return error(question.id, question.flags, n.BADVERS, question.section, edns)
        if edns.raw and is_malformed(edns):
            return error(question.id, question.flags, n.FORMERR, question.section, edns)
    if question.qclass != n.CLASS_IN or question.qtype in _UNSERVED:
        return error(question.id, question.flags, n.REFUSED, question.section, question.edns)
    return None


def malformed(fault: QuestionError) -> bytes | None:
    """The reply to a packet that is no question; None asks for silence."""
    if fault.rcode is None:
        return None
    return error(fault.id, fault.flags, fault.rcode, fault.section, fault.edns)


def error(ident: int, flags: int, rcode: int, section: bytes, edns: Edns | None) -> bytes:
    """An empty reply with an error code, the question echoed as it came."""
    header = dnslib.DNSHeader(
        id=ident,
        bitmap=(flags & (n.OPCODE | n.RD | n.CD)) | n.QR | n.RA | (rcode & 0xF),
        q=1 if section else 0,
        ar=1 if edns is not None else 0,
    )
    buffer = dnslib.DNSBuffer()
    header.pack(buffer)
    buffer.append(section)
    if edns is not None:
        opt = dnslib.EDNS0(flags="do" if edns.do else "", ext_rcode=rcode >> 4, version=0, udp_len=n.UDP_SAFE)
        opt.pack(buffer)
    return bytes(buffer.data)


def denial(
    question: Question,
    verdict: Verdict,
    denied: Literal["nxdomain", "refused"],
    max_size: int,
    ttl_s: int = DENIAL_TTL_S,
) -> bytes:
    """The reply, less its id, to a question that the policy does not allow, with the reason (RFC 8914).

    Clients may remember it for `ttl_s` seconds (RFC 2308: TTL and MINIMUM of the SOA).

    A filtered type, and an ancestor of an allowed name, are NODATA: NXDOMAIN
    would deny the names below as well (RFC 8020).
    """
    filtered = verdict.outcome is FILTERED
    nodata = filtered or verdict.names_below
    rcode = n.NOERROR if nodata else n.NXDOMAIN if denied == "nxdomain" else n.REFUSED
    soa, opt, ede, edns = b"" if rcode == n.REFUSED else _soa(ttl_s), b"", None, question.edns
    if edns is not None:  # else there is no place for a reason, and none need be put into words
        ede = (_EDE_FILTERED if filtered else _EDE_BLOCKED, verdict.why_not(question.name))
        opt = render_opt(rcode, edns.do, ede)
    body = render_denial(question.section, question.flags, rcode, soa, opt)
    if len(body) + 2 <= max_size:
        return body
    return render(
        question.section,
        flags=question.flags,
        rcode=rcode,
        authority=((question.name, n.SOA, ttl_s, _soa_rdata(ttl_s)),) if soa else (),
        edns=edns is not None,
        do=question.do,
        ede=ede,
        max_size=max_size,
    )[0]


def _soa_rdata(ttl_s: int) -> bytes:
    return _SOA_NAMES + struct.pack(">5I", 1, 3600, 600, 86400, ttl_s)


@lru_cache(maxsize=1)
def _soa(ttl_s: int) -> bytes:
    """The SOA record behind the question; there is one TTL until the next reload."""
    return beside_question(n.SOA, ttl_s, _soa_rdata(ttl_s))


def servfail(question: Question, error: DynallowError, max_size: int) -> Template:
    """SERVFAIL with the reason: EDE 22 no reachable authority, 23 network error, 0 other."""
    code = _EDE_OTHER
    if isinstance(error, UpstreamError):
        code = _EDE_NO_AUTHORITY if error.reached else _EDE_NETWORK
    return render(
        question.section,
        flags=question.flags,
        rcode=n.SERVFAIL,
        edns=question.edns is not None,
        do=question.do,
        ede=(code, error.message),
        max_size=max_size,
    )
