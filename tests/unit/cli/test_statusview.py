"""How a status looks, block by block: at every width what matters is shown, and nothing is too wide."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.cli.leaseview import lease_rows
from dynallow.cli.output import Line, plain, styled
from dynallow.cli.screen import Screen
from dynallow.cli.statusview import fitting_blocks, status_blocks
from dynallow.control.schema import LeaseReport, StatusReport
from tests.unit.control.agent import MemoryAgent


def report() -> StatusReport:
    """Of the agent in memory, begun two hours ago."""
    found = asyncio.run(MemoryAgent().status(None))
    began = (datetime.now(UTC) - timedelta(hours=2, seconds=1)).isoformat()
    found["mode_since"] = found["agent"]["since"] = began
    return found


def lease(address: str, name: str, left_s: float = 300.0, packets: int = 0) -> LeaseReport:
    return LeaseReport(address=address, name=name, expires_in_s=left_s, packets=packets, bytes=1024 * packets)


def rows(
    leases: list[LeaseReport], width: int, *, unicode: bool = True, shown: int | None = None
) -> list[str]:
    return list(plain(lease_rows(leases, Screen(width, 24, unicode), shown)))


LEASES = [
    lease("2001:db8::a", "www.example.org", 400.5, 12),
    lease("192.0.2.10", "www.example.org", 400.5),
    lease("192.0.2.20", "m0.mirror.example.org", 100.0, 3),
    lease("192.0.2.21", "m1.mirror.example.org", 20.0),
]


def test_leases_on_a_wide_terminal_have_every_column() -> None:
    assert rows(LEASES, 80) == [
        "  address      name                   time left              packets     bytes",
        "  2001:db8::a  www.example.org            6m40s  ██████████       12  12.0 KiB",
        "  192.0.2.10   www.example.org            6m40s  ██████████        0       0 B",
        "  192.0.2.20   m0.mirror.example.org      1m40s  ██▌               3   3.0 KiB",
        "  192.0.2.21   m1.mirror.example.org        20s  ▌                 0       0 B",
    ]


def test_leases_on_narrower_terminals_lose_packets_then_bytes_then_the_bar() -> None:
    assert rows(LEASES, 70)[1] == "  2001:db8::a  www.example.org            6m40s  ██████████  12.0 KiB"
    assert rows(LEASES, 60)[1] == "  2001:db8::a  www.example.org            6m40s  ██████████"
    assert rows(LEASES, 50)[1] == "  2001:db8::a  www.example.org            6m40s"


def test_leases_on_the_narrowest_terminal_have_the_name_on_a_line_of_its_own() -> None:
    assert rows(LEASES, 40, unicode=False) == [
        "  www.example.org                  6m40s",
        "    2001:db8::a  ##########  12.0 KiB",
        "    192.0.2.10   ##########       0 B",
        "  m0.mirror.example.org            1m40s",
        "    192.0.2.20   ##           3.0 KiB",
        "  m1.mirror.example.org              20s",
        "    192.0.2.21   #                0 B",
    ]


def test_long_list_is_cut_in_its_middle_and_says_how_much_and_what() -> None:
    many = [lease(f"198.51.100.{n}", "www.example.org", 600.0 - n) for n in range(200)]
    shown = rows(many, 80, shown=6)
    assert [line.split()[0] for line in shown] == [
        "address", *(f"198.51.100.{n}" for n in (0, 1, 2, 3)), "…", "198.51.100.198", "198.51.100.199"
    ]  # fmt: skip
    assert shown[5] == "  … 194 more, 9m56s to 6m43s left (--all shows them)"
    assert "  … 194 more (--all)" in rows(many, 40, shown=6)
    assert len(rows(many, 80, shown=199)) == 201  # one left out would take as much room
    assert len(rows(many, 80, shown=None)) == 201


_NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=255)
_LEASE = st.builds(lease, st.ip_addresses().map(str), _NAMES, st.floats(0, 1e6), st.integers(0, 2**63))


@given(st.lists(_LEASE, max_size=30), st.integers(40, 200), st.booleans(), st.sampled_from([None, 2, 20]))
def test_row_of_any_lease_is_never_wider_than_the_screen(
    leases: list[LeaseReport], width: int, unicode: bool, shown: int | None
) -> None:
    leases.sort(key=lambda lease: -lease["expires_in_s"])
    for line in rows(leases, width, unicode=unicode, shown=shown):
        assert len(line) <= width
        assert line.isprintable()
        assert unicode or not set(line) & set("…█▏▎▍▌▋▊▉")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("unicode", [True, False])
def test_status_at_any_width_is_never_wider_and_has_what_is_important(width: int, unicode: bool) -> None:
    lines = list(plain(status_blocks(report(), Screen(width, 24, unicode), 20)))
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for important in ("enforce", "192.0.2.1", "FAILING", "8 connections", "198.51.100.7", "deb.example.org"):
        assert important in text
    assert unicode or text.isascii()


def test_status_header_at_80_columns() -> None:
    lines = list(plain(status_blocks(report(), Screen(80, 24, True), 20)))
    assert lines[0].startswith("mode        enforce since ")
    assert lines[0].endswith(" (2h1s ago)")
    assert lines[1:4] == [
        "warning     upstream 192.0.2.1 does not answer",
        "denied      2 questions, 8 connections in the last hour",
        f"            {'▁' * 49}▃▁▁▁▁▁▁▁█▁▂",
    ]


def test_status_for_a_pipe_has_one_line_each_and_no_bars() -> None:
    lines = list(plain(status_blocks(report())))
    assert "  198.51.100.7  deb.example.org      1m33s       12  4.0 KiB" in lines
    assert not set("".join(lines)) & set("█▁…")


def test_status_in_mode_observe_does_not_say_that_they_were_denied() -> None:
    found = report()
    found["mode"] = "observe"
    (line,) = (line for line in plain(status_blocks(found)) if line.startswith("denied"))
    assert "in the last hour that no rule allows" in line


def test_status_without_denials_is_calm() -> None:
    found = report()
    assert found["denials"] is not None
    found["denials"]["questions"] = found["denials"]["flows"] = [0] * 60
    blocks = status_blocks(found, Screen(80, 24, True), 20)
    assert "denied      nothing in the last hour; 3 packets (180 B) in all" in list(plain(blocks))
    assert not set("".join(plain(blocks))) & set("▁▂▃▄▅▆▇")


def test_status_with_a_switch_on_trial_says_so_right_below_the_mode() -> None:
    found = report()
    found["pending"] = {
        "what": "mode", "from": "observe", "to": "enforce", "until": "2026-11-21T10:05:00Z", "left_s": 252.4,
        "problem": None,
    }  # fmt: skip
    lines = list(plain(status_blocks(found)))
    assert lines[1] == "pending     mode enforce goes back to observe in 4m12s unless you `dynallow confirm`"


def test_live_view_fits_the_screen_and_keeps_every_rule() -> None:
    found = report()
    found["rules"][0]["leases"] = [lease(f"198.51.100.{n}", "www.example.org", 90.0 - n) for n in range(80)]
    for height in (24, 40):
        blocks = fitting_blocks(found, Screen(100, height, True))
        assert len(blocks) < height
        assert {"rule mirror", "rule api"} <= {line.partition(":")[0] for line in plain(blocks)}


def test_colour_is_beside_the_text_and_never_in_it() -> None:
    blocks = status_blocks(report(), Screen(80, 24, True), 20)
    together = [
        line.text if isinstance(line, Line) else "".join(text for text, _ in line.pieces)
        for line in styled(blocks)
    ]
    assert [text.rstrip() for text in together] == [text.rstrip() for text in plain(blocks)]
