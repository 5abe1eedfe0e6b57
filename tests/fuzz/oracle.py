"""What dnspython makes of the same bytes: which addresses a chain leads to, and whether a reply is one.

Shares no code with `dynallow.wire`. Invariant: an address is found only at the
end of the CNAME chain that begins at the question, in the answer section; when
there are two ways to go, or none, nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rdtypes.svcbbase
import dns.rrset

LINKS_MAX = 11
_HINT_KEYS = (4, 6)  # ipv4hint, ipv6hint
# What stands in ECH, ohttp and docpath is the client's affair and opaque to wire/; a record
# that dnspython refuses for it would seem to be off the chain.
_KEYS = dns.rdtypes.svcbbase._class_for_key
_READ_BY_WIRE = {key: kind for key, kind in _KEYS.items() if key not in (5, 8, 10)}
# No honest name of the internet has these; a rule has to name them.
_INSIDE = [
    ip_network(prefix)
    for prefix in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.168.0.0/16", "224.0.0.0/3", "::/96", "::ffff:0:0/96", "fc00::/7", "fe80::/9", "ff00::/8",
    )
]  # fmt: skip
_EMBEDDING = (b"\x20\x02", bytes.fromhex("0064ff9b0000000000000000"))  # 6to4, NAT64: what is inside counts


class BrokenError(Exception):
    """An invariant broke; the text says which."""


class Found(NamedTuple):
    """Where the chain leads: packed addresses, and the smallest TTL of all its records."""

    addresses: frozenset[bytes]
    ttl: int


NOTHING = Found(frozenset(), 0)


@contextmanager
def _as_wire_reads() -> Iterator[None]:
    """For as long as it takes: other tests ask dnspython too."""
    usual = dict(_KEYS)
    _KEYS.clear()
    _KEYS.update(_READ_BY_WIRE)
    try:
        yield
    finally:
        _KEYS.update(usual)


def follow(packet: bytes, qname: dns.name.Name, qtype: int) -> Found | None:
    """The chain's end in an upstream's packet; None when dnspython gives up where wire/ need not."""
    try:
        with _as_wire_reads():
            message = dns.message.from_wire(
                packet, raise_on_truncation=False, continue_on_error=True, one_rr_per_rrset=True
            )
    except dns.exception.DNSException as error:
        return _unless_deep(error)
    if any(_unless_deep(one.exception) is None for one in message.errors):
        return None  # a name that wire/ knows from having read its parts before
    records = [rrset for rrset in message.answer if rrset.rdclass == 1]
    here, ttls = qname, []
    for _ in range(LINKS_MAX + 1):
        at = [rrset for rrset in records if rrset.name == here]
        aliases = [rrset for rrset in at if rrset.rdtype == dns.rdatatype.CNAME]
        final = [rrset for rrset in at if rrset.rdtype == qtype]
        if not aliases:
            ttls += [_ttl(rrset) for rrset in final]
            addresses = frozenset(packed for rrset in final for packed in _addresses(rrset[0]))
            return Found(addresses, min(ttls)) if ttls else NOTHING
        targets = {rrset[0].target for rrset in aliases}
        if final or len(targets) > 1:
            return NOTHING
        ttls.append(min(_ttl(rrset) for rrset in aliases))
        (here,) = targets
    return NOTHING


def told(reply: dns.message.Message) -> frozenset[bytes]:
    """Every address that a client could take from a reply."""
    return frozenset(packed for rrset in reply.answer for rdata in rrset for packed in _addresses(rdata))


def is_inside(packed: bytes) -> bool:
    """Whether no answer may lead there unless a rule says so."""
    for prefix in (
        b"\x20\x02",
        bytes.fromhex("0064ff9b0000000000000000"),
    ):  # 6to4, NAT64: what is inside counts
        if len(packed) == 16 and packed.startswith(prefix):
            packed = packed[len(prefix) :][:4]
    address = ip_address(packed)
    return any(address in network for network in _INSIDE)


def check_reply(reply: bytes, question: bytes, section: bytes | None) -> dns.message.Message:
    """The reply, which must be a valid one to this packet. `section` None: the question may be missing."""
    try:
        with _as_wire_reads():
            message = dns.message.from_wire(reply, raise_on_truncation=False)
    except dns.exception.DNSException as error:
        raise BrokenError(f"dnspython refuses the reply {reply.hex()}: {error!r}") from error
    if reply[:2] != question[:2] or not message.flags & dns.flags.QR:
        raise BrokenError(f"id or QR of {reply.hex()}")
    if (reply[2] ^ question[2]) & 0x79:  # opcode and RD are the client's
        raise BrokenError(f"opcode or RD of {reply.hex()}")
    if message.flags & (dns.flags.AA | dns.flags.AD):
        raise BrokenError(f"AA or AD of {reply.hex()}")
    if section is not None and reply[12 : 12 + len(section)] != section:
        raise BrokenError(f"question of {reply.hex()}")
    if message.flags & dns.flags.TC and (message.answer or message.authority):
        raise BrokenError(f"cut somewhere: {reply.hex()}")
    return message


def _unless_deep(error: Exception) -> Found | None:
    return None if type(error).__name__ == "PointerChainTooLong" else NOTHING


def _ttl(rrset: dns.rrset.RRset) -> int:
    return rrset.ttl if rrset.ttl < 1 << 31 else 0


def _addresses(rdata: dns.rdata.Rdata) -> list[bytes]:
    if isinstance(rdata, dns.rdtypes.svcbbase.SVCBBase):
        if not rdata.priority:
            return []
        hints = [rdata.params[key].addresses for key in _HINT_KEYS if rdata.params.get(key) is not None]
        return [ip_address(text).packed for addresses in hints for text in addresses]
    text = getattr(rdata, "address", None)
    return [] if text is None else [ip_address(text).packed]
