"""Upstream responses: the echo of a question in mixed case ("0x20"), and cookies (RFC 7873)."""

from __future__ import annotations

import pytest

from dynallow.errors import WireError
from dynallow.wire.response import MismatchError, parse_response
from tests.unit.wire.messages import AT_QUESTION, DEB, ONE, OPT, ROOT, A, asked, header, reply, rr


def test_response_to_a_question_in_mixed_case_must_echo_it_so() -> None:
    mixed = asked(b"\x03dEb\x07eXaMple\x03Org\0")
    packet = header(an=1) + mixed + rr(AT_QUESTION, A, ONE)
    assert parse_response(packet, id=7, name=DEB, qtype=A, section=mixed).answer == ((DEB, A, 300, ONE),)
    for section in (asked(), mixed.swapcase()):
        with pytest.raises(MismatchError):
            parse_response(packet, id=7, name=DEB, qtype=A, section=section)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (b"", b""),
        (b"\0\x0a\0\x08clientck", b"clientck"),
        (b"\0\x0f\0\x02\0\x16\0\x0a\0\x10clientckserverck", b"clientckserverck"),
        (b"\0\x0a\0\x08clientck\0\x0a\0\x08another!", b"clientck"),
        (b"\0\x0a\0\0", b""),
        (b"\x0a\0\0\x08clientck", b""),
    ],
    ids=["none", "client", "behind", "two", "empty", "other"],
)
def test_response_cookie_is_the_first_cookie_option(options: bytes, found: bytes) -> None:
    opt = rr(ROOT, OPT, options, rclass=1232, ttl=0x01000000)
    packet = reply(rr(AT_QUESTION, A, ONE), additional=(opt,))
    response = parse_response(packet, id=7, name=DEB, qtype=A)
    assert response.cookie == found
    assert response.rcode == 16


@pytest.mark.parametrize("options", [b"\0\x0a\0\x09clientck", b"\0\x0a\0", b"\0"])
def test_response_with_a_cookie_that_is_cut_off_is_malformed(options: bytes) -> None:
    packet = reply(additional=(rr(ROOT, OPT, options, rclass=1232, ttl=0),))
    with pytest.raises(WireError) as caught:
        parse_response(packet, id=7, name=DEB, qtype=A)
    assert not isinstance(caught.value, MismatchError)
