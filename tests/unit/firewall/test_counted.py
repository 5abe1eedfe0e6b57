"""Elements of flow sets as the kernel sends them: read right, and never read from what is cut or lies."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.firewall.counted import Counted, Flow, flow_of, parse_flows

NEWSETELEM, ERROR, DONE = 10 << 8 | 12, 2, 3
WEB = ip_address("192.0.2.1").packed + bytes((6, 0, 0, 0)) + b"\x01\xbb\0\0" + struct.pack("=I", 1000)
SIX = ip_address("2001:db8::1").packed + bytes((17, 0, 0, 0)) + b"\0\x35\0\0" + struct.pack("=I", 0)
NOBODYS = ip_address("192.0.2.2").packed + bytes((1, 0, 0, 0)) + bytes(4) + b"\xff\xff\xff\xff"


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def element(key: bytes, packets: int, octets: int, expires_ms: int, *more: bytes) -> bytes:
    """As nf_tables_fill_setelem lays it out; `more` stands between the counter and what is left."""
    counter = attribute(1, b"counter\0") + attribute(2, number(1, octets) + number(2, packets))
    return attribute(
        1, attribute(1, attribute(1, key)) + attribute(7, counter) + b"".join(more) + number(5, expires_ms)
    )


def message(kind: int, body: bytes, sequence: int = 1) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, sequence, 0) + body


def dumped(*elements: bytes) -> bytes:
    head = bytes(4) + attribute(1, b"dynallow\0") + attribute(2, b"denied_flows_v4\0")
    return message(NEWSETELEM, head + attribute(3, b"".join(elements)))


def ended(number: int = 0) -> bytes:
    return message(DONE, struct.pack("=i", -number))


def test_parse_flows_elements_as_the_kernel_lays_them_out() -> None:
    part = parse_flows(dumped(element(WEB, 3, 180, 5000), element(NOBODYS, 1, 84, 1)), 16)
    assert part.flows == [Counted(WEB, 3, 180, 5000, False), Counted(NOBODYS, 1, 84, 1, False)]
    assert (part.done, part.errno) == (False, 0)
    assert parse_flows(dumped(element(SIX, 2**40, 2**50, 7)), 28).flows == [
        Counted(SIX, 2**40, 2**50, 7, False)
    ]


def test_parse_flows_element_with_a_timeout_of_its_own_and_a_comment_was_carried_over() -> None:
    carried = element(WEB, 3, 180, 5000, number(4, 9000)) + b""
    assert parse_flows(dumped(carried), 16).flows == [Counted(WEB, 3, 180, 5000, False)]
    body = carried[4:] + attribute(6, b"\0\x0bcarried on\0")
    marked = attribute(1, body)
    other = element(NOBODYS, 1, 2, 3)
    assert parse_flows(dumped(marked, other), 16).flows == [
        Counted(WEB, 3, 180, 5000, True),
        Counted(NOBODYS, 1, 2, 3, False),
    ]


def test_parse_flows_ends_at_the_lists_end_and_tells_why() -> None:
    assert parse_flows(dumped(element(WEB, 1, 2, 3)) + ended(), 16).done
    assert parse_flows(ended(4), 16) == ([], True, 4)
    assert parse_flows(message(ERROR, struct.pack("=i", -2) + bytes(16)), 16) == ([], True, 2)
    assert parse_flows(message(ERROR, b"\0"), 16) == ([], True, 0)


@pytest.mark.parametrize(
    ("key", "flow"),
    [
        (WEB, Flow(ip_address("192.0.2.1").packed, 6, 443, 1000)),
        (SIX, Flow(ip_address("2001:db8::1").packed, 17, 53, 0)),
        (NOBODYS, Flow(ip_address("192.0.2.2").packed, 1, 0, None)),
    ],
)
def test_flow_of_takes_a_key_apart(key: bytes, flow: Flow) -> None:
    assert flow_of(key) == flow


@pytest.mark.parametrize(
    "lacking",
    [
        attribute(1, attribute(7, b"")),
        attribute(1, attribute(1, attribute(1, WEB[:8])) + number(5, 1)),
        attribute(1, attribute(1, attribute(1, WEB)) + number(5, 1)),  # no counter
        attribute(1, attribute(1, attribute(1, WEB)) + attribute(7, attribute(1, b"limit\0"))),
        attribute(1, b""),
    ],
)
def test_parse_flows_element_that_lacks_something_is_passed_over(lacking: bytes) -> None:
    flows = parse_flows(dumped(lacking, element(NOBODYS, 1, 2, 3)), 16).flows
    assert flows == [Counted(NOBODYS, 1, 2, 3, False)]


def test_parse_flows_keys_of_the_other_family_are_passed_over() -> None:
    assert parse_flows(dumped(element(SIX, 1, 2, 3)), 16).flows == []
    assert parse_flows(dumped(element(WEB, 1, 2, 3)), 28).flows == []


WHOLE = dumped(element(WEB, 3, 180, 5000), element(NOBODYS, 1, 84, 1)) + ended()
FLOWS = [Counted(WEB, 3, 180, 5000, False), Counted(NOBODYS, 1, 84, 1, False)]


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_parse_flows_cut_short_tells_nothing_that_is_not_whole(length: int) -> None:
    part = parse_flows(WHOLE[:length], 16)
    assert part.flows == FLOWS[: len(part.flows)]
    assert not part.done


@given(st.data(), st.sampled_from([16, 28]))
def test_parse_flows_whatever_comes_is_borne(data: st.DataObject, size: int) -> None:
    """Some bytes of a good datagram are others: it never raises, and keys are of their size."""
    key = WEB if size == 16 else SIX
    good = bytearray(dumped(*(element(key, n, n, n) for n in range(3))) + ended())
    for at in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=8)):
        good[at] = data.draw(st.integers(0, 255))
    for flow in parse_flows(bytes(good), size).flows:
        assert len(flow.key) == size
        flow_of(flow.key)


@given(st.binary(max_size=300), st.sampled_from([16, 28]))
def test_parse_flows_noise_is_borne(noise: bytes, size: int) -> None:
    parse_flows(noise, size)
    parse_flows(message(NEWSETELEM, noise), size)
