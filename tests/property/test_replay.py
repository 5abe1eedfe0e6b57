"""Invariant: settings replayed against the records that they made themselves change nothing.

The host that makes the records is a model of its own, and shares no code with what is tested: names resolve
to a few shared addresses, a lease is a rule's hold of an address, the kernel lets through what a lease's
rule or a destination opens, and what is known of an address is the name that gave it last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dynallow.advice.replay import replay
from dynallow.settings import load
from dynallow.usage.record import Record, Subject
from tests.unit.advice.recordings import NOW

PORTS = ("tcp/443", "tcp/80", "udp/123")
USERS = (None, 0, 7)
LABELS = ("a", "b", "c")
ADDRESSES = ("198.51.100.1", "198.51.100.2", "2001:db8::1")

pattern = st.sampled_from(
    [f"{lead}{name}" for name in ("a.example", "b.a.example", "b.example") for lead in ("", "*.", ".")]
)
rule = st.fixed_dictionaries(
    {
        "names": st.lists(pattern, min_size=1, max_size=2),
        "except": st.lists(pattern, max_size=1),
        "ports": st.lists(st.sampled_from(PORTS), min_size=1, max_size=2),
        "users": st.lists(st.sampled_from([0, 7]), max_size=1),
        "types": st.sampled_from([["A"], ["A", "AAAA"], ["AAAA", "TXT"]]),
        "expires": st.sampled_from(["", "2020-01-01", "2030-01-01"]),
    }
)
destination = st.fixed_dictionaries(
    {
        "addresses": st.lists(st.sampled_from([*ADDRESSES, "198.51.100.0/30"]), min_size=1, max_size=1),
        "ports": st.lists(st.sampled_from(PORTS), min_size=1, max_size=1),
        "users": st.lists(st.sampled_from([0, 7]), max_size=1),
    }
)
name = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(
    lambda parts: ".".join([*parts, "example"])
)
port = st.sampled_from([*PORTS, "icmp", "udp/53"])
step = st.one_of(
    st.tuples(st.just("ask"), name, st.sampled_from(["A", "AAAA", "TXT", "MX"]), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("connect"), st.sampled_from(ADDRESSES), port, st.sampled_from(USERS)),
    st.tuples(st.just("lapse"), st.sampled_from(ADDRESSES)),
)  # fmt: skip


def toml(rules: list[dict[str, object]], destinations: list[dict[str, object]]) -> str:
    lines: list[str] = []
    for head, sections in (("rule", rules), ("destination", destinations)):
        for number, section in enumerate(sections):
            lines += [f"[[{head}]]", f'name = "{head[0]}{number}"']
            for key, value in section.items():
                if value:
                    lines.append(f"{key} = {value}")
    return "\n".join(lines).replace("'", '"')


def fits(pattern_text: str, asked: str) -> bool:
    bare = pattern_text.lstrip("*.")
    apex, below = not pattern_text.startswith("*"), pattern_text != bare
    return (apex and asked == bare) or (below and asked.endswith(f".{bare}"))


class Host:
    """What the agent and the kernel of a host with these rules record."""

    def __init__(
        self, rules: list[dict[str, list[str]]], destinations: list[dict[str, list[str]]], observe: bool
    ) -> None:
        self.rules = {f"r{number}": section for number, section in enumerate(rules)}
        self.destinations = {f"d{number}": section for number, section in enumerate(destinations)}
        self.mode = "observe" if observe else "enforce"
        self.leases: dict[str, list[str]] = {address: [] for address in ADDRESSES}
        self.lapsed: dict[str, list[str]] = {address: [] for address in ADDRESSES}
        self.last_name: dict[str, str] = {}

    def ask(self, asked: str, qtype: str, address: str) -> Iterator[Subject]:
        listing = [n for n, r in self.rules.items() if any(fits(p, asked) for p in r["names"])]
        kept = [n for n in listing if not any(fits(p, asked) for p in self.rules[n]["except"])]
        live = [n for n in kept if str(self.rules[n]["expires"]) != "2020-01-01"]
        allowing = [n for n in live if qtype in self.rules[n]["types"]]
        is_right = (":" in address) is (qtype == "AAAA") and qtype in ("A", "AAAA")
        if allowing:
            yield self._subject("question", "allowed", "", asked, qtype, rule=",".join(allowing))
            if is_right:
                self.last_name[address] = asked
                self.leases[address] = [n for n in self.rules if n in {*self.leases[address], *allowing}]
            return
        why = "type" if live else "not-listed" if not listing else "expired" if kept else "excepted"
        yield self._subject("question", "filtered" if live else "denied", why, asked, qtype)
        if is_right and self.mode == "observe" and not live:
            self.last_name[address] = asked

    def connect(self, address: str, port: str, user: int | None) -> Iterator[Subject]:
        known = self.last_name.get(address, "")
        near: list[tuple[str, str]] = []
        for opener, section in self._openers(address):
            users: Sequence[object] = section["users"]
            if port in section["ports"] and (not users or user in users):
                yield self._subject("flow", "allowed", "", known, "", address, port, opener, user)
                return
            near.append((opener, "user" if port in section["ports"] else "port"))
        opener, why = min(
            near, key=lambda each: each[1] != "user", default=("", "name" if known else "no-name")
        )
        if port == "udp/53":
            opener, why = "", "dns"
        elif not near and self.lapsed[address]:
            opener, why = self.lapsed[address][0], "lapsed"
        yield self._subject("flow", "denied", why, known, "", address, port, opener, user)

    def lapse(self, address: str) -> Iterator[Subject]:
        self.lapsed[address] += self.leases[address]
        self.leases[address] = []
        yield from ()

    def _openers(self, address: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
        for opener, section in self.destinations.items():
            if address in section["addresses"] or (
                "198.51.100.0/30" in section["addresses"] and ":" not in address
            ):
                yield opener, section
        yield from ((opener, self.rules[opener]) for opener in self.leases[address])

    def _subject(
        self,
        kind: str,
        decision: str,
        why: str,
        asked: str,
        qtype: str,
        address: str = "",
        port: str = "",
        rule: str = "",
        user: int | None = None,
    ) -> Subject:
        return Subject(kind, decision, self.mode, why, asked, qtype, address, port, rule, user, "", "")  # type: ignore[arg-type]


@given(
    st.lists(rule, max_size=3), st.lists(destination, max_size=1), st.booleans(), st.lists(step, max_size=30)
)
def test_replay_records_of_the_same_settings_changes_nothing(rules, destinations, observe, steps) -> None:  # type: ignore[no-untyped-def]
    host = Host(rules, destinations, observe)
    records = [
        Record(subject, 1, NOW - 60, NOW - 60)
        for what, *how in steps
        for subject in getattr(host, what)(*how)
    ]
    with tempfile.TemporaryDirectory() as directory:
        main = Path(directory) / "dynallow.toml"
        main.write_text(toml(rules, destinations))
        settings = load(main)
    replayed = replay(records, settings, NOW)
    assert replayed.newly_denied == ()
    # Where a destination holds the address, a record does not tell that the rule's lease had ended as well.
    blurred = [each for each in replayed.newly_allowed if each.record.subject.rule in host.destinations]
    assert list(replayed.newly_allowed) == blurred
    assert replayed.unchanged_times + sum(each.record.times for each in blurred) == len(records)
