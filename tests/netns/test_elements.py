"""Hand-packed element transactions against what `nft` shows and what `nft` writes."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from dynallow.errors import KernelError, SetFullError, TableMissingError
from dynallow.firewall import netlink, probe
from dynallow.firewall.elements import COMMENT_MAX, Batch, Element, comment
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.readback import DumpPart, Member, parse_dump
from dynallow.policy.names import to_text
from tests.lab.namespace import Namespace
from tests.netns.kernel import Since, bare_network, flush, json_members, left_s, members, nft

ONE, TWO = ip_address("192.0.2.1").packed, ip_address("192.0.2.2").packed
SIX = ip_address("2001:db8::1").packed
TABLE = """
add table inet dynallow
add set inet dynallow web_v4 { type ipv4_addr; size 4096; flags timeout; counter; }
add set inet dynallow web_v6 { type ipv6_addr; size 4096; flags timeout; counter; }
add set inet dynallow few_v4 { type ipv4_addr; size 4; flags timeout; }
add set inet dynallow revoked_v4 { type ipv4_addr; size 16; flags timeout; }
"""


@pytest.fixture(scope="module", autouse=True)
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with bare_network(tmp_path_factory.mktemp("net")) as place:
        yield place


@pytest.fixture
def elements() -> Iterator[ElementSocket]:
    flush()
    nft("-f", "-", stdin=TABLE)
    opened = ElementSocket()
    yield opened
    opened.close()


def element(
    address: bytes = ONE, timeout_ms: int = 300_000, text: bytes = b"a.example.org", name: str = ""
) -> Element:
    return Element(name or ("web_v4" if len(address) == 4 else "web_v6"), address, timeout_ms, text)


def numbered(number: int, size: int = 16) -> bytes:
    """One of many addresses, none of which nft abbreviates at its start."""
    return (b"\x20\x01\x0d\xb8" if size == 16 else b"") + number.to_bytes(min(size, 12), "big")


def added(*wanted: Element) -> Batch:
    batch = Batch()
    for one in wanted:
        batch.add(one)
    return batch


def replaced(*wanted: Element) -> Batch:
    batch = Batch()
    for one in wanted:
        batch.replace(one)
    return batch


def removed(name: str, *addresses: bytes) -> Batch:
    batch = Batch()
    for address in addresses:
        batch.remove(name, address)
    return batch


def lapse(elements: ElementSocket, name: str = "web_v4") -> None:
    """Give ONE a lease of 30 ms and wait until it has run out; collected or not is the kernel's affair."""
    elements.commit(added(element(timeout_ms=30, name=name)))
    deadline = time.monotonic() + 5.0
    while members(name).get(ONE) is not None:
        assert time.monotonic() < deadline, "the element never lapsed"


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("address", [ONE, SIX], ids=["v4", "v6"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 127, 128, 239, COMMENT_MAX])
def test_add_is_what_nft_lists(elements: ElementSocket, address: bytes, length: int) -> None:
    wanted, since = element(address, 300_000, b"n" * length), Since()
    elements.commit(added(wanted))
    (found,) = json_members(wanted.set_name)
    assert found["val"] == str(ip_address(address))
    assert found["timeout"] == 300
    assert 298 - since.passed_s < found["expires"] <= 300
    assert found.get("comment", "") == "n" * length
    assert found["counter"] == {"packets": 0, "bytes": 0}


@pytest.mark.parametrize("timeout_ms", [1_000, 60_250, 86_400_250, 2**31 + 250])
def test_add_timeout_reaches_the_kernel_to_the_millisecond(elements: ElementSocket, timeout_ms: int) -> None:
    elements.commit(added(element(timeout_ms=timeout_ms)))
    (found,) = members("web_v4").values()
    assert found.timeout_s == pytest.approx(timeout_ms / 1000, abs=0.011)  # a jiffy


