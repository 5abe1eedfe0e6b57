"""A large set that is looked up is the set that a dump gives, whatever the ledger knows of the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from socket import inet_ntoa

import pytest

from dynallow.errors import TableMissingError
from dynallow.firewall import members as reading
from dynallow.firewall.elements import COMMENT_MAX, Batch, Element
from dynallow.firewall.members import Known, read_parts
from dynallow.firewall.netlink import ElementSocket
from dynallow.firewall.present import read_counts
from dynallow.firewall.readback import Member
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from tests.lab.namespace import Namespace
from tests.netns.kernel import bare_network, flush, nft

TABLE = """
add table inet dynallow
add set inet dynallow web_v4 { type ipv4_addr; size 4096; flags timeout; counter; }
add set inet dynallow web_v6 { type ipv6_addr; size 4096; flags timeout; counter; }
"""
_HOUR_MS = 3_600_000


@pytest.fixture(scope="module", autouse=True)
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with bare_network(tmp_path_factory.mktemp("net")) as place:
        yield place


@pytest.fixture
def ledger() -> Ledger:
    """One that knows nothing, beside two empty sets."""
    flush()
    nft("-f", "-", stdin=TABLE)
    if read_counts()["web_v4"] is None:
        pytest.skip("this kernel does not tell how many elements a set has, so there is only the dump")
    return Ledger(Limits(), ["web"])


@pytest.fixture
def no_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up must do."""

    def refuse(name: str) -> Iterator[list[Member]]:
        raise AssertionError(f"{name} is dumped")
        yield

    monkeypatch.setattr(reading, "_parts", refuse)


def six(number: int) -> bytes:
    return ip_address(f"2001:db8::{number:x}").packed


def four(number: int) -> bytes:
    return (0xC6120000 + number).to_bytes(4, "big")


def hold(*elements: tuple[bytes, bytes]) -> None:
    """Put addresses with their comments into the sets, as the agent does."""
    sock = ElementSocket()
    for start in range(0, len(elements), 100):
        batch = Batch()
        for address, comment in elements[start : start + 100]:
            batch.add(Element(f"web_v{4 if len(address) == 4 else 6}", address, _HOUR_MS, comment))
        sock.commit(batch)
    sock.close()


def know(ledger: Ledger, *addresses: bytes, left_s: float = 3600.0) -> None:
    for address in addresses:
        ledger.adopt("web", address, time.monotonic() + left_s, b"\0")


def read(known: Known | None) -> dict[bytes, Member]:
    """By address and without what changes by itself; each must be told once."""
    found = [member for _, parts in read_parts("web", known) for part in parts for member in part]
    by_address = {member.address: member._replace(expires_ms=0) for member in found}
    assert len(found) == len(by_address)
    assert all(0 <= member.expires_ms <= _HOUR_MS for member in found)
    return by_address


def looked_up(ledger: Ledger) -> dict[bytes, Member]:
    return read(Known(ledger, read_counts(), large=0))


@pytest.mark.usefixtures("no_dump")
def test_looked_up_members_have_their_comments_of_every_length(ledger: Ledger) -> None:
    comments = [b"x" * size for size in range(COMMENT_MAX + 1)]
    mine = {make(number): text for make in (four, six) for number, text in enumerate(comments, 1)}
    hold(*mine.items())
    know(ledger, *mine)
    assert {address: member.comment.encode() for address, member in looked_up(ledger).items()} == mine


def test_looked_up_members_are_those_of_a_dump(ledger: Ledger) -> None:
    hold(*((make(number), b"a.example.org") for make in (four, six) for number in range(1, 700)))
    odd = '198.18.9.1 counter packets 7 bytes 890 timeout 1h comment "by hand", 198.18.9.2, 198.18.9.3'
    nft("add", "element", "inet", "dynallow", "web_v4", f"{{ {odd} timeout 1h }}")
    know(ledger, *(make(number) for make in (four, six) for number in range(1, 700)))
    know(ledger, *(ip_address(f"198.18.9.{number}").packed for number in (1, 2, 3)))
    found = looked_up(ledger)
    assert len(found) == 2 * 699 + 3
    assert found[ip_address("198.18.9.1").packed][2:] == ("by hand", 7, 890)
    assert found == read(None)


def test_member_that_the_ledger_does_not_know_is_told(ledger: Ledger) -> None:
    hold(*((four(number), b"") for number in range(1, 300)))
    know(ledger, *map(four, range(1, 299)))
    assert looked_up(ledger).keys() == set(map(four, range(1, 300)))


def test_member_that_the_ledger_does_not_know_is_told_however_many_leases_came_since_the_report_began(
    ledger: Ledger,
) -> None:
    hold(*((four(number), b"") for number in range(1, 300)))
    known = Known(ledger, read_counts(), large=0)
    hold(*((four(number), b"") for number in range(300, 310)))
    know(ledger, *map(four, range(1, 299)), *map(four, range(300, 310)))
    assert read(known).keys() == set(map(four, range(1, 310)))


@pytest.mark.parametrize("absent", [1, 128, 129, 200, 299])
def test_lease_that_the_kernel_has_lost_is_not_told_and_all_others_are(ledger: Ledger, absent: int) -> None:
    held = [four(number) for number in range(1, 300) if number != absent] + [four(1000)]
    hold(*((address, b"") for address in held))
    know(ledger, *map(four, range(1, 300)))
    assert looked_up(ledger).keys() == set(held)


@pytest.mark.usefixtures("no_dump")
def test_leases_that_have_lapsed_are_not_missed(ledger: Ledger) -> None:
    hold(*((four(number), b"") for number in range(1, 300)))
    know(ledger, *map(four, range(1, 300)))
    know(ledger, *map(four, range(300, 600)), left_s=-20.0)
    # These lapse before the kernel is asked for them, as the ledger rounds.
    know(ledger, *map(four, range(600, 603)), left_s=0.05)
    assert looked_up(ledger).keys() == set(map(four, range(1, 300)))


def test_set_that_the_kernel_does_not_count_is_dumped(ledger: Ledger) -> None:
    hold(*((four(number), b"") for number in range(1, 300)))
    found = read(Known(ledger, {"web_v4": None, "web_v6": None}, large=0))
    assert found.keys() == set(map(four, range(1, 300)))


def test_long_dump_that_stood_still_while_told_members_went_tells_of_all_others(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LONG", 100)
    hold(*((four(number), b"x" * 100) for number in range(1, 3000)))
    _, parts = next(read_parts("web"))
    told = [member.address for member in next(parts)]
    nft("delete", "element", "inet", "dynallow", "web_v4", f"{{ {', '.join(map(inet_ntoa, told))} }}")
    told += [member.address for part in parts for member in part]
    assert sorted(told) == sorted(map(four, range(1, 3000)))


def test_set_that_is_taken_away_meanwhile_is_an_error(ledger: Ledger) -> None:
    hold(*((four(number), b"") for number in range(1, 600)))
    know(ledger, *map(four, range(1, 600)))
    _, parts = next(read_parts("web", Known(ledger, read_counts(), large=0)))
    assert len(next(parts)) > 0
    flush()
    with pytest.raises(TableMissingError, match="reading set web_v4"):
        list(parts)
