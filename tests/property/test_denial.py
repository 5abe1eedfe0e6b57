"""A denial put together from constant pieces is, byte for byte, what the general way of rendering makes."""

from __future__ import annotations

import struct
from typing import Literal

import dns.message
from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver.local import DENIAL_TTL_S, denial
from dynallow.wire import numbers as n
from dynallow.wire.question import Edns, Question
from dynallow.wire.render import render

_labels = st.binary(min_size=1, max_size=63) | st.sampled_from([b"Example", b"org", b"dynallow", b"invalid"])
_names = st.lists(_labels, max_size=6).map(
    lambda labels: b"".join(bytes([len(label)]) + label for label in labels)[:254] + b"\0"
)
_edns = st.none() | st.builds(Edns, st.just(0), st.integers(0, 65535), st.booleans(), st.just(b""))
_SOA_RDATA = b"\x08dynallow\x07invalid\0\x0ahostmaster\x08dynallow\x07invalid\0" + struct.pack(
    ">5I", 1, 3600, 600, 86400, 10
)


def _whole(name: bytes) -> bool:
    """Whether cutting left a name."""
    pos = 0
    while pos < len(name) - 1:
        pos += name[pos] + 1
    return pos == len(name) - 1


@settings(max_examples=3 * settings().max_examples)
@given(
    _names.filter(_whole),
    st.integers(0, 65535).map(lambda flags: flags & ~n.OPCODE),
    st.integers(0, 65535),
    _edns,
    st.sampled_from([Outcome.DENIED, Outcome.FILTERED]),
    st.text(max_size=300) | st.just(""),
    st.booleans(),
    st.sampled_from(["nxdomain", "refused"]),
    st.integers(0, 700) | st.sampled_from([512, 1232, 65535]),
)
def test_denial_of_any_question_is_what_render_makes(
    cased: bytes,
    flags: int,
    qtype: int,
    edns: Edns | None,
    outcome: Outcome,
    reason: str,
    above: bool,
    denied: Literal["nxdomain", "refused"],
    size: int,
) -> None:
    name = cased.lower()
    question = Question(7, flags, name, qtype, 1, cased + struct.pack(">HH", qtype, 1), edns)
    verdict = Verdict(outcome, (), reason, above)
    rcode = 5 if denied == "refused" else 3
    if above or outcome is Outcome.FILTERED:
        rcode = 0
    expected = render(
        question.section,
        flags=flags,
        rcode=rcode,
        authority=() if rcode == 5 else ((name, n.SOA, DENIAL_TTL_S, _SOA_RDATA),),
        edns=edns is not None,
        do=question.do,
        ede=(17 if outcome is Outcome.FILTERED else 15, verdict.why_not(name)),
        max_size=size,
    )
    assert denial(question, verdict, denied, size) == expected[0]
    dns.message.from_wire(b"\0\7" + expected[0])
