"""From a plain table to an owned one and on, with many leases: what the kernel allows."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dynallow.errors import KernelError
from dynallow.firewall import load, netlink, step
from dynallow.firewall.build import build_ruleset
from dynallow.firewall.elements import Batch, element, lasting
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts, read_owner, read_present
from dynallow.firewall.step import Flags
from dynallow.settings import Settings
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


_SENDER = """
import json, select, socket, sys
told = {address: [0, 0] for address in sys.argv[1:]}
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for address in told:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # a new flow each
            try:
                sock.sendto(b"x", (address, 443))
                told[address][0] += 1
            except OSError:
                told[address][1] += 1
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def wire() -> tuple[str, str]:
    """A link, and two addresses beyond it."""
    allowed, denied = "10.0.0.2", "192.0.2.2"
    for words in (
        "link set lo up",
        "link add w0 type veth peer name w1",
        "addr add 10.9.0.1/24 dev w0",
        "link set w0 up",
        "link set w1 up",
        *(f"route add {one}/32 dev w0" for one in (allowed, denied)),
        *(f"neigh add {one} lladdr 02:00:00:00:00:02 dev w0" for one in (allowed, denied)),
    ):
        subprocess.run(["ip", *words.split()], check=True, timeout=20)
    return allowed, denied


def test_no_packet_notices_that_the_table_changes_owner_or_rules(
    elements: ElementSocket, wire: tuple[str, str]
) -> None:
    """Invariant 9: what is denied stays so at each moment, and what is allowed as well."""
    table = build_ruleset(
        Settings.model_validate(
            {"mode": "enforce", "rule": [{"name": "api", "names": ["a.example.org"], "ports": ["udp/443"]}]}
        ),
        [],
        0,
    )
    load.load(table, elements)
    fill(elements, 3000)
    sender = subprocess.Popen(
        [sys.executable, "-c", _SENDER, *wire], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        for _ in range(4):
            assert load.load(table, elements, Flags.OWNED).owned  # made anew, with an owner
            assert load.load(table, elements, Flags.OWNED).owned  # renewed
            elements.close()  # an orphan
            elements = ElementSocket()
            assert load.load(table, elements, Flags.OWNED).owned  # adopted
            present = read_present()
            carried = {"api_v4": elements.dump("api_v4")}
            elements.apply(step.anew(table, present, carried, Flags.NONE, (0, 0)))  # plain, as of nft
    finally:
        elements.close()
        out, _ = sender.communicate("", timeout=30)
    told = json.loads(out)
    (sent, refused), (leaked, denied) = (told[address] for address in wire)
    print(f"{sent} allowed packets sent, {refused} refused; {denied} denied, {leaked} leaked")
    assert sent > 100
    assert (refused, leaked) == (0, 0)
