"""Which flows are cut: all that nothing opens, however many, and none that never leaves this host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from dynallow.firewall import conntrack, cutting, sock_destroy
from dynallow.firewall.build import JUDGED_MARK
from dynallow.firewall.cutting import Cut
from dynallow.firewall.flows import Flow
from dynallow.firewall.probe import Features

HERE, LOOPBACK = bytes([10, 0, 0, 1]), bytes([127, 0, 0, 1])
THERE, RESOLVED = bytes([192, 0, 2, 1]), bytes([127, 0, 0, 53])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[Flow]:
    """Its flows, which are marked in place."""
    flows: list[Flow] = []

    def disown(some: Sequence[Flow]) -> int:
        for flow in some:
            flows[flows.index(flow)] = flow._replace(mark=JUDGED_MARK)
        return len(some)

    monkeypatch.setattr(cutting, "_AT_ONCE", 10)
    monkeypatch.setattr(conntrack, "flows_to", lambda addresses, *, filtered: iter(tuple(flows)))
    monkeypatch.setattr(conntrack, "disown", disown)
    monkeypatch.setattr(sock_destroy, "sockets", dict)
    return flows


def flow(number: int, source: bytes, address: bytes) -> Flow:
    return Flow(17, source, number, address, 443, 0, True, bytes([number]) + source + address)


def test_cut_more_flows_than_are_held_at_once_marks_all_of_them(kernel: list[Flow]) -> None:
    kernel += [flow(number, HERE, THERE) for number in range(35)]
    assert cutting.cut({THERE: ()}, {HERE}, Features()) == Cut(35, 0, True)
    assert {one.mark for one in kernel} == {JUDGED_MARK}


def test_cut_flow_that_is_told_twice_is_counted_once(kernel: list[Flow]) -> None:
    kernel += [flow(1, HERE, THERE)] * 2
    assert cutting.cut({THERE: ()}, {HERE}, Features()).flows == 1


def test_cut_what_goes_by_loopback_goes_on_though_its_address_is_not_listed(kernel: list[Flow]) -> None:
    kernel += [flow(1, LOOPBACK, RESOLVED), flow(2, HERE, RESOLVED)]
    assert cutting.cut({RESOLVED: ()}, {HERE, LOOPBACK}, Features()) == Cut(0, 0, True)


def test_cut_that_cannot_read_to_the_end_is_not_whole(
    kernel: list[Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(addresses: object, *, filtered: bool) -> Iterator[Flow]:
        yield from kernel
        raise OSError

    kernel += [flow(number, HERE, THERE) for number in range(10)]
    monkeypatch.setattr(conntrack, "flows_to", broken)
    assert cutting.cut({THERE: ()}, {HERE}, Features()) == Cut(10, 0, False)