@pytest.mark.parametrize(
    "name",
    [
        b"\x03deb\x07example\x03org\0",
        b'\x04a"b\\\0',
        b"\x05\xffbin\n\0",
        b"\x04a.b;\0",
        (b"\x3f" + b"x" * 63) * 3 + b"\0",
    ],
)
def test_add_comment_of_any_name_can_be_listed_and_read_back(elements: ElementSocket, name: bytes) -> None:
    text = comment(to_text(name))
    elements.commit(added(element(text=text)))
    (found,) = json_members("web_v4")
    (member,) = elements.dump("web_v4")
    assert found["comment"] == member.comment == text.decode()


def test_add_again_moves_the_deadline_up_and_down_and_never_makes_it_permanent(
    elements: ElementSocket,
) -> None:
    for timeout_ms in (100_000, 500_000, 500_000, 50_000, 50_000):
        since = Since()
        elements.commit(added(element(timeout_ms=timeout_ms)))
        assert since.lasts("web_v4", ONE, timeout_ms / 1000)
    assert len(members("web_v4")) == 1


def test_add_again_with_the_same_timeout_starts_it_anew(elements: ElementSocket) -> None:
    """Without an expiration beside it the kernel takes this for nothing to do (DESIGN 8.1)."""
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 timeout 100s expires 10s }")
    since = Since()
    elements.commit(added(element(timeout_ms=100_000)))
    assert since.lasts("web_v4", ONE, 100)


def test_replace_sets_the_deadline_of_an_absent_a_live_and_a_lapsed_element(elements: ElementSocket) -> None:
    since = Since()
    elements.commit(replaced(element(timeout_ms=100_000)))
    assert since.lasts("web_v4", ONE, 100)
    since = Since()
    elements.commit(replaced(element(timeout_ms=500_000, text=b"b.example.org")))
    assert since.lasts("web_v4", ONE, 500)
    assert members("web_v4")[ONE].comment == "b.example.org"
    elements.commit(removed("web_v4", ONE))
    lapse(elements)
    since = Since()
    elements.commit(replaced(element(timeout_ms=90_000)))
    assert since.lasts("web_v4", ONE, 90)


def test_remove_takes_an_absent_a_live_and_a_lapsed_element(elements: ElementSocket) -> None:
    elements.commit(removed("web_v4", ONE))
    assert not members("web_v4")
    elements.commit(added(element(), element(TWO)))
    elements.commit(removed("web_v4", ONE))
    assert set(members("web_v4")) == {TWO}
    lapse(elements)
    elements.commit(removed("web_v4", ONE, ONE))
    assert set(members("web_v4")) == {TWO}


def test_remove_takes_a_permanent_element(elements: ElementSocket) -> None:
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 }")
    elements.commit(removed("web_v4", ONE))
    assert not members("web_v4")


def test_add_makes_a_permanent_element_of_a_stranger_lapse(elements: ElementSocket) -> None:
    nft("add", "element", "inet", "dynallow", "web_v4", "{ 192.0.2.1 }")
    since = Since()
    elements.commit(replaced(element(timeout_ms=100_000)))
    assert since.lasts("web_v4", ONE, 100)


def test_batch_of_several_sets_and_steps_happens_in_order(elements: ElementSocket) -> None:
    batch = Batch()
    batch.add(element(ONE))
    batch.add(element(SIX))
    batch.remove("web_v4", ONE)
    batch.add(element(TWO))
    batch.add(element(ONE, 100_000))
    batch.add(element(ONE, name="revoked_v4", text=b""))
    batch.remove("revoked_v4", ONE)
    elements.commit(batch)
    assert set(members("web_v4")) == {ONE, TWO}
    assert left_s("web_v4", ONE) <= 100
    assert set(members("web_v6")) == {SIX}
    assert not members("revoked_v4")


