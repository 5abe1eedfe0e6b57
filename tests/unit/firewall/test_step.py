"""The one transaction that takes the kernel from what it holds to the ruleset wanted."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from dynallow.firewall import ruleset as rs
from dynallow.firewall import transaction as tr
from dynallow.firewall.readback import Member
from dynallow.firewall.step import (
    Carried,
    Flags,
    Present,
    PresentChain,
    PresentSet,
    SetShape,
    anew,
    remade,
    renew,
)
from dynallow.firewall.transaction import Transaction

OUTPUT = rs.Chain("output", (rs.Rule((), rs.Goto("denied")),), rs.Hook("filter", "filter", "drop"))
DENIED = rs.Chain("denied", (rs.Rule((), rs.Drop()),))
WEB_4 = rs.AddressSet("web_v4", 4, 200, True)
WEB_6 = rs.AddressSet("web_v6", 6, 200, True)
TABLE = rs.Ruleset((), (WEB_4, WEB_6), (OUTPUT, DENIED))
ONE, SIX = ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed


def done(present: Present, carried: Carried | None = None) -> list[tuple[int, str]]:
    """What is done beside declaring the table itself."""
    step = list(renew(TABLE, present, carried or {}, Flags.NONE))
    declared = list(renew(TABLE, Present(), {}, Flags.NONE))
    assert step[0] == declared[0] == (tr.NEW_TABLE, "the table")
    assert [one for one in step if one in declared] == declared
    return [one for one in step if one not in declared]


def deleted(present: Present) -> list[str]:
    return [what for kind, what in done(present) if kind in (tr.DELETE_CHAIN, tr.DELETE_SET)]


def messages(transaction: Transaction) -> list[tuple[int, int, int]]:
    """(type, flags, sequence) of each message of the datagram."""
    datagram, found, offset = transaction.pack(7), [], 0
    while offset < len(datagram):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", datagram, offset)
        found.append((kind, flags, sequence))
        offset += (length + 3) & ~3
    return found


def test_renew_empty_kernel_only_declares() -> None:
    assert done(Present()) == []


def test_renew_flushes_every_chain_and_deletes_the_foreign_ones_after() -> None:
    present = Present(
        (),
        (
            PresentChain("output", ("filter", 3, 0)),
            PresentChain("denied", None),
            PresentChain("intruder", None),
        ),
    )
    assert done(present) == [
        (tr.DELETE_RULE, "the rules of chain output"),
        (tr.DELETE_RULE, "the rules of chain denied"),
        (tr.DELETE_RULE, "the rules of chain intruder"),
        (tr.DELETE_CHAIN, "chain intruder"),
    ]


def test_renew_chain_on_another_hook_is_made_anew() -> None:
    present = Present(
        (), (PresentChain("output", ("filter", 1, 0)), PresentChain("denied", ("filter", 3, 0)))
    )
    assert deleted(present) == ["chain output", "chain denied"]


def test_renew_set_of_another_make_is_made_anew_without_its_elements() -> None:
    present = Present((PresentSet("web_v4", None), PresentSet("web_v6", SetShape(6, 200, False))))
    assert remade(TABLE, present) == [WEB_6]
    assert deleted(present) == ["set web_v4", "set web_v6"]


def test_renew_same_set_is_neither_flushed_nor_deleted() -> None:
    present = Present(
        (PresentSet("web_v4", SetShape(4, 200, True)), PresentSet("web_v6", SetShape(6, 200, True)))
    )
    assert done(present) == []
    assert remade(TABLE, present) == []


def test_renew_set_of_a_rule_that_went_is_deleted_and_not_remade() -> None:
    present = Present((PresentSet("old_v4", SetShape(4, 200, True)),))
    assert deleted(present) == ["set old_v4"]
    assert remade(TABLE, present) == []


def test_renew_set_of_another_size_or_family_is_made_anew() -> None:
    present = Present(
        (PresentSet("web_v4", SetShape(4, 100, True)), PresentSet("web_v6", SetShape(4, 200, True)))
    )
    assert remade(TABLE, present) == [WEB_4], "addresses of another family cannot go over"
    assert deleted(present) == ["set web_v4", "set web_v6"]


def test_renew_carried_elements_come_after_the_sets() -> None:
    present = Present((PresentSet("web_v4", SetShape(4, 100, True)),))
    step = renew(TABLE, present, {"web_v4": [Member(ONE, 1500, "a.example", 0, 0)]}, Flags.NONE)
    assert list(step)[-1] == (tr.NEW_ELEMENTS, "elements of set web_v4")


def test_renew_carried_element_of_a_set_that_went_is_left_behind() -> None:
    assert done(Present(), {"old_v4": [Member(ONE, 1500, "", 0, 0)]}) == []


@pytest.mark.parametrize(("there", "first"), [(None, tr.NEW_TABLE), (Flags.NONE, tr.DELETE_TABLE)])
def test_anew_deletes_the_table_that_is_there_and_no_other(there: Flags | None, first: int) -> None:
    step = list(anew(TABLE, Present(flags=there), {}, Flags.OWNED, (0, 0)))
    assert step[0][0] == first
    assert [kind for kind, _ in step].count(tr.DELETE_TABLE) == (there is not None)
    assert {kind for kind, _ in step} & {tr.DELETE_CHAIN, tr.DELETE_SET, tr.DELETE_RULE} == set()


def test_pack_asks_one_acknowledgement_of_the_last_message_and_numbers_all() -> None:
    begin, *between, end = messages(renew(TABLE, Present(), {}, Flags.NONE))
    assert (begin[0], end[0]) == (0x10, 0x11)
    assert [sequence for _, _, sequence in between] == list(range(7, 7 + len(between)))
    assert [bool(flags & 4) for _, flags, _ in between] == [False] * (len(between) - 1) + [True]


def test_no_flags_of_the_agent_are_owner_without_persist() -> None:
    """Such a table ends with its owner, and the host would be open."""
    assert Flags.OWNED == Flags.OWNER | Flags.PERSIST
