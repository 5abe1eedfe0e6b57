"""A revocation's transactions: elements and blocks together, tried again while a set's table grows."""

from __future__ import annotations

from typing import cast

import pytest

from dynallow.errors import SetBusyError
from dynallow.firewall import revoking
from dynallow.firewall.elements import Batch
from dynallow.firewall.netlink import ElementSocket
from dynallow.lease.plan import Revocation


class Kernel:
    """A kernel that is busy for some transactions."""

    def __init__(self, busy: int) -> None:
        self.busy = busy
        self.done: list[bytes] = []

    def commit(self, batch: Batch) -> None:
        if self.busy:
            self.busy -= 1
            raise SetBusyError("growing", "")
        self.done.append(batch.pack(1))


def revoke(kernel: Kernel, addresses: int) -> None:
    them = tuple(bytes([10, 0, number // 256, number % 256]) for number in range(addresses))
    revocation = Revocation(tuple(("web", address) for address in them), them)
    revoking.revoke_elements(cast(ElementSocket, kernel), revocation, 1000)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_revoke_while_a_sets_table_grows_is_tried_again_until_it_is_done() -> None:
    kernel = Kernel(busy=3)
    revoke(kernel, 1)
    assert len(kernel.done) == 1


def test_revoke_while_a_set_is_busy_for_ever_raises() -> None:
    with pytest.raises(SetBusyError):
        revoke(Kernel(busy=1000), 1)


def test_revoke_of_many_is_some_transactions_each_with_elements_and_blocks() -> None:
    kernel = Kernel(busy=0)
    revoke(kernel, 200)
    assert len(kernel.done) == 4
    assert all(b"revoked_v4\0" in packed and b"web_v4\0" in packed for packed in kernel.done)