@pytest.mark.parametrize("address_size", [4, 16])
def test_batch_of_512_with_the_longest_comments_is_one_transaction(
    elements: ElementSocket, address_size: int
) -> None:
    wanted = [element(numbered(n, address_size), text=b"x" * COMMENT_MAX) for n in range(1, 513)]
    name = wanted[0].set_name
    elements.commit(added(*wanted))
    assert set(members(name)) == {one.address for one in wanted}
    elements.commit(replaced(*(one._replace(timeout_ms=900_000) for one in wanted)))
    assert all((one.expires_s or 0) > 800 for one in members(name).values())
    elements.commit(removed(name, *(one.address for one in wanted)))
    assert not members(name)


def test_batch_that_revokes_and_replaces_512_fits_the_send_buffer(elements: ElementSocket) -> None:
    """The largest that the leaser writes: unrevoke, then delete and add, for each address."""
    nft("add", "set", "inet", "dynallow", "many_v6", "{ type ipv6_addr; size 4096; flags timeout; }")
    batch = Batch()
    for number in range(1, 513):
        address = numbered(number)
        batch.remove("many_v6", address)
        batch.replace(element(address, text=b"x" * COMMENT_MAX))
    elements.commit(batch)
    assert len(members("web_v6")) == 512
    assert not members("many_v6")


# ---------------------------------------------------------------- reading


def test_dump_reads_what_nft_added(elements: ElementSocket) -> None:
    nft(
        *("add", "element", "inet", "dynallow", "web_v4"),
        '{ 192.0.2.1 counter packets 7 bytes 890 timeout 90s expires 80s comment "by hand", 192.0.2.2 }',
    )
    found = {member.address: member for member in elements.dump("web_v4")}
    assert found[ONE]._replace(expires_ms=0) == Member(ONE, 0, "by hand", 7, 890)
    assert 79_000 < found[ONE].expires_ms <= 80_000
    assert found[TWO] == Member(TWO, 0, "", 0, 0), "permanent: no time of its own"


def test_dump_many_elements_over_several_datagrams_gives_each_once(elements: ElementSocket) -> None:
    wanted = [element(numbered(number), text=b"x" * 200) for number in range(1, 2001)]
    for start in range(0, len(wanted), 500):
        elements.commit(added(*wanted[start : start + 500]))
    found = elements.dump("web_v6")
    assert sorted(member.address for member in found) == sorted(one.address for one in wanted)
    assert {member.comment for member in found} == {"x" * 200}


