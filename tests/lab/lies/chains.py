"""Chains and RRsets: too long, torn, in circles, too many; and those that are odd but right. Pure."""

from __future__ import annotations

import struct
from functools import partial
from itertools import pairwise

from tests.lab import dnsbytes as d
from tests.lab.dnsbytes import Query
from tests.lab.lies.pieces import (
    GOOD,
    NOTHING,
    evil,
    number_of,
    right,
    tell,
    tells,
    truncated,
)
from tests.lab.scenarios import Reaction, fresh_address


def _many(query: Query, count: int) -> list[bytes]:
    """Distinct honest addresses, the name's own first."""
    base = 20_000 + number_of(query.text) % 20 * 5000  # apart from the others' also next time
    version = 4 if query.qtype == d.A else 6
    return [right(query), *(d.address(fresh_address(base + n, version)) for n in range(count - 1))]


@tells(GOOD)
def addresses_1500(query: Query) -> Reaction:
    return _over_tcp_alone(query, 1500)


@tells(GOOD)
def addresses_4000(query: Query) -> Reaction:
    return _over_tcp_alone(query, 4000 if query.qtype == d.A else 2300)  # what 64 KiB hold


def _over_tcp_alone(query: Query, count: int) -> bytes:
    """So many cost the server more time than a datagram has that only says it is cut."""
    return truncated(query) if query.transport == "udp" else d.reply(query, _many(query, count))


@tells(GOOD)
def duplicates(query: Query) -> bytes:
    return d.reply(query, [right(query, ttl=ttl) for ttl in (300, 300, 60, 900)])


@tells(GOOD)
def mixed_case_owner(query: Query) -> bytes:
    return d.reply(query, [right(query, query.name.upper())])


def _chain(query: Query, links: int) -> list[bytes]:
    owners = [d.ASKED, *(d.name(f"l{n}.{query.text}") for n in range(links))]
    return [d.rr(owner, d.CNAME, target) for owner, target in pairwise(owners)]


def chain(query: Query, links: int) -> bytes:
    last = d.name(f"l{links - 1}.{query.text}")
    end = right(query, last) if links <= 11 else evil(query, last)
    return d.reply(query, [*_chain(query, links), end])


@tells(GOOD)
def chain_backwards(query: Query) -> bytes:
    """The records in reverse order: allowed, and it must not matter."""
    return d.reply(query, [*_chain(query, 5), right(query, d.name(f"l4.{query.text}"))][::-1])


@tells(GOOD)
def chain_in_mixed_case(query: Query) -> bytes:
    link = d.rr(query.name.upper(), d.CNAME, d.name("End.Example.ORG"))
    return d.reply(query, [link, right(query, d.name("eND.eXAMPLE.oRG"))])


@tells(NOTHING)
def cname_to_itself(query: Query) -> bytes:
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, d.ASKED), evil(query)])


@tells(NOTHING)
def cname_loop(query: Query) -> bytes:
    other = d.name("loop.example.org")
    answer = [d.rr(d.ASKED, d.CNAME, other), d.rr(other, d.CNAME, query.name), evil(query, other)]
    return d.reply(query, answer)


@tells(NOTHING)
def two_cnames(query: Query) -> bytes:
    first, second = d.name("one.example.org"), d.name("two.example.org")
    links = [d.rr(d.ASKED, d.CNAME, first), d.rr(d.ASKED, d.CNAME, second)]
    return d.reply(query, [*links, evil(query, first), evil(query, second)])


@tells(NOTHING)
def cname_beside_address(query: Query) -> bytes:
    target = d.name("one.example.org")
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, target), evil(query), evil(query, target)])


@tells(GOOD)
def cname_off_chain(query: Query) -> bytes:
    other = d.name("other.example.org")
    link = d.rr(other, d.CNAME, d.name("more.example.org"))
    return d.reply(query, [link, evil(query, d.name("more.example.org")), right(query)])


@tells(NOTHING)
def cname_and_address_of_another_owner(query: Query) -> bytes:
    link = d.rr(d.ASKED, d.CNAME, d.name("end.example.org"))
    return d.reply(query, [link, evil(query, d.name("end.example.net"))])


@tells(NOTHING)
def cname_and_address_of_the_asked_name_in_additional(query: Query) -> bytes:
    target = d.name("end.example.org")
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, target)], [], [evil(query, target)])


@tells(NOTHING)
def chain_through_authority(query: Query) -> bytes:
    """The middle link stands in the wrong section: the chain ends before it."""
    one, two = d.name("one.example.org"), d.name("two.example.org")
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, one), evil(query, two)], [d.rr(one, d.CNAME, two)])


@tells(NOTHING)
def chain_through_chaos(query: Query) -> bytes:
    target = d.name("end.example.org")
    return d.reply(query, [d.rr(d.ASKED, d.CNAME, target, rclass=d.CH), evil(query, target)])


@tells(NOTHING)
def dname_alone(query: Query) -> bytes:
    """A DNAME without the CNAME that it stands for leads nowhere (RFC 6672 section 3.1)."""
    parent = struct.pack("!H", 0xC000 | 12 + 1 + query.name[0])
    dname = d.rr(parent, 39, d.name("example.net"))
    label = query.text.split(".", 1)[0]
    return d.reply(query, [dname, evil(query, d.name(f"{label}.example.net"))])


@tells(GOOD)
def dname_with_cname(query: Query) -> bytes:
    parent = struct.pack("!H", 0xC000 | 12 + 1 + query.name[0])
    target = d.name(query.text.split(".", 1)[0] + ".example.net")
    answer = [d.rr(parent, 39, d.name("example.net")), d.rr(d.ASKED, d.CNAME, target), right(query, target)]
    return d.reply(query, answer)


for _links in (1, 10, 11):
    tell(f"chain-of-{_links}", GOOD, partial(chain, links=_links))
for _links in (12, 13, 40):
    tell(f"chain-of-{_links}", NOTHING, partial(chain, links=_links))
