"""`suggest`, `replay` and `audit` as a person runs them: files, exit codes, the agent or a recording.

In this process, but for what needs a terminal: one of their own costs each a second.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from dynallow.cli.main import main as run
from dynallow.cli.recorded import save
from tests.unit.cli.command import environment
from tests.unit.control.agent import MemoryAgent, serving

BASE = """mode = "enforce"
[resolver]
listen = ["127.0.0.1:9"]
upstreams = ["192.0.2.53"]
[[rule]]
name = "mirror"
names = ["deb.example.org"]
users = [0]
reason = "OS updates"
owner = "us"
"""
HOST = "198.51.100.7"


class Ran(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Dynallow(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def dynallow(capsys: pytest.CaptureFixture[str]) -> Dynallow:
    def call(*arguments: str | Path) -> Ran:
        code = run([*map(str, arguments)])
        return Ran(code, *capsys.readouterr())

    return call


def row(**given: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": "@000000", "kind": "flow", "decision": "denied", "mode": "observe", "why": "name", "name": "",
        "qtype": "", "address": "", "port": "", "rule": "", "user": None, "process": "", "unit": "",
        "count": 3,
        "first": "2026-11-21T09:00:00Z", "last": "2026-11-21T10:59:00Z",
    }  # fmt: skip
    return known | given


def question(name: str, **given: Any) -> dict[str, Any]:
    return row(kind="question", name=name, qtype="A", why="not-listed") | given


ROWS = [
    question("deb.example.org", decision="allowed", why="", rule="mirror", count=7),
    row(
        name="deb.example.org",
        address=HOST,
        port="tcp/443",
        decision="allowed",
        why="",
        rule="mirror",
        user=0,
    ),
    question("api.example.net", count=4),
    row(
        name="api.example.net",
        address="198.51.100.9",
        port="tcp/8443",
        user=0,
        process="api",
        unit="api.service",
    ),
    row(address="198.51.100.66", port="tcp/4444", why="no-name", user=0, process="x\x1b[31m\n"),
]


def history(rows: list[dict[str, Any]] = ROWS, **given: Any) -> dict[str, Any]:
    return {
        "since": "2026-11-20T11:00:00Z", "until": "2026-11-21T11:00:00Z", "begins": "2026-11-01T00:00:00Z",
        "untold": {"packets": 2, "questions": 0}, "rows": rows,
    } | given  # fmt: skip


@pytest.fixture
def main(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "dynallow.toml"
    path.parent.mkdir()
    path.write_text(BASE)
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "week.json"
    path.write_text(json.dumps(history()))
    return path


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    class Remembering(MemoryAgent):
        async def history(self, since_s: float, kind: str | None, decision: str | None) -> Any:
            await super().history(since_s, kind, decision)
            return history()

    path = tmp_path / "control.sock"
    with serving(Remembering(), path):
        yield path


def test_suggest_prints_rules_that_check_accepts(dynallow: Dynallow, main: Path, recording: Path) -> None:
    ran = dynallow("suggest", "--config", main, "--history", recording)
    assert ran.returncode == 0
    (rule,) = tomllib.loads(ran.stdout)["rule"]
    assert (rule["name"], rule["names"], rule["ports"]) == ("api-example", ["api.example.net"], ["tcp/8443"])
    assert "1 rule to add, 1 thing left out; 2 denials could not be told apart" in ran.stderr
    assert "\x1b" not in ran.stdout
    (main.parent / "conf.d").mkdir()
    (main.parent / "conf.d" / "60.toml").write_text(ran.stdout)
    assert dynallow("check", main).returncode == 0
    assert tomllib.loads(dynallow("suggest", "--config", main, "--history", recording).stdout) == {}


def test_suggest_asks_the_agent(dynallow: Dynallow, main: Path, socket: Path) -> None:
    report = json.loads(
        dynallow("suggest", "--config", main, "--socket", socket, "--since", "2h", "--json").stdout
    )
    assert [rule["name"] for rule in report["rules"]] == ["api-example"]
    assert [left["why"] for left in report["left_out"]] == ["no-name"]
    assert report["since"] == "2026-11-21T09:00:00Z"
    assert tomllib.loads(report["toml"])["rule"][0]["users"] == ["root"]


def test_settings_that_nobody_names_are_the_agents(dynallow: Dynallow, main: Path, tmp_path: Path) -> None:
    class Elsewhere(MemoryAgent):
        async def status(self, rule: str | None) -> Any:
            report = await super().status(rule)
            report["agent"]["settings"] = str(main)
            return report

    with serving(Elsewhere(), tmp_path / "c.sock"):
        report = json.loads(dynallow("replay", "--socket", tmp_path / "c.sock", "--json").stdout)
    assert report["settings"] == [str(main)]


def test_suggest_apply_shows_the_change_writes_it_and_has_nothing_to_add_then(
    dynallow: Dynallow, main: Path, recording: Path
) -> None:
    arguments = ("suggest", "--config", main, "--history", recording, "--apply", "--yes")
    ran = dynallow(*arguments)
    target = main.parent / "conf.d" / "60-suggested.toml"
    assert ran.returncode == 0
    assert f"+++ {target}" in ran.stdout
    assert '+name    = "api-example"' in ran.stdout
    assert "dynallow reload" in ran.stderr
    written = target.read_text()
    assert target.stat().st_mode & 0o777 == 0o644
    assert os.listdir(target.parent) == [target.name]
    assert dynallow(*arguments).stdout == "nothing to add\n"
    assert target.read_text() == written


def test_suggest_apply_adds_to_what_is_there_and_keeps_its_mode(
    dynallow: Dynallow, main: Path, recording: Path
) -> None:
    target = main.parent / "conf.d" / "70-mine.toml"
    target.parent.mkdir()
    target.write_text('# mine\n[[rule]]\nname = "api-example"\nnames = ["other.example"]\n')
    target.chmod(0o640)
    assert (
        dynallow("suggest", "--config", main, "--history", recording, "--apply", target, "--yes").returncode
        == 0
    )
    assert target.read_text().startswith("# mine\n")
    assert [rule["name"] for rule in tomllib.loads(target.read_text())["rule"]] == [
        "api-example",
        "api-example-2",
    ]
    assert target.stat().st_mode & 0o777 == 0o640


def test_suggest_apply_that_nobody_agrees_to_writes_nothing(
    dynallow: Dynallow, main: Path, recording: Path
) -> None:
    ran = dynallow("suggest", "--config", main, "--history", recording, "--apply")
    assert (ran.returncode, (main.parent / "conf.d").exists()) == (1, False)
    assert "nobody to ask here" in ran.stderr
    said, code = at_a_terminal("n\n", "suggest", "--config", main, "--history", recording, "--apply")
    assert (code, (main.parent / "conf.d").exists()) == (1, False)
    assert "60-suggested.toml? [y/N]" in said
    said, code = at_a_terminal("y\n", "suggest", "--config", main, "--history", recording, "--apply")
    assert (code, (main.parent / "conf.d" / "60-suggested.toml").exists()) == (0, True)


@pytest.mark.parametrize("name", ["/etc/passwd", "x.conf", "sub/x.toml", ".toml"])
def test_suggest_apply_to_a_file_that_settings_do_not_read_is_refused(
    dynallow: Dynallow, main: Path, recording: Path, name: str
) -> None:
    ran = dynallow("suggest", "--config", main, "--history", recording, "--apply", name, "--yes")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "which the settings read" in ran.stderr


def test_suggest_apply_that_would_be_a_fault_writes_nothing(
    dynallow: Dynallow, main: Path, recording: Path
) -> None:
    target = main.parent / "conf.d" / "60-suggested.toml"
    target.parent.mkdir()
    target.write_text("# no newline behind an open table\n[lease")
    before = target.read_bytes()
    ran = dynallow("suggest", "--config", main, "--history", recording, "--apply", "--yes")
    assert ran.returncode == 3
    assert target.read_bytes() == before


def test_replay_that_breaks_something_exits_5_and_says_what(
    dynallow: Dynallow, main: Path, recording: Path, tmp_path: Path
) -> None:
    assert dynallow("replay", main, "--history", recording).returncode == 0
    other = tmp_path / "other.toml"
    other.write_text(BASE.replace("deb.example.org", "api.example.net") + 'ports = ["tcp/8443"]\n')
    ran = dynallow("replay", other, "--history", recording)
    assert ran.returncode == 5
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["7", "deb.example.org", "A", "mirror", "no", "rule", "lists", "the", "name"] in lines
    assert [
        "3",
        "api.example.net",
        "tcp/8443",
        "root",
        "api",
        *["no", "rule", "lists", "the", "name", "mirror"],
    ] in lines
    assert ran.stdout.endswith("unchanged      1 record, 3 ×\n")
    report = json.loads(dynallow("replay", other, "--history", recording, "--json").stdout)
    assert (report["breaks"], len(report["newly_denied"]), len(report["newly_allowed"])) == (True, 2, 2)


def test_replay_of_invalid_settings_exits_3(dynallow: Dynallow, recording: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("mode = 1\n")
    assert dynallow("replay", bad, "--history", recording).returncode == 3


def test_replay_record_saves_what_history_reads_again(
    dynallow: Dynallow, main: Path, socket: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.json"
    ran = dynallow("replay", "--record", saved, "--socket", socket)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert json.loads(saved.read_text()) == history()
    assert dynallow("replay", main, "--history", saved).returncode == 0
    assert json.loads(dynallow("replay", "--record", "-", "--socket", socket).stdout) == history()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "expected JSON"),
        ("[]", "expected the answer of /v1/history"),
        (json.dumps(history([row(kind="x")])), "row 0: kind: expected one of question, flow"),
        (json.dumps(history([row(user=-1)])), "row 0: user: expected a uid"),
        (json.dumps(history([row(count="1")])), "row 0: count"),
        (json.dumps(history([row(name=None)])), "row 0: name: expected a text"),
        (json.dumps(history([row(last="soon")])), "row 0: last: expected a moment"),
        (json.dumps(history(since=1)), "since: expected a moment"),
        ("[" * 100_000, "expected JSON"),
    ],
)
def test_recording_that_is_none_fails_with_its_fault(
    dynallow: Dynallow, main: Path, tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    ran = dynallow("replay", main, "--history", path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert fault in ran.stderr


def test_audit_exits_1_with_findings_and_0_without(dynallow: Dynallow, main: Path, tmp_path: Path) -> None:
    recording = tmp_path / "month.json"
    recording.write_text(json.dumps(history(since="2026-10-21T11:00:00Z")))
    arguments = ("audit", "--config", main, "--history", recording, "--offline", "--unused-after", "7d")
    assert (dynallow(*arguments).returncode, dynallow(*arguments).stdout) == (0, "nothing found\n")
    main.write_text(BASE.replace('owner = "us"\n', ""))
    ran = dynallow(*arguments)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[1].split() == [
        "mirror",
        "no-owner",
        *["nobody", "answers", "for", "it"],
        f"{main}:7",
    ]
    report = json.loads(dynallow(*arguments, "--json").stdout)
    assert [(each["kind"], each["where"]) for each in report["findings"]] == [("no-owner", f"{main}:7")]


def test_audit_of_a_resolver_that_does_not_answer_says_so_and_goes_on(
    dynallow: Dynallow, main: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "month.json"
    recording.write_text(json.dumps(history([], since="2026-10-21T11:00:00Z")))
    ran = dynallow("audit", "--config", main, "--history", recording, "--unused-after", "7d")
    assert ran.returncode == 1  # unused
    assert "1 of 1 name could not be asked for whether they exist" in ran.stderr
    ran = dynallow("audit", "--config", main, "--history", recording, "--offline")
    assert "cannot be told yet" in ran.stderr


def at_a_terminal(typed: str, *arguments: str | Path) -> tuple[str, int]:
    """What the command says where it reads from a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "dynallow", *map(str, arguments)],
            stdin=theirs, capture_output=True, text=True, env=environment(), timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    return ran.stdout, ran.returncode


@pytest.mark.parametrize(
    "words",
    [
        ("suggest", "--since", "soon"),
        ("suggest", "--min-count", "-1"),
        ("suggest", "extra"),
        ("replay", "a.toml", "--config", "b.toml"),
        ("replay", "--at", "tomorrow"),
        ("audit", "--unused-after", ""),
        ("audit", "extra"),
    ],
)
def test_wrong_words_end_with_2(dynallow: Dynallow, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        dynallow(*words)
    assert ended.value.code == 2


def test_recording_is_its_owners_alone_also_where_a_file_was(tmp_path: Path) -> None:
    place = tmp_path / "week.json"
    place.write_text("older")
    place.chmod(0o644)
    save({"rows": []}, place)
    assert place.stat().st_mode & 0o777 == 0o600
