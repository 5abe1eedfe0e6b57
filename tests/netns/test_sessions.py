"""Connections from outside that are older than the table: conntrack has seen none of their packets.

Needs the lab. Shown is what the kernel does with them by itself, and that `keep_sessions` mends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynallow.firewall.sessions import Session as Known
from dynallow.firewall.sessions import inbound_sessions, keep_sessions
from tests.lab import Lab
from tests.lab.needs import require_lab
from tests.netns.session import Session, doors

SETTINGS = 'mode = "enforce"\n[resolver]\nupstreams = ["10.10.0.10"]\n'
_PROC = Path("/proc/thread-self")


@contextmanager
def enforced(*, keep: bool) -> Iterator[tuple[Lab, list[Session]]]:
    """A host that begins to enforce with one session open in each family, and no packet on them since."""
    require_lab()
    with Lab(web=False) as lab, doors(lab) as opened:
        sessions = [door.connect() for door in opened]
        if keep:
            with lab.host.entered():
                assert keep_sessions(_PROC) == len(sessions)
                assert keep_sessions(_PROC) == 0
        lab.agent(SETTINGS)
        assert "policy drop" in lab.host.run(["nft", "list", "table", "inet", "dynallow"]).stdout
        yield lab, sessions
        fresh = [door.connect() for door in opened]
        assert all(session.host_speaks() and session.client_speaks() for session in fresh)


def test_old_session_whose_client_speaks_first_goes_on() -> None:
    with enforced(keep=False) as (_, sessions):
        assert all(session.client_speaks() and session.host_speaks() for session in sessions)


def test_old_session_whose_host_speaks_first_is_cut() -> None:
    """The control: without `keep_sessions` an idle session would not outlive the table."""
    with enforced(keep=False) as (_, sessions):
        assert not any(session.host_speaks(1.0) for session in sessions)


def test_old_session_that_is_kept_goes_on_whoever_speaks_first() -> None:
    with enforced(keep=True) as (lab, sessions):
        assert all(session.host_speaks() and session.client_speaks() for session in sessions)
        for family in ("ipv4", "ipv6"):
            listed = lab.host.run(["conntrack", "-L", "-f", family, "-p", "tcp"]).stdout
            assert "ESTABLISHED" in listed


def test_connection_that_the_host_has_begun_is_no_session_to_keep(tmp_path: Path) -> None:
    row = "   0: {} {} {} 0:0 0:0 0 0 0 0\n"
    mine, peer = "0201A8C0", "0100A8C0"  # 192.168.1.2, 192.168.0.1
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(
        "sl …\n"
        + row.format("00000000:0016", "00000000:0000", "0A")
        + row.format(f"{mine}:0016", f"{peer}:C000", "01")
        + row.format(f"{mine}:C001", f"{peer}:01BB", "01")
        + row.format(f"{mine}:0016", f"{peer}:C002", "06")
        + row.format("0100007F:0016", "0100007F:C003", "01")
    )
    assert list(inbound_sessions(tmp_path)) == [Known("192.168.0.1", 0xC000, "192.168.1.2", 22)]


def test_missing_tables_of_the_kernel_are_no_sessions(tmp_path: Path) -> None:
    with pytest.raises(StopIteration):
        next(inbound_sessions(tmp_path))
