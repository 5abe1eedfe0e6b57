"""The soak's upstream: knows every name of names.py, and fails in the way that the knob `fails` says.

silent · failing (SERVFAIL) · garbled (noise) · wrong (another question's answer, and a short one)
slow (0.7 s) · private (addresses that nobody may be told)
"""

from __future__ import annotations

from tests.lab import dnsbytes
from tests.lab.dnsbytes import Query
from tests.lab.scenarios import Knobs, Reaction, Send
from tests.soak.names import address_of, number_of, ttl_of

_VERSIONS = {dnsbytes.A: 4, dnsbytes.AAAA: 6}


def upstream(query: Query, knobs: Knobs) -> Reaction:
    """The scenario."""
    fails = knobs.get("fails", "")
    if fails == "silent":
        return None
    if fails == "failing":
        return dnsbytes.reply(query, rcode=dnsbytes.SERVFAIL)
    reply = _well(query, private=fails == "private")
    if fails == "garbled":
        return Send(reply[:2] + bytes(byte ^ 0x5A for byte in reply[2:]))
    if fails == "wrong":
        return [Send(bytes([reply[0] ^ 1]) + reply[1:]), Send(reply[: len(reply) // 2])]
    return Send(reply, delay_s=0.7) if fails == "slow" else reply


def _well(query: Query, *, private: bool) -> bytes:
    name = query.text.lower()
    number, version = number_of(name), _VERSIONS.get(query.qtype)
    if number < 0 or version is None:
        return dnsbytes.reply(query, authority=[dnsbytes.soa("example.org")])
    packed = address_of(number, version)
    if private:
        packed = b"\x0a\0\0\x01" if version == 4 else b"\xfd" + bytes(14) + b"\x01"
    if name.startswith("c"):
        target = f"t{number}.cdn.example.net"
        alias = dnsbytes.cname(target, ttl=ttl_of(number))
        answer = [alias, dnsbytes.rr(dnsbytes.name(target), query.qtype, packed, ttl=ttl_of(number))]
    else:
        answer = [dnsbytes.rr(dnsbytes.ASKED, query.qtype, packed, ttl=ttl_of(number))]
    return dnsbytes.reply(query, answer)
