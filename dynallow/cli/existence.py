"""Which names no longer exist, as the host's own resolver is told.

Knows dnspython and threads. Must not know why somebody asks. Keeps: bounded in time and in what is under way;
nothing is opened by it: SVCB is asked for, which no host's name has, and A only to make sure of an NXDOMAIN.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode

from dynallow.units import Endpoint

TOTAL_S = 10.0
_TRY_S = 2.5
_AT_ONCE = 16


def ask(
    names: Sequence[str], resolver: Endpoint, total_s: float = TOTAL_S, try_s: float = _TRY_S
) -> tuple[dict[str, str], int]:
    """Name → how it failed, of those that do not exist; and of how many that is not known in time."""
    ends = time.monotonic() + total_s
    gone: dict[str, str] = {}
    unanswered = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, exists in zip(
            names, pool.map(lambda each: _exists(each, resolver, ends, try_s), names), strict=True
        ):
            if exists is None:
                unanswered += 1
            elif not exists:
                gone[name] = "no such name (NXDOMAIN)"
    return gone, unanswered


def _exists(name: str, resolver: Endpoint, ends: float, try_s: float) -> bool | None:
    """None: nobody can say."""
    for qtype in ("SVCB", "A"):
        left_s = min(try_s, ends - time.monotonic())
        if left_s <= 0:
            return None
        try:
            question = dns.message.make_query(name, qtype, use_edns=0)
            answer = _asked(question, resolver, left_s)
        except (OSError, dns.exception.DNSException):
            return None
        if answer.rcode() == dns.rcode.NOERROR:
            return True
        if answer.rcode() != dns.rcode.NXDOMAIN or any(
            isinstance(option, dns.edns.EDEOption) for option in answer.options
        ):
            return None  # a failure, or dynallow's own denial: its policy may be older than the file
    return False


def _asked(question: dns.message.Message, resolver: Endpoint, left_s: float) -> dns.message.Message:
    """Over a connected socket, so that a port where nobody listens fails at once."""
    family = socket.AF_INET if resolver.address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        where = str(resolver.address)
        sock.connect((where, resolver.port))
        return dns.query.udp(question, where, left_s, resolver.port, sock=sock)
