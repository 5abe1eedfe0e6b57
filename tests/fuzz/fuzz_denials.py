"""What `Denials` gives again is what the road says when it is walked: the same bytes, the same counts.

    python -m tests.fuzz.fuzz_denials [CASES [SEED]]

Questions are made of few labels, flags and OPT records, so that many are kin or the same
again, and mutated. Two roads hear each of them: one walks to every reply, the other gives
again what it can. Now and then an answer leads to a name, which from then on is none of the
denied (`resolver/derived.py`). A failure is repeated by its seed and case number.
"""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import dataclass

from dynallow.lease.grant import Limits
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import Policy, PolicyBuilder
from dynallow.policy.verdict import ALLOWED, Verdict
from dynallow.resolver.asked import Asked
from dynallow.resolver.cache import AnswerCache
from dynallow.resolver.hot import HotReplies
from dynallow.resolver.road import Road
from dynallow.resolver.terms import Terms
from dynallow.tasks import Tasks
from tests.fuzz.fuzz_wire import mutate

_LABELS = (b"a", b"b", b"A", b"net", b"org", b"example", b"EXAMPLE", b"deb", b"_tcp", b"_sip", b"_x")
_ENDINGS = (
    [b"a", b"org"],
    [b"example", b"org"],
    [b"deb", b"example", b"org"],
    [b"b", b"net"],
    [b"x", b"example", b"net"],
    [b"example"],
    [b"sip", b"net"],
    [b"_tcp", b"net"],
    [b"s p", b"net"],
    [b"y" * 63, b"z" * 63, b"org"],
)
_APART = (  # of these something else is said than of their neighbours
    [b"localhost"],
    [b"b", b"onion"],
    [b"1", b"0", b"0", b"127", b"in-addr", b"arpa"],
    [b"1", b"2", b"0", b"192", b"in-addr", b"arpa"],
    [b"a", b"arpa"],
    [b"use-application-dns", b"net"],
    [b"corp", b"org"],
)
_ODD_LABELS = (b"a.b", b"\0", b"\xff\xfe", b" ", b"x" * 63, b"Y" * 63, b"-", b"\x03net")
_PATTERNS = ("deb.example.org", "*.a.org", ".b.net", "s*.x.example.net", "a.*.example", "sip.net", "a.onion")
_TYPES = (1, 1, 1, 28, 33, 12, 16, 65, 255, 252, 41, 0)
_FLAGS = (0x100, 0x100, 0x120, 0x110, 0, 0x8100, 0x2800, 0x7F)
_EXPIRES_AT = 500.0
_SUFFIXES = (b"\x04corp\x03org\0", b"\x01a\x07example\0")
_LEASED = bytes((192, 0, 2, 1))


class DisagreementError(Exception):
    """The two roads said different things; the text tells how to see it again."""


@dataclass
class Tally:
    """How many questions were given what; a run in which nothing is given again tests nothing."""

    cases: int = 0
    again: int = 0
    asked: int = 0


def road(policy: Policy, refused: bool) -> Road:
    """A road on which nothing is answered: who may pass is let go."""
    return Road(
        terms=Terms(policy, Limits(), False, "refused" if refused else "nxdomain", _SUFFIXES),
        leaser=None,  # type: ignore[arg-type]
        upstreams=None,  # type: ignore[arg-type]
        cache=AnswerCache(1, 0.0),
        hot=HotReplies(1),
        tasks=Tasks(),
        earned=lambda address, now: [(b"\x01a\x03org\0", now + 9)] if address == _LEASED else [],
        clock=lambda: 5.0,
        wall=lambda: 400.0,
    )


def rules(rng: random.Random) -> Policy:
    """A few of the patterns, in rules with and without an end and an exception."""
    builder = PolicyBuilder()
    builder.set_apart(_SUFFIXES)
    for number in range(rng.randrange(4)):
        expires_at = rng.choice((None, None, 300.0, _EXPIRES_AT))
        rule = builder.add_rule(f"r{number}", reason="so it is", expires_at=expires_at)
        for pattern in rng.sample(_PATTERNS, 2) + ["b.*"] * (rng.random() < 0.1):
            builder.add_pattern(rule, parse_pattern(pattern))
        builder.add_exception(rule, parse_pattern(rng.choice(_PATTERNS)))
    return builder.build()


