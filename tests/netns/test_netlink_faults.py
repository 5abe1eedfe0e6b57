"""What a netlink socket of the agent's does with answers that are late, or do not come at all.

Needs a namespace; the socket of `faulty_process.py` stands between, in this very process.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from dynallow.errors import KernelError, UnsettledError
from dynallow.firewall import expressions as ex
from dynallow.firewall import netlink
from dynallow.firewall.elements import Element
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.readback import Member
from dynallow.firewall.transaction import NEW_TABLE, Transaction
from dynallow.policy.names import parse_name
from tests.lab import faulty_process
from tests.netns.kernel import bare_network, left_s
from tests.netns.leases import ONE, TWO, ensure, fresh_elements, grant, make
from tests.netns.test_elements import added, element


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    with bare_network(tmp_path_factory.mktemp("bare")) as place:
        yield place


@pytest.fixture
def elements(bare: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[ElementSocket]:
    monkeypatch.setattr(socket, "socket", faulty_process.FaultySocket)
    monkeypatch.setattr(faulty_process, "plan", faulty_process.Plan())
    yield from fresh_elements()


def arrive(elements: ElementSocket) -> None:
    """What is late is there now."""
    sock = elements._sock
    assert isinstance(sock, faulty_process.FaultySocket)
    assert sock.waiting
    sock.waiting = [(0.0, what) for _, what in sock.waiting]


def test_late_acknowledgement_is_not_taken_for_the_end_of_a_dump(elements: ElementSocket) -> None:
    """It was, once: the table was read as empty, and what stood in it passed for nobody's."""
    faulty_process.plan.kind, faulty_process.plan.times = "late", 1
    faulty_process.plan.delay_s = 3600.0
    with pytest.raises(KernelError, match="no acknowledgement"):
        elements.commit(added(element(ONE), element(TWO)))
    arrive(elements)
    assert {member.address for member in elements.dump("web_v4")} == {ONE, TWO}


def test_late_refusal_of_another_transaction_is_no_grant(elements: ElementSocket) -> None:
    faulty_process.plan.kind, faulty_process.plan.times = "late", 1
    faulty_process.plan.delay_s = 3600.0
    with pytest.raises(KernelError, match="no acknowledgement"):
        elements.commit(added(Element("none_v4", ONE, 60_000, b"")))
    arrive(elements)
    with pytest.raises(KernelError):  # at worst one too many is refused
        elements.commit(added(element(ONE)))
    elements.commit(added(element(ONE)))


def test_load_with_something_lost_is_not_settled_by_an_acknowledgement_alone(elements: ElementSocket) -> None:
    """The kernel acknowledges the last message after refusals too; one of these may be what was lost."""
    sock = elements._sock
    assert isinstance(sock, faulty_process.FaultySocket)
    sock.waiting = [(0.0, OSError(errno.ENOBUFS, "lost"))]
    with pytest.raises(UnsettledError):
        elements.apply(one_message())
    elements.apply(one_message())


def test_load_is_not_settled_by_a_late_acknowledgement_of_another(elements: ElementSocket) -> None:
    faulty_process.plan.kind, faulty_process.plan.times = "deaf", 1
    sock = elements._sock
    assert isinstance(sock, faulty_process.FaultySocket)
    sock.waiting = [(0.0, faulty_process._acknowledgement(12345, 0))]
    with pytest.raises(UnsettledError):
        elements.apply(one_message())


def one_message() -> Transaction:
    """The table, which is there."""
    made = Transaction()
    made.add(NEW_TABLE, "the table", ex.number(2, 0))
    return made


def test_dump_that_is_never_answered_ends_with_an_error(
    elements: ElementSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would stand still for ever, and nothing would tell."""
    monkeypatch.setattr(netlink, "_PATIENCE", struct.pack("ll", 0, 100_000))
    monkeypatch.setattr(netlink, "dump_request", lambda name, sequence: struct.pack("=IHHII", 16, 1, 1, 0, 0))
    impatient = ElementSocket()
    began = time.monotonic()
    with pytest.raises(KernelError, match="EAGAIN"):
        impatient.dump("web_v4")
    assert time.monotonic() - began >= 0.1
    impatient.close()


def test_element_of_a_lost_acknowledgement_is_read_back_and_taken_away(elements: ElementSocket) -> None:
    """The outcome is unknown: what the ledger does not have then is nobody's lease, and open to nobody."""
    leaser = make(elements)
    faulty_process.plan.kind, faulty_process.plan.times = "lost", 1
    with pytest.raises(KernelError, match="no acknowledgement"):
        ensure(leaser, grant(ONE))
    assert {member.address for member in elements.dump("web_v4")} == {ONE}
    assert leaser.restore() == 0
    assert elements.dump("web_v4") == []
    leaser.resume()
    assert ensure(leaser, grant(ONE)) == frozenset()


def test_lease_that_was_read_slowly_at_a_restart_is_put_back_no_shorter(
    elements: ElementSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stood still while it adopted, and then healed the table, cut what others were told."""
    ensure(make(elements), grant(ONE, 300))
    before, held_s, after = time.monotonic(), left_s("web_v4", ONE), time.monotonic()
    real = elements.dump

    def slow(name: str, count: int | None = None) -> list[Member]:
        time.sleep(0.4)
        return real(name, count)

    adopting = make(elements)
    monkeypatch.setattr(elements, "dump", slow)
    assert adopting.adopt(("web",), parse_name) == 1
    monkeypatch.undo()
    assert adopting.restore() == 1
    looked = time.monotonic()
    assert looked + left_s("web_v4", ONE) >= before + held_s - (time.monotonic() - looked) - 0.02
    (lease,) = adopting.ledger.leases(time.monotonic())
    assert lease[2].deadline <= after + held_s
