"""A lease as the status has it: json's own text of it, and what went wrong is told beside the leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.control.encode import Listed, pieces
from dynallow.control.reports import status
from dynallow.control.schema import LeaseReport
from dynallow.errors import KernelError
from dynallow.firewall.elements import Member
from dynallow.firewall.members import Known
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
    (text,) = status._texts(family, [Member(address, expires_ms, name, packets, octets)])
    assert text == json.dumps(
        LeaseReport(
            address=inet_ntop(family, address),
            name=name,
            expires_in_s=expires_ms / 1000,
            packets=packets,
            bytes=octets,
        )
    )


def test_kernel_that_refuses_in_the_middle_is_told_after_what_it_gave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def parts() -> Iterator[list[Member]]:
        yield [Member(b"\xc0\0\2\1", 1500, "a.example.org", 0, 0)]
        raise KernelError("reading set web_v4: gone")

    monkeypatch.setattr(status, "read_parts", lambda rule, known: [(AF_INET, parts())])
    warnings = ["an older one"]
    leases = Listed(status._leases("web", _KNOWN, warnings))
    report = json.loads("".join(pieces({"rules": [{"leases": leases}], "warnings": warnings})))
    assert [lease["address"] for lease in report["rules"][0]["leases"]] == ["192.0.2.1"]
    assert report["warnings"][1:] == [
        "the leases of rule web were not read to their end: reading set web_v4: gone"
    ]
