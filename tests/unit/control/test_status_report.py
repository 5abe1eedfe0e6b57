"""A lease as the status has it: json's own text of it, and what went wrong is told beside the leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.leases import gathered
from dynallow.control.encode import pieces
from dynallow.control.leaselines import Leases, lines
from dynallow.control.reports import status
from dynallow.control.schema import LeaseReport, StatusReport
from dynallow.errors import KernelError
from dynallow.firewall.members import Known
from dynallow.firewall.readback import Member
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger

_COUNT = st.integers(0, 2**64 - 1)
_KNOWN = Known(Ledger(Limits()), {})


@given(st.binary(min_size=16, max_size=16), _COUNT, st.text(), _COUNT, _COUNT, st.booleans())
def test_text_of_a_lease_is_the_one_that_json_gives(
    address: bytes, expires_ms: int, name: str, packets: int, octets: int, short: bool
) -> None:
    family = AF_INET if short else AF_INET6
    address = address[:4] if short else address
    (text,) = status._texts((family, [Member(address, expires_ms, name, packets, octets)]))
    assert text == json.dumps(
        LeaseReport(
            address=inet_ntop(family, address),
            name=name,
            expires_in_s=expires_ms / 1000,
            packets=packets,
            bytes=octets,
        )
    )


@given(st.lists(st.tuples(st.binary(min_size=4, max_size=4), _COUNT, st.text(), _COUNT, _COUNT), min_size=1))
def test_columns_of_leases_are_the_same_leases(raw: list[tuple[bytes, int, str, int, int]]) -> None:
    parts = [(AF_INET, [Member(*each) for each in raw])] * 2
    found = [
        told({"rules": [{"rule": "web", "leases": Leases(parts, status._texts, status._columns)}]}, by_line)
        for by_line in (False, True)
    ]
    assert list(found[0]["rules"][0]["leases"]) == list(found[1]["rules"][0]["leases"])
    assert len(found[0]["rules"][0]["leases"]) == 2 * len(raw)


def told(report: dict[str, Any], by_line: bool) -> dict[str, Any]:
    """What a client has of it."""
    if not by_line:
        return cast(dict[str, Any], json.loads("".join(pieces(report))))
    sent = "".join(lines(cast(StatusReport, report)))
    return cast(dict[str, Any], gathered(map(json.loads, sent.splitlines())))


@pytest.mark.parametrize("by_line", [False, True], ids=["object", "lines"])
def test_kernel_that_refuses_in_the_middle_is_told_after_what_it_gave(
    monkeypatch: pytest.MonkeyPatch, by_line: bool
) -> None:
    def parts() -> Iterator[list[Member]]:
        yield [Member(b"\xc0\0\2\1", 1500, "a.example.org", 0, 0)]
        raise KernelError("reading set web_v4: gone")

    monkeypatch.setattr(status, "read_parts", lambda rule, known: [(AF_INET, parts())])
    warnings = ["an older one"]
    leases = Leases(status._leases("web", _KNOWN, warnings), status._texts, status._columns)
    report = told({"rules": [{"rule": "web", "leases": leases}], "warnings": warnings}, by_line)
    assert [lease["address"] for lease in report["rules"][0]["leases"]] == ["192.0.2.1"]
    assert report["warnings"][1:] == [
        "the leases of rule web were not read to their end: reading set web_v4: gone"
    ]


def test_leases_are_told_once_in_either_form() -> None:
    leases = Leases([(AF_INET, [Member(b"\xc0\0\2\1", 1500, "a", 0, 0)])], status._texts, status._columns)
    assert len(list(leases.lines("web"))) == 1
    assert "".join(leases.pieces()) == "[]"
