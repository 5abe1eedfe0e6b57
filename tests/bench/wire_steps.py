"""CPU microseconds of each step of the wire code, next to dnspython's and dnslib's.

    python tests/bench/wire_steps.py [repeats]

The message is the one of DESIGN section 6: three CNAMEs, four addresses, compressed
as name servers do. Each figure is the best of several rounds of process CPU time:
the least disturbed one, as what else the machine does only ever adds.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import dns.edns
import dns.message
import dns.name
import dns.rrset
import dnslib

from dynallow.wire.chain import walk
from dynallow.wire.numbers import RD, A
from dynallow.wire.query import build_query
from dynallow.wire.question import parse_question
from dynallow.wire.render import render, retold
from dynallow.wire.response import parse_response

_NAMES = ["deb.example.org.", "deb.cdn.example.net.", "edge.cdn.example.net.", "e7.eu.cdn.example.net."]
_ROUNDS = 25


def cpu_us(step: Callable[[], object], repeats: int) -> float:
    """Microseconds of CPU that one call takes, in the best round."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(repeats):
            step()
        best = min(best, time.process_time() - start)
    return best / repeats * 1e6


def reference_message() -> dns.message.Message:
    """Three CNAMEs and four A records, with OPT, as dnspython holds them."""
    query = dns.message.make_query(_NAMES[0], "A", use_edns=0, payload=1232, id=0x1234)
    response = dns.message.make_response(query)
    for owner, target in itertools.pairwise(_NAMES):
        response.answer.append(dns.rrset.from_text(owner, 300, "IN", "CNAME", target))
    addresses = [f"192.0.2.{last}" for last in range(1, 5)]
    response.answer.append(dns.rrset.from_text(_NAMES[-1], 60, "IN", "A", *addresses))
    return response


def to_wire(text: str) -> bytes:
    """The wire form of `text`."""
    wire = dns.name.from_text(text).to_wire()
    assert wire is not None
    return wire


def main(repeats: int) -> None:
    message = reference_message()
    wire = message.to_wire()
    name = to_wire(_NAMES[0])
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"8 bytes!")
    asked = dns.message.make_query(_NAMES[0], "A", use_edns=0, payload=1232, id=0x1234, options=[cookie])
    query = asked.to_wire()
    lib = dnslib.DNSRecord.parse(wire)
    response = parse_response(wire, id=0x1234, name=name, qtype=A)
    chain = walk(response, name, A)
    question = parse_question(query)
    records = chain.links + chain.final

    def build_reply() -> object:
        return render(question.section, flags=RD, rcode=0, records=records, edns=True, max_size=1232)

    template = render(question.section, flags=RD, rcode=0, records=records, edns=True, max_size=1232)

    def parse_and_walk() -> object:
        return walk(parse_response(wire, id=0x1234, name=name, qtype=A), name, A)

    rows: list[tuple[str, Callable[[], object], Callable[[], object] | None, Callable[[], object] | None]] = [
        (
            "parse_question",
            lambda: parse_question(query),
            lambda: dns.message.from_wire(query),
            lambda: dnslib.DNSRecord.parse(query),
        ),
        (
            "parse_response",
            lambda: parse_response(wire, id=0x1234, name=name, qtype=A),
            lambda: dns.message.from_wire(wire),
            lambda: dnslib.DNSRecord.parse(wire),
        ),
        ("walk", lambda: walk(response, name, A), None, None),
        ("parse_response + walk", parse_and_walk, None, None),
        ("render", build_reply, message.to_wire, lib.pack),
        ("retold", lambda: retold(template, 7), None, None),
        (
            "build_query",
            lambda: build_query(0x1234, name, A),
            lambda: dns.message.make_query(_NAMES[0], "A", use_edns=0).to_wire(),
            lambda: dnslib.DNSRecord.question(_NAMES[0]).pack(),
        ),
    ]
    print(f"message of {len(wire)} bytes; µs CPU, best of {_ROUNDS} rounds of {repeats}")
    print(f"{'step':26}{'dynallow':>10}{'dnspython':>11}{'dnslib':>9}")
    for label, ours, python, lib_step in rows:
        figures = [f"{cpu_us(ours, repeats):10.2f}"]
        for other, width in ((python, 11), (lib_step, 9)):
            figure = f"{cpu_us(other, max(1, repeats // 20)):.1f}" if other else "–"
            figures.append(f"{figure:>{width}}")
        print(f"{label:26}{''.join(figures)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
