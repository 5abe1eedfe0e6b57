"""What changed and when: counted without end, remembered within bounds, told in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dynallow.control.reports.policylog import KEPT, PolicyLog, policy_report, told
from dynallow.errors import SettingsError
from dynallow.settings import Settings, load

Read = Callable[[str], Settings]
BASE = """
[[rule]]
name = "web"
names = ["www.example.org"]
[[rule]]
name = "api"
names = ["api.example.org"]
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str) -> Settings:
        file = tmp_path / "dynallow.toml"
        file.write_text(text)
        return load(file).settings

    return read


def test_told_names_what_was_added_removed_and_changed(read: Read) -> None:
    after = (
        'mode = "enforce"\n'
        + BASE.replace('"api"', '"new"').replace("www.", "web.")
        + "[lease]\nmin = '2m'\n"
    )
    assert told(read(BASE), read(after)) == (
        "mode enforce; rules added: new; rules removed: api; rules changed: web; changed: lease"
    )


def test_told_of_many_rules_names_some_and_counts_the_rest(read: Read) -> None:
    many = "".join(
        f'[[rule]]\nname = "r{number}"\nnames = ["r{number}.example.org"]\n' for number in range(9)
    )
    assert told(read(""), read(many)) == "rules added: r0, r1, r2, r3, r4 and 4 more"


def test_told_of_the_same_says_that_nothing_changed(read: Read) -> None:
    assert told(read(BASE), read(BASE)) == "reloaded: nothing changed"


def test_changes_are_counted_and_the_latest_kept() -> None:
    now = iter(range(1000))
    log = PolicyLog(lambda: float(next(now)))
    for number in range(KEPT + 10):
        log.changed(f"change {number}")
    assert log.generation == KEPT + 11
    assert len(log.changes) == KEPT
    report = policy_report(log)
    assert report["generation"] == KEPT + 11
    assert [change["what"] for change in report["changes"]][-1] == f"change {KEPT + 9}"
    assert report["since"] == report["changes"][-1]["at"] == "1970-01-01T00:01:14Z"
    assert report["last_reload"] is None


def test_reload_is_counted_by_how_it_ends() -> None:
    log = PolicyLog()
    with log.reload():
        pass
    assert (log.reload_done, log.reloads) == (True, {"done": 1, "failed": 0})
    with pytest.raises(SettingsError), log.reload():
        raise SettingsError([])
    assert (log.reload_done, log.reloads) == (False, {"done": 1, "failed": 1})
    assert policy_report(log)["last_reload"] == "failed"
