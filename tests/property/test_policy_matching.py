"""Invariant: the index gives the verdict that comparing the name with every pattern gives.

The reference here is slow and obviously right: it turns label lists into regular expressions
over single labels, knows no index and shares no code with it.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.policy import Outcome, PolicyBuilder, parse_name, parse_pattern, to_text
from dynallow.policy import index as indexing
from dynallow.policy.index import Index, union
from dynallow.policy.rrtypes import SRV, A

EXAMPLES = settings()  # as many as the profile says

# Few letters, so that names and patterns meet.
label = st.text("ab", min_size=1, max_size=2)
wild_label = label | st.sampled_from(["*", "a*", "*b", "a*b"])
base = st.lists(wild_label, min_size=1, max_size=3).map(".".join)
# A lone "*" is no pattern; written as a label of its own it leads one.
pattern_text = st.tuples(st.sampled_from(["", "*.", "."]), base).map("".join).filter(lambda text: text != "*")
name_text = st.lists(label | st.just("*"), min_size=1, max_size=5)
rules = st.lists(
    st.tuples(st.lists(pattern_text, max_size=4), st.lists(pattern_text, max_size=2)), max_size=3
)


def wire(parts: list[str]) -> bytes:
    return b"".join(bytes((len(part),)) + part.encode() for part in parts) + b"\0"


def reference(pattern: str, parts: list[str]) -> bool:
    apex, below, text = True, False, pattern
    if text.startswith("*."):
        apex, below, text = False, True, text[2:]
    elif text.startswith("."):
        below, text = True, text[1:]
    wanted = text.split(".")
    extra = len(parts) - len(wanted)
    if extra < 0 or (extra == 0 and not apex) or (extra > 0 and not below):
        return False
    pairs = zip(wanted, parts[extra:], strict=True)
    return all(re.fullmatch(re.escape(want).replace(r"\*", ".*"), part) for want, part in pairs)


@EXAMPLES
@given(
    st.lists(pattern_text, max_size=5),
    st.lists(name_text, min_size=1, max_size=6),
    st.sampled_from([0, 1, indexing._PASSED_MAX]),
)
def test_look_up_after_others_agrees_with_an_index_that_was_never_asked(
    patterns: list[str], names: list[list[str]], kept: int
) -> None:
    """However many parents it may keep."""

    def index() -> Index:
        filled = Index()
        for number, text in enumerate(patterns):
            filled.add(number, parse_pattern(text))
        return filled

    asked = index()
    with mock.patch.object(indexing, "_PASSED_MAX", kept):
        for parts in names:
            for name in (wire(parts), wire(["x", *parts]), wire(["y", *parts]), wire(parts[1:])):
                assert asked.look_up(name) == index().look_up(name)
        assert len(asked._passed) <= kept
    for number, text in enumerate(reversed(patterns)):  # what comes later is seen by those asked before
        asked.add(number, parse_pattern(text))
    filled = index()
    for number, text in enumerate(reversed(patterns)):
        filled.add(number, parse_pattern(text))
    for parts in names:
        assert asked.look_up(wire(parts)) == filled.look_up(wire(parts))


def some_below(pattern: str, parts: list[str]) -> bool:
    """Whether the pattern lists a name below: tried with every name that it could be."""
    wanted = pattern.removeprefix("*.").removeprefix("." if pattern.startswith(".") else "").split(".")
    fill = [want.replace("*", "") or "x" for want in wanted]
    candidates = [fill[:count] + parts for count in range(1, len(fill) + 1)]
    candidates += [["x", *fill[:count], *parts] for count in range(len(fill) + 1)]
    return any(reference(pattern, candidate) for candidate in candidates)


@EXAMPLES
@given(rules, name_text)
def test_decide_random_rules_agrees_with_comparing_every_pattern(
    drafts: list[tuple[list[str], list[str]]], parts: list[str]
) -> None:
    builder = PolicyBuilder()
    for number, (patterns, exceptions) in enumerate(drafts):
        rule = builder.add_rule(f"r{number}")
        for text in patterns:
            builder.add_pattern(rule, parse_pattern(text))
        for text in exceptions:
            builder.add_exception(rule, parse_pattern(text))
    policy = builder.build()
    verdict = policy.decide(wire(parts), A, 0.0)
    expected = [
        f"r{number}"
        for number, (patterns, exceptions) in enumerate(drafts)
        if any(reference(text, parts) for text in patterns)
        and not any(reference(text, parts) for text in exceptions)
    ]
    assert [rule.name for rule in verdict.rules] == expected
    assert (verdict.outcome is Outcome.ALLOWED) == bool(expected)
    traces = policy.explain(wire(parts), A, 0.0)
    assert [trace.rule.name for trace in traces if trace.outcome == "allows"] == expected


@EXAMPLES
@given(st.lists(pattern_text, max_size=4), name_text)
def test_decide_denied_name_knows_exactly_whether_names_lie_below(
    patterns: list[str], parts: list[str]
) -> None:
    builder = PolicyBuilder()
    rule = builder.add_rule("r")
    for text in patterns:
        builder.add_pattern(rule, parse_pattern(text))
    verdict = builder.build().decide(wire(parts), A, 0.0)
    if verdict.outcome is Outcome.DENIED:
        assert verdict.names_below == any(some_below(text, parts) for text in patterns)


@EXAMPLES
@given(pattern_text, name_text)
def test_pattern_matches_alone_as_in_the_index(text: str, parts: list[str]) -> None:
    assert parse_pattern(text).matches(wire(parts)) == reference(text, parts)
    assert parse_pattern(str(parse_pattern(text))) == parse_pattern(text)


@EXAMPLES
@given(st.lists(name_text, max_size=20), name_text)
def test_add_names_gives_the_index_that_single_patterns_give(
    listed: list[list[str]], parts: list[str]
) -> None:
    listed = [[part.replace("*", "c") for part in name] for name in listed]
    bulk, single = PolicyBuilder(), PolicyBuilder()
    for builder in (bulk, single):
        builder.add_rule("zero")
    bulk.add_names(bulk.add_rule("r"), map(wire, listed))
    rule = single.add_rule("r")
    for name in listed:
        single.add_pattern(rule, parse_pattern(".".join(name)))
    assert bulk.build().decide(wire(parts), A, 0.0) == single.build().decide(wire(parts), A, 0.0)


@EXAMPLES
@given(st.lists(st.binary(min_size=1, max_size=63), max_size=4))
def test_name_text_of_any_bytes_reads_back(raw: list[bytes]) -> None:
    name = b"".join(bytes((len(part),)) + part.lower() for part in raw) + b"\0"
    text = to_text(name)
    assert text.isascii()
    assert text.isprintable()
    # What looks like an IPv4 address is refused on purpose.
    if not all(part.isdigit() for part in raw):
        assert parse_name(text) == name


@EXAMPLES
@given(
    st.lists(
        st.binary(min_size=1, max_size=63) | st.sampled_from([b"a.b", b".", b"\x01a", b"deb-1_"]), max_size=4
    )
)
def test_name_text_is_the_escaped_labels_joined_by_dots(raw: list[bytes]) -> None:
    def escaped(byte: int) -> str:
        char = chr(byte)
        if char.isascii() and (char.isalnum() or char in "-_"):
            return char
        return f"\\{char}" if char == "." else f"\\{byte:03}"

    name = b"".join(bytes((len(part),)) + part.lower() for part in raw) + b"\0"
    assert to_text(name) == ".".join("".join(map(escaped, part.lower())) for part in raw) or "."


@EXAMPLES
@given(rules, name_text)
def test_index_shortcuts_give_what_looking_everything_up_gives(
    drafts: list[tuple[list[str], list[str]]], parts: list[str]
) -> None:
    index = Index()
    for number, (patterns, _) in enumerate(drafts):
        for text in patterns:
            index.add(number, parse_pattern(text))
    name = wire(parts)
    everything = union(index.below.find(name), index.match_all_below(name))
    assert index.match_some_below(name) == everything
    if not index.match(name):
        assert index.lists_below_unlisted(name) == bool(everything)


@EXAMPLES
@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_decide_label_with_any_bytes_never_passes_for_a_listed_name(raw: list[bytes]) -> None:
    builder = PolicyBuilder()
    rule = builder.add_rule("r")
    for text in (".example.org", "a.b.example.com", "s3.*.example.net"):
        builder.add_pattern(rule, parse_pattern(text))
    policy = builder.build()
    # All labels but the last joined by dots into one: reads like a listed name, is none.
    for faked in (b"a.b.example", b".".join([*raw, b"example"])[-63:]):
        for top in (b"org", b"com", b"net"):
            name = bytes((len(faked),)) + faked + bytes((len(top),)) + top + b"\0"
            assert policy.decide(name, A, 0.0).outcome is Outcome.DENIED or faked == b"example"


@EXAMPLES
@given(rules, name_text, name_text, st.sampled_from([A, SRV, 16]), st.floats(0.0, 1e9))
def test_decide_kin_are_told_the_same_whatever_stands_before(
    drafts: list[tuple[list[str], list[str]]], parts: list[str], others: list[str], qtype: int, wall: float
) -> None:
    builder = PolicyBuilder()
    for number, (patterns, exceptions) in enumerate(drafts):
        rule = builder.add_rule(f"r{number}", expires_at=5e8 if number else None)
        for text in patterns:
            builder.add_pattern(rule, parse_pattern(text))
        for text in exceptions:
            builder.add_exception(rule, parse_pattern(text))
    policy = builder.build()
    name = wire(parts)
    verdict = policy.decide(name, A, 0.0)
    if verdict.kin:
        assert (verdict.outcome, verdict.reason, verdict.names_below) == (Outcome.DENIED, "", False)
        for before in (others, ["_x", *others[:1]], ["_x", "_y"], ["_x"]):
            kin = policy.decide(wire(before)[:-1] + name[verdict.kin :], qtype, wall)
            assert replace(kin, kin=verdict.kin) == verdict
            assert kin.kin


def test_look_up_gives_what_trying_each_ancestor_gives() -> None:
    """Many small cases by seed: where wildcards meet names below literal ones is seldom found otherwise."""
    rng = random.Random(1)
    labels = ["a", "b", "ab", "ba"]
    listed = 0
    for _ in range(8000):
        index = Index()
        for number in range(rng.randrange(4)):
            parts = [rng.choice([*labels, "*", "a*", "*b"]) for _ in range(rng.randrange(1, 4))]
            text = rng.choice(["", "*.", "."]) + ".".join(parts)
            if text.strip("*."):
                index.add(number, parse_pattern(text))
        name = wire([rng.choice([*labels, "_a"]) for _ in range(rng.randrange(5))])
        expected = union(index.exact.find(name), index.deep.find_ancestors(name))
        assert index.match(name) == expected, (name, [*index.exact.shaped, *index.deep.shaped])
        listed += bool(expected)
    assert listed > 500