def question(rng: random.Random) -> bytes:
    """Mostly such as a flood is made of; well-formed, but for names that are too long."""
    odd = rng.random() < 0.2
    ending = rng.choice(_APART if rng.random() < 0.15 else _ENDINGS)
    labels = [rng.choice(_LABELS) for _ in range(rng.randrange(4))] + ending
    if odd:
        labels.insert(0, rng.choice(_ODD_LABELS))
    if rng.random() < 0.03:
        labels = [rng.choice(_LABELS)] * rng.randrange(130) + ending
    opt = b""
    if rng.random() < 0.5:
        flags = rng.choice((0, 0x8000, 0x10000)) if odd else 0
        data = rng.choice((b"", b"\0\x0a\0\x01x")) if odd else b""
        rtype = rng.choice((41, 41, 250)) if odd else 41
        opt = struct.pack(">BHHIH", 0, rtype, rng.choice((1232, 100)), flags, len(data)) + data
    header = struct.pack(
        ">6H", rng.randrange(65536), rng.choice(_FLAGS) if odd else 0x100, 1, 0, 0, 1 if opt else 0
    )
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    kind = (
        (rng.choice(_TYPES), rng.choice((1, 1, 3)))
        if odd
        else (rng.choice(_TYPES[: 5 + (ending in _APART)]), 1)
    )
    return header + name + struct.pack(">HH", *kind) + opt


def check(packet: bytes, walked: Road, given: Road, tally: Tally) -> None:
    """Raise DisagreementError unless both roads say and count the same."""
    tally.cases += 1
    expected = walked.meet(packet)
    replies: list[bytes | None] = [None]
    if given.repeat([packet[2:]], replies, [0], 5.0):
        met = given.meet(packet)
    else:
        tally.again += 1
        assert replies[0] is not None
        met = packet[:2] + replies[0]
    if isinstance(expected, Asked):
        tally.asked += 1
    if met != expected or given.counts != walked.counts:
        raise DisagreementError(f"{met!r} instead of {expected!r}")


def lead(rng: random.Random, policy: Policy, roads: tuple[Road, ...]) -> None:
    """Let an answer under one of the rules lead to a name such as questions are asked for."""
    if not policy.rules:
        return
    verdict = Verdict(ALLOWED, (rng.choice(policy.rules),))
    labels = [rng.choice(_LABELS) for _ in range(rng.randrange(4))] + rng.choice(_ENDINGS)
    target = b"".join(bytes([len(label)]) + label.lower() for label in labels) + b"\0"
    until = rng.choice((4.0, 6.0))  # it is 5.0 all the time
    for each in roads:
        for name in each.derived.note(policy, verdict, b"\x04root\x03org\0", (target,), 5.0, until):
            each.denials.uncover([name])


def run(cases: int, seed: int) -> Tally:
    """Try `cases` questions on ever new policies; raises with seed, number and bytes of a failure."""
    rng = random.Random(seed)
    tally = Tally()
    seeds = [question(rng) for _ in range(50)]
    for number in range(cases):
        if number % 1000 == 0:
            policy, refused = rules(rng), rng.random() < 0.5
            walked, given = road(policy, refused), road(policy, refused)
        if rng.random() < 0.01:
            lead(rng, policy, (walked, given))
        packet = question(rng)
        if rng.random() < 0.3:
            packet = mutate(packet, seeds, rng)
        try:
            check(packet, walked, given, tally)
        except Exception as error:
            raise DisagreementError(f"seed {seed} case {number}: {packet.hex()}: {error!r}") from error
    return tally


if __name__ == "__main__":
    print(run(*(int(argument) for argument in [*sys.argv[1:], *("200000", "1")[len(sys.argv) - 1 :]])))
