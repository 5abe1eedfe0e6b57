"""Invariant: what is suggested is TOML that the settings accept, and is not suggested again once it is there.

It holds the suggested rules and nothing else, whatever strangers call their names and programs.
"""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from dynallow.advice.draft import draft, rules_text
from dynallow.advice.ruling import Court
from dynallow.advice.suggest import Advice, suggest
from dynallow.settings import Loaded, load
from dynallow.settings.suffixes import covers_public_suffix
from dynallow.usage.record import Record, Subject
from tests.unit.advice.recordings import NOW

BESIDE = """
[[rule]]
name = "api"
names = ["a.b.example", "*.w.example.org"]
except = ["x.w.example.org"]
users = [0]
[[rule]]
name = "ended"
names = ["b.a.example"]
expires = 2020-01-01
[[destination]]
name = "curl"
addresses = ["203.0.113.0/24"]
ports = ["udp/123"]
"""

label = st.sampled_from(["a", "b", "w", "x", "n1", "n2", "n3", "n4", "n5", "n6", "xn--bcher-kva", "_tcp"])
plain_name = st.tuples(
    st.lists(label, min_size=1, max_size=3).map(".".join),
    st.sampled_from(["example", "example.org", "co.uk", "com", "github.io", "corp", "onion", "in-addr.arpa"]),
).map(".".join)
tunnel = st.binary(min_size=16, max_size=24).map(lambda raw: f"{raw.hex()}.t.evil.example")
hostile = st.text(max_size=20) | st.sampled_from(
    [
        'a"]\n[[rule]]\nname="z"',
        "a\r\nmode = 1",
        "\x00\x1b[2J",
        "\u202e",
        "\ud800",
        "bücher.example",
        "\\",
        "#",
        "a\\046b",
    ]
)
name = plain_name | tunnel | hostile
word = st.sampled_from(["", "curl", "apt-daily.service", "getty@tty1.service", "run-r1.scope"]) | hostile
HOST = "198.51.100.7"
address = st.sampled_from(
    [
        "198.51.100.7",
        "203.0.113.9",
        "10.1.2.3",
        "127.0.0.1",
        "169.254.169.254",
        "2001:db8::7",
        "fc00::1",
        "",
        "junk",
    ]
)
port = st.sampled_from(
    ["tcp/443", "tcp/80", "tcp/81", "udp/443", "udp/53", "tcp/853", "icmp", "47", "sctp/9", "tcp/0", ""]
)
user = st.none() | st.sampled_from([0, 7, 1000, 2**32 - 2])
question_why = st.sampled_from(["not-listed", "excepted", "expired", "type", "reserved"])
flow_why = st.sampled_from(["port", "user", "lapsed", "name", "no-name"])
mode = st.sampled_from(["observe", "enforce"])
qtype = st.sampled_from(["A", "AAAA", "HTTPS", "SRV", "TXT", "TYPE65280", "ANY", "?"])
none = st.just("")
question = st.builds(
    Subject, st.just("question"), st.just("denied"), mode, question_why, name, qtype, none, none,
    st.sampled_from(["", "api"]), user, word, word,
)  # fmt: skip
flow = st.builds(
    Subject, st.just("flow"), st.just("denied"), mode, flow_why, none | name, none, address, port,
    st.sampled_from(["", "api", "curl", "gone"]), user, word, word,
)  # fmt: skip
records = st.lists(
    st.builds(Record, question | flow, st.integers(1, 9), st.just(NOW - 9e4), st.just(NOW - 60)), max_size=25
)


def user_name(uid: int) -> str | int:
    return 'r"oot\n' if uid == 7 else uid


def advise(drawn: list[Record], rules: str) -> tuple[Advice, Loaded]:
    with tempfile.TemporaryDirectory() as directory:
        main = Path(directory) / "dynallow.toml"
        main.write_text(BESIDE)
        settings = load(main, {main.parent / "conf.d" / "60.toml": rules} if rules else {})
    return suggest(drawn, settings, NOW, user_name=user_name), settings


SIBLINGS = [
    Record(
        Subject(
            "flow", "denied", "observe", "name", f"n{number}.x.example", "", HOST, "tcp/443", "", 1, "", ""
        ),
        1,
        NOW,
        NOW,
    )
    for number in range(9)
]


@given(records)
@example(SIBLINGS)
def test_suggest_any_records_gives_settings_that_need_no_more(drawn: list[Record]) -> None:
    advice, _ = advise(drawn, "")
    text = draft(advice, user_name)
    told = tomllib.loads(text)
    assert set(told) <= {"rule"}
    assert [rule["name"] for rule in told.get("rule", [])] == [rule.name for rule in advice.rules]
    assert all(line.isprintable() for line in text.split("\n"))
    for rule in advice.rules:
        assert all(
            covers_public_suffix(each.pattern) is None and len(each.names) >= 5 for each in rule.wildcards
        )
        assert all(each.pattern.below is False or len(each.pattern.labels) >= 2 for each in rule.wildcards)
    again, settings = advise(drawn, rules_text(advice.rules, lambda uid: uid))
    assert again.rules == ()
    court = Court(settings, NOW, drawn)
    suggested = {rule.name for rule in advice.rules}
    for record in drawn:
        ruling = court.judge(record.subject)
        if ruling.decision == "allowed" and suggested & set(ruling.rules):
            assert record.subject.why != "lapsed"


@given(records)
def test_suggest_destinations_uncommented_are_settings_too(drawn: list[Record]) -> None:
    advice, _ = advise(drawn, "")
    lines = draft(advice._replace(rules=(), left=()), lambda uid: uid).splitlines()
    start = next((n for n, line in enumerate(lines) if line == "# [[destination]]"), len(lines))
    text = "\n".join(line.removeprefix("# ") for line in lines[start:])
    _, settings = advise(drawn, text)
    names = {destination.name for destination in settings.settings.destinations}
    assert len(names) > 1 or not advice.nameless
