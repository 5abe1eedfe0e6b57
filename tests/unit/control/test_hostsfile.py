"""What a hosts file says of a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.control.reports.hostsfile import addresses_in

HOSTS = """
127.0.0.1\tlocalhost  # and only that: #other.example
192.0.2.7 Deb.Example.org deb mirror.example.
2001:db8::7 deb.example.org
192.0.2.7 deb.example.org
not-an-address deb.example.org
#192.0.2.8 deb.example.org
192.0.2.9
"""


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("deb.example.org", ["192.0.2.7", "2001:db8::7"]),
        ("mirror.example", ["192.0.2.7"]),
        ("other.example", []),
        ("192.0.2.9", []),
        ("", []),
    ],
)
def test_addresses_in_a_hosts_file_are_those_of_the_name(
    tmp_path: Path, name: str, addresses: list[str]
) -> None:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    assert addresses_in(path, name) == addresses


def test_addresses_in_a_file_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert addresses_in(tmp_path / "hosts", "localhost") == []