@pytest.mark.parametrize("counted", [True, False])
def test_dump_while_told_elements_go_gives_all_others(
    elements: ElementSocket, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    """The kernel passes over as many as have gone; those that lapse at a start must not cost others."""
    wanted = [element(numbered(number), text=b"x" * 200) for number in range(1, 2001)]
    for start in range(0, len(wanted), 500):
        elements.commit(added(*wanted[start : start + 500]))
    told: list[bytes] = []

    def parse(datagram: bytes) -> DumpPart:
        part = parse_dump(datagram)
        if not told:
            told.extend(member.address for member in part.members)
            gone = ", ".join(str(ip_address(address)) for address in told)
            nft("delete", "element", "inet", "dynallow", "web_v6", f"{{ {gone} }}")
        return part

    monkeypatch.setattr(netlink, "parse_dump", parse)
    found = {member.address for member in elements.dump("web_v6", 2000 if counted else None)}
    assert found == {one.address for one in wanted}


def test_dump_empty_set_is_empty(elements: ElementSocket) -> None:
    assert elements.dump("web_v4") == []


def test_dump_absent_set_says_so_and_the_socket_goes_on(elements: ElementSocket) -> None:
    with pytest.raises(TableMissingError):
        elements.dump("none_v4")
    elements.commit(added(element()))
    assert [member.address for member in elements.dump("web_v4")] == [ONE]


def test_dump_leaves_lapsed_elements_out(elements: ElementSocket) -> None:
    lapse(elements)
    assert elements.dump("web_v4") == []


# ---------------------------------------------------------------- refusals


def test_commit_full_set_refuses_the_whole_batch(elements: ElementSocket) -> None:
    few = [element(bytes([198, 51, 100, n]), name="few_v4") for n in range(5)]
    with pytest.raises(SetFullError) as caught:
        elements.commit(added(element(SIX), *few))
    assert caught.value.errno == errno.ENFILE
    assert not members("few_v4")
    assert not members("web_v6")
    elements.commit(added(*few[:4]))
    assert len(members("few_v4")) == 4
    elements.commit(added(few[0]._replace(timeout_ms=900_000)))
    assert left_s("few_v4", few[0].address) > 800, "what is in a full set can still be refreshed"


def test_commit_failure_in_an_early_message_is_heard(elements: ElementSocket) -> None:
    """Only the last message asks for an acknowledgement; errors of earlier ones arrive all the same."""
    batch = added(element(name="none_v4"))
    for number in range(300):
        batch.add(element(bytes([198, 51, 100 + number // 256, number % 256])))
    with pytest.raises(TableMissingError):
        elements.commit(batch)
    assert not members("web_v4")


def test_commit_absent_set_or_table_says_so(elements: ElementSocket) -> None:
    with pytest.raises(TableMissingError):
        elements.commit(added(element(name="none_v4")))
    flush()
    with pytest.raises(TableMissingError):
        elements.commit(added(element()))


def test_commit_after_each_kind_of_failure_works_again(elements: ElementSocket) -> None:
    for bad in (
        added(element(name="none_v4")),
        added(*[element(bytes([1, 1, 1, n]), name="few_v4") for n in range(5)]),
    ):
        with pytest.raises(KernelError):
            elements.commit(bad)
        elements.commit(added(element()))
        elements.commit(removed("web_v4", ONE))


def test_commit_batch_over_the_send_buffer_is_an_error_and_nothing_holds(elements: ElementSocket) -> None:
    batch = Batch()
    for number in range(1, 20_000):
        batch.add(element(numbered(number), text=b"x" * COMMENT_MAX))
    with pytest.raises(KernelError) as caught:
        elements.commit(batch)
    assert caught.value.errno == errno.EMSGSIZE
    assert not members("web_v6")
    elements.commit(added(element()))


def test_commit_wrong_key_length_is_refused(elements: ElementSocket) -> None:
    with pytest.raises(KernelError):
        elements.commit(added(element(SIX, name="web_v4")))
    assert not members("web_v4")


UNPRIVILEGED = """
from dynallow.errors import KernelError
from dynallow.firewall.elements import Batch, Element
from dynallow.firewall.netlink import ElementSocket
try:
    sock = ElementSocket()
    batch = Batch()
    batch.add(Element("web_v4", bytes(4), 1000, b""))
    sock.commit(batch)
except KernelError as error:
    print(error.errno, error.hint)
"""


def test_commit_without_the_capability_is_eperm_with_a_hint(
    elements: ElementSocket, network: Namespace
) -> None:
    argv = ["setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin", network.python_path]
    done = subprocess.run(
        [*argv, "-c", UNPRIVILEGED], capture_output=True, text=True, check=True, env=network.environment()
    )
    number, _, hint = done.stdout.strip().partition(" ")
    assert int(number) == errno.EPERM, done.stderr
    assert "CAP_NET_ADMIN" in hint
    assert not members("web_v4")


# ---------------------------------------------------------------- probe


def test_probe_agrees_with_the_kernel_and_leaves_nothing(elements: ElementSocket) -> None:
    elements.commit(added(element(timeout_ms=60_000)))
    elements.commit(added(element(timeout_ms=600_000)))
    moved = left_s("web_v4", ONE) > 100
    assert probe.in_place_refresh(elements) is moved
    assert not members("revoked_v4")


def test_probe_without_the_set_raises(elements: ElementSocket) -> None:
    nft("delete", "set", "inet", "dynallow", "revoked_v4")
    with pytest.raises(TableMissingError):
        probe.in_place_refresh(elements)
