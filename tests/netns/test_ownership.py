"""From a plain table to an owned one and on, with many leases: what the kernel allows."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

import pytest

from dynallow.errors import KernelError
from dynallow.firewall import load, netlink
from dynallow.firewall.elements import Batch, element, lasting
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts, read_owner
from dynallow.firewall.step import Flags
from tests.golden.cases import build
from tests.netns.kernel import bare_network, flush, members, nft

HOUR_MS = 3_600_000
COMMENT = b"a-name-of-some-length.cdn.example.org"


@pytest.fixture(scope="module", autouse=True)
def _network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with bare_network(tmp_path_factory.mktemp("net")):
        probe = ElementSocket()
        owned = load.load(build("enforce"), probe, Flags.OWNED).owned
        probe.close()
        if not owned:
            pytest.skip("this kernel knows no owner that can be outlived")
        yield


@pytest.fixture
def elements() -> Iterator[ElementSocket]:
    flush()
    opened = ElementSocket()
    yield opened
    opened.close()


def fill(elements: ElementSocket, count: int) -> None:
    """That many leases in api_v4."""
    shared = lasting(HOUR_MS, COMMENT)
    for start in range(0, count, 128):
        batch = Batch()
        batch.add_all(
            "api_v4",
            [
                element((0x0A000000 + n).to_bytes(4, "big"), shared)
                for n in range(start, min(start + 128, count))
            ],
        )
        elements.commit(batch)


def test_plain_table_is_made_anew_with_its_owner_elements_and_counts(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements)
    assert read_owner() == (Flags.NONE, 0)
    nft("add", "element", "inet", "dynallow", "api_v4", "{ 192.0.2.1 counter packets 7 bytes 8 timeout 9m }")
    nft("add", "element", "inet", "dynallow", "revoked_v6", "{ 2001:db8::1 timeout 9m }")
    assert load.load(build("enforce"), elements, Flags.OWNED).owned
    assert read_owner() == (Flags.OWNED, elements.port)
    (lease,) = members("api_v4").values()
    assert (lease.packets, lease.comment) == (7, "")
    assert lease.expires_s is not None
    assert 480.0 < lease.expires_s <= 540.0
    assert len(members("revoked_v6")) == 1


def test_table_of_an_owner_who_is_gone_is_adopted_without_being_touched(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements, Flags.OWNED)
    fill(elements, 3)
    elements.close()
    assert read_owner() == (Flags.PERSIST, 0)
    handles = nft("-a", "list", "set", "inet", "dynallow", "api_v4").splitlines()[1]
    with_next = ElementSocket()
    load.load(build("enforce"), with_next, Flags.OWNED)
    assert read_owner() == (Flags.OWNED, with_next.port)
    assert nft("-a", "list", "set", "inet", "dynallow", "api_v4").splitlines()[1] == handles, "the same set"
    assert len(members("api_v4")) == 3
    with_next.close()


def test_table_of_a_living_owner_is_refused_and_untouched(elements: ElementSocket) -> None:
    load.load(build("enforce"), elements, Flags.OWNED)
    fill(elements, 3)
    other = ElementSocket()
    for wanted in Flags.OWNED, Flags.PERSIST, Flags.NONE:
        with pytest.raises(KernelError) as refused:
            load.load(build("observe"), other, wanted)
        assert refused.value.errno == errno.EPERM
    other.close()
    assert read_owner() == (Flags.OWNED, elements.port)
    assert len(members("api_v4")) == 3


def test_boot_table_that_persists_is_adopted_as_it_is(elements: ElementSocket) -> None:
    assert not load.load(build("enforce"), elements, Flags.PERSIST).owned
    assert read_owner() == (Flags.PERSIST, 0)
    fill(elements, 1)
    assert load.load(build("enforce"), elements, Flags.OWNED).owned
    assert len(members("api_v4")) == 1


def test_kernel_that_knows_no_such_flag_leaves_the_table_shared(elements: ElementSocket) -> None:
    """As one before 6.9 of PERSIST: this one is asked for a flag that none has."""
    unknown = Flags(Flags.OWNED | 0x40)
    for _ in range(2):
        assert not load.load(build("enforce"), elements, unknown).owned
        assert read_owner() == (Flags.NONE, 0)
        fill(elements, 2)
    assert len(members("api_v4")) == 2


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_leases_go_over_to_the_owned_table_in_one_transaction(
    elements: ElementSocket, count: int
) -> None:
    load.load(build("enforce"), elements)
    fill(elements, count)
    began = time.monotonic()
    assert load.load(build("enforce"), elements, Flags.OWNED).owned
    print(f"{count} leases went over in {time.monotonic() - began:.2f} s")
    assert read_counts()["api_v4"] in (count, None)
    held = elements.dump("api_v4", count)
    assert len(held) == count
    assert {one.comment for one in held} == {COMMENT.decode()}
    elapsed_ms = (time.monotonic() - began) * 1000
    assert min(one.expires_ms for one in held) > HOUR_MS - elapsed_ms - 60_000


def test_leases_that_are_more_than_may_be_sent_at_once_stay_in_a_shared_table(
    elements: ElementSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a user namespace, where no buffer is forced: a transaction in two parts would not be one."""
    load.load(build("enforce"), elements)
    fill(elements, 3000)
    monkeypatch.setattr(netlink, "_widen", lambda *_: None)
    narrow = ElementSocket()
    loaded = load.load(build("enforce"), narrow, Flags.OWNED)
    narrow.close()
    assert (loaded.owned, read_owner()) == (False, (Flags.NONE, 0))
    assert read_counts()["api_v4"] in (3000, None)
