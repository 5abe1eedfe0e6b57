"""The journal's native protocol: fields that values cannot forge, and a socket that may be gone."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from dynallow.sight.journal import Journal, encode, fields
from dynallow.usage.lines import Line

DENIED = Line(
    0.0, "flow", "denied", "enforce", "port", "www.example.org", "", ("192.0.2.10",), "tcp/80", "web", 1000,
    "curl", "ci.service", 3, None, "@4f0c2a",
)  # fmt: skip


def test_fields_of_a_denied_flow_name_what_is_known_and_nothing_empty() -> None:
    told = fields(DENIED)
    assert told["MESSAGE"] == (
        "denied tcp/80 192.0.2.10 (www.example.org) [web]: the rule opens other ports, "
        "by curl, user 1000, ci.service x3 @4f0c2a"
    )
    assert {key: value for key, value in told.items() if key != "MESSAGE"} == {
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "dynallow",
        "DYNALLOW_EVENT": "flow",
        "DYNALLOW_DECISION": "denied",
        "DYNALLOW_MODE": "enforce",
        "DYNALLOW_WHY": "port",
        "DYNALLOW_NAME": "www.example.org",
        "DYNALLOW_ADDRESS": "192.0.2.10",
        "DYNALLOW_PORT": "tcp/80",
        "DYNALLOW_RULE": "web",
        "DYNALLOW_USER": "1000",
        "DYNALLOW_PROCESS": "curl",
        "DYNALLOW_UNIT": "ci.service",
        "DYNALLOW_COUNT": "3",
        "DYNALLOW_ID": "@4f0c2a",
    }


def test_encode_value_with_a_lines_end_has_its_length_before_it() -> None:
    assert encode({"A": "b=c", "D": "e\nPRIORITY=0"}) == (
        b"A=b=c\nD\n" + struct.pack("<Q", 12) + b"e\nPRIORITY=0\n"
    )


@pytest.fixture
def listening(tmp_path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "socket"))
    sock.settimeout(30)
    return sock


def test_put_of_a_hostile_name_is_one_message_of_one_line(listening: socket.socket, tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "socket"), {"INVOCATION_ID": "1"})
    journal.put([DENIED._replace(process="a\nPRIORITY=0\x1b[2J", name="x\u202e.example")])
    datagram = listening.recv(1 << 16)
    listening.close()
    journal.close()
    lines = datagram.splitlines()
    assert b"DYNALLOW_PROCESS=a\\nPRIORITY=0\\x1b[2J" in lines
    assert b"PRIORITY=5" in lines
    assert b"PRIORITY=0" not in lines
    assert datagram.isascii()


def test_put_without_a_journal_counts_what_it_loses_and_raises_nothing(
    listening: socket.socket, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "socket"), {"INVOCATION_ID": "1"})
    listening.close()
    (tmp_path / "socket").unlink()
    journal.put([DENIED, DENIED])
    assert journal.lost == 2
    journal.close()


def test_journal_of_an_agent_that_systemd_does_not_run_is_not_there(tmp_path: Path) -> None:
    assert not Journal(str(tmp_path / "none"), {"INVOCATION_ID": "1"}).there
    assert not Journal(str(tmp_path), {}).there
