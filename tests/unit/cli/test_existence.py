"""Which names are gone: only what a resolver says twice, and never what dynallow itself denies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from dynallow.cli.existence import ask
from dynallow.units import Endpoint

LONG_S = 60.0


def answer_to(packet: bytes) -> bytes | None:
    """By the name's first label."""
    question = dns.message.from_wire(packet)
    kind = str(question.question[0].name).partition(".")[0]
    first = question.question[0].rdtype == dns.rdatatype.SVCB
    answer = dns.message.make_response(question, recursion_available=True)
    if kind == "gone" or kind == "denied" or (kind == "odd" and first):
        answer.set_rcode(dns.rcode.NXDOMAIN)
    if kind == "denied":
        answer.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.BLOCKED, "no rule allows it")])
    if kind == "broken":
        answer.set_rcode(dns.rcode.SERVFAIL)
    return None if kind == "silent" else answer.to_wire()


@pytest.fixture
def resolver() -> Iterator[Endpoint]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while packet := sock.recvfrom(4096):
                if not packet[0]:
                    return
                if reply := answer_to(packet[0]):
                    sock.sendto(reply, packet[1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield Endpoint(ip_address("127.0.0.1"), sock.getsockname()[1])
        sock.sendto(b"", sock.getsockname())
        thread.join()


def test_ask_names_that_do_not_exist_are_gone_and_no_others(resolver: Endpoint) -> None:
    names = [f"{kind}.example.org" for kind in ("here", "gone", "odd", "denied", "broken")]
    gone, unanswered = ask(names, resolver, LONG_S, LONG_S)
    assert gone == {"gone.example.org": "no such name (NXDOMAIN)"}
    assert unanswered == 2


def test_ask_of_a_silent_resolver_ends_with_its_time(resolver: Endpoint) -> None:
    assert ask(["silent.example.org"] * 40, resolver, total_s=0.1) == ({}, 40)


def test_ask_where_nobody_listens_fails_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert ask(["a.example.org"], Endpoint(ip_address("127.0.0.1"), port), LONG_S, LONG_S) == ({}, 1)
