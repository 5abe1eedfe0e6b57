"""Suggested rules: how names are put together, what is left out and why, and how it reads as TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dynallow.advice.draft import draft, rules_text
from dynallow.advice.lookups import NAMES_MAX
from dynallow.advice.suggest import Advice, suggest
from dynallow.settings import Loaded, load
from dynallow.usage.record import Record
from tests.unit.advice.recordings import NOW, asked, flow, loaded, question

HOST, OTHER = "198.51.100.7", "198.51.100.8"
NAMES = {42: "_apt", 33: "www-data"}


def advise(settings: Loaded, *records: Record, min_count: int | None = None) -> Advice:
    return suggest(
        records,
        settings,
        NOW,
        min_count=min_count,
        user_name=lambda uid: NAMES.get(uid, uid),
        where=lambda rule, name: f"a.toml:{len(rule)}",
    )


@pytest.fixture
def empty(tmp_path: Path) -> Loaded:
    return loaded(tmp_path, "")


def left(advice: Advice) -> dict[str, str]:
    return {each.what: each.why for each in advice.left}


def apt(name: str, port: str = "tcp/80", times: int = 3) -> Record:
    return flow(name, HOST, port, times, user=42, process="http", unit="apt-daily.service")


def test_names_of_one_user_unit_and_port_become_one_rule(empty: Loaded) -> None:
    (rule,) = advise(
        empty, apt("deb.debian.example"), apt("security.debian.example"), question("deb.debian.example")
    ).rules
    assert rule.names == ("deb.debian.example", "security.debian.example")
    assert (rule.name, list(map(str, rule.ports)), rule.users) == ("apt-daily-debian", ["tcp/80"], (42,))
    assert (
        rule.reason
        == "suggested 2027-01-15: 6 connections and 3 questions by _apt (apt-daily.service) since 2027-01-15"
    )


def test_other_users_ports_and_units_are_other_rules(empty: Loaded) -> None:
    rules = advise(
        empty,
        apt("deb.debian.example"),
        apt("mirror.example", "tcp/443"),
        flow("deb.debian.example", HOST, "tcp/22", user=33),
        flow("api.example", OTHER, user=33, unit="api.service"),
    ).rules
    found = {(rule.name, rule.names, str(rule.ports[0]), rule.users) for rule in rules}
    assert found == {
        ("apt-daily-debian", ("deb.debian.example",), "tcp/80", (42,)),
        ("apt-daily-mirror", ("mirror.example",), "tcp/443", (42,)),
        ("www-data-debian", ("deb.debian.example",), "tcp/22", (33,)),
        ("api-api", ("api.example",), "tcp/443", (33,)),
    }


def test_ports_of_one_user_and_name_stay_together_as_ranges(empty: Loaded) -> None:
    (rule,) = advise(empty, *[apt("ftp.example", f"tcp/{port}") for port in (21, 6000, 6001, 6002)]).rules
    assert list(map(str, rule.ports)) == ["tcp/21", "tcp/6000-6002"]


def test_unknown_user_opens_to_everybody_only_the_ports_of_that_user(empty: Loaded) -> None:
    rules = advise(
        empty, flow("a.example", HOST, user=None), apt("a.example", "tcp/443"), apt("a.example", "tcp/80")
    ).rules
    assert {(rule.users, tuple(map(str, rule.ports))) for rule in rules} == {
        ((), ("tcp/443",)),
        ((42,), ("tcp/80",)),
    }


def test_name_asked_for_by_known_users_gets_the_default_port_and_says_so(empty: Loaded) -> None:
    advice = advise(empty, question("api.example", 5, user=33, unit="api.service", process="api"))
    (rule,) = advice.rules
    assert (rule.guessed, rule.users, list(map(str, rule.ports))) == (True, (33,), ["tcp/443"])
    assert "# asked for, and nobody connected: the port is a guess\n" in draft(advice, str)


def test_name_asked_for_through_another_resolver_is_open_to_every_user(empty: Loaded) -> None:
    assert advise(empty, question("api.example", 5, user=101, process="systemd-resolve")).rules[0].users == ()


def test_one_off_look_is_left_out_and_with_min_count_more_is(empty: Loaded) -> None:
    once = question("once.example", 1), question("once.example", 1, qtype="AAAA")
    assert left(advise(empty, *once)) == {"once.example": "few"}
    assert advise(empty, *once, min_count=1).rules
    assert left(advise(empty, apt("deb.example", times=4), min_count=5)) == {"deb.example": "few"}
    assert advise(empty, apt("deb.example", times=1)).rules


def test_siblings_become_a_wildcard_from_five_on(empty: Loaded) -> None:
    def patterns(count: int, form: str) -> tuple[str, ...]:
        words = ["one", "blue", "x", "echo", "wide", "tall"]
        return advise(empty, *[apt(form.format(words[n], n)) for n in range(count)]).rules[0].names

    assert patterns(5, "{0}.cdn.example") == ("*.cdn.example",)
    assert len(patterns(4, "{0}.cdn.example")) == 4
    assert patterns(6, "mirror-{1}.cdn.example") == ("mirror-*.cdn.example",)
    assert patterns(6, "s3.{0}.cloud.example") == ("s3.*.cloud.example",)


@pytest.mark.parametrize("suffix", ["com", "co.uk", "github.io", "corp", "s3.eu-west-1.amazonaws.com"])
def test_siblings_at_a_public_suffix_stay_exact(empty: Loaded, suffix: str) -> None:
    (rule,) = advise(empty, *[apt(f"{word}.{suffix}") for word in ("ab", "cd", "ef", "gh", "ij", "kl")]).rules
    assert len(rule.names) == 6
    assert not rule.wildcards


def test_siblings_beside_an_exception_stay_exact(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[[rule]]\nname = "r"\nnames = ["a.example"]\nexcept = ["ads.cdn.example"]\n')
    (rule,) = advise(settings, *[apt(f"{word}.cdn.example") for word in ("ab", "cd", "ef", "gh", "ij")]).rules
    assert len(rule.names) == 5


def test_wildcard_tells_the_names_that_were_seen(empty: Loaded) -> None:
    advice = advise(empty, *[apt(f"mirror-{number}.cdn.example") for number in range(60)])
    text = draft(advice, str)
    assert '"mirror-*.cdn.example",  # for 60 names that were seen:' in text
    assert "mirror-17.cdn.example" in text
    assert "and 20 more" in text


def test_many_long_labels_below_a_domain_are_a_tunnel_and_no_rule(empty: Loaded) -> None:
    payload = [question(f"{number:032x}.t.evil.example", 1, process="iodine") for number in range(9)]
    advice = advise(empty, *payload)
    assert advice.rules == ()
    assert left(advice) == {"t.evil.example": "tunnel"}
    assert "9 names such as 0" in advice.left[0].text
    # The last of them gave the address that a program used on its own: that is no need of it.
    last = flow(f"{8:032x}.t.evil.example", HOST)
    assert left(advise(empty, *payload, last)) == {"t.evil.example": "tunnel"}


def test_many_names_of_any_length_that_nobody_connects_to_are_a_tunnel(empty: Loaded) -> None:
    short = [question(f"{number}.t.evil.example", 2) for number in range(60)]
    assert left(advise(empty, *short)) == {"evil.example": "tunnel"}
    (rule,) = advise(empty, *short[:40]).rules
    assert len(rule.names) == 40
    connected = [apt(f"{number}.t.evil.example") for number in range(60)]
    assert advise(empty, *short, *connected).rules[0].names == ("*.t.evil.example",)


def test_many_long_labels_that_are_connected_to_get_no_wildcard(empty: Loaded) -> None:
    (rule,) = advise(empty, *[flow(f"{number:032x}.t.cdn.example", HOST) for number in range(6)]).rules
    assert len(rule.names) == 6
    assert not rule.wildcards
    others = [flow(f"shard{number}.cdn.example", HOST) for number in range(6)]
    payload = [question(f"{number:032x}.t.cdn.example", 1) for number in range(9)]
    assert advise(empty, *payload, *others).rules[0].names == ("shard*.cdn.example",)


def test_more_names_than_anybody_reads_are_left_out_the_least_used_first(empty: Loaded) -> None:
    made_up = [question(f"{number}.x{number}.example{number}.net", 2) for number in range(NAMES_MAX)]
    advice = advise(empty, *made_up, apt("deb.example"))
    assert sum(len(rule.names) for rule in advice.rules) == NAMES_MAX
    assert advice.rules[0].names == ("deb.example",)
    assert [(each.why, each.times) for each in advice.left] == [("many", 2)]


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        '[[rule]]\nname = "r"\nnames = [".listed.example"]\nexcept = ["no.listed.example"]\n'
        '[[rule]]\nname = "old"\nnames = ["old.example"]\nexpires = 2020-01-01\n'
        '[resolver]\nsearch-suffixes = ["corp.example"]\n',
    )
    advice = advise(
        settings,
        question("no.listed.example"),
        question("old.example"),
        question("listed.example", qtype="TXT", decision="filtered", why="type"),
        question("mail.example", qtype="MX"),
        question("4.3.2.1.in-addr.arpa", qtype="PTR"),
        question("x.onion", why="reserved"),
        question("deb.example.corp.example"),
        question("deb.example.lab.example"),
        asked("deb.example", "r"),
        question("db"),
        question("dns.google"),
        question('a"]\n.example'),
        flow("", "9.9.9.9", "udp/53", why="dns"),
        flow("resolver.example", HOST, "tcp/853", why="dns"),
        question("resolver.example"),
        flow("listed.example", HOST, why="lapsed", rule="r"),
        flow("router.example", "127.0.0.1"),
        question("router.example"),
        flow("ping.example", HOST, "icmp"),
        flow("", HOST, why="port", rule="r", port="tcp/1"),
    )
    assert advice.rules == ()
    assert left(advice) == {
        "no.listed.example": "excepted",
        "old.example": "expired",
        "listed.example TXT": "type",
        "mail.example MX": "type",
        "4.3.2.1.in-addr.arpa": "reverse",
        "x.onion": "reserved",
        "deb.example.corp.example": "search",
        "deb.example.lab.example": "search",
        "db": "single",
        "dns.google": "dns",
        'a"]\n.example': "odd",
        "9.9.9.9 udp/53": "dns",
        "resolver.example tcp/853": "dns",
        "resolver.example": "dns",
        "listed.example tcp/443": "lapsed",
        "router.example 127.0.0.1": "special",
        "router.example": "special",
        "ping.example icmp": "protocol",
        f"{HOST} tcp/1": "port",
    }
    assert all(line.startswith("#") or not line for line in draft(advice, str).splitlines())


def test_address_without_a_name_is_a_destination_in_comments(empty: Loaded) -> None:
    advice = advise(
        empty,
        flow("", HOST, "udp/123", why="no-name", user=7, process="ntpd"),
        flow("", OTHER, "udp/123", why="no-name", user=7),
    )
    assert advice.rules == ()
    text = draft(advice, lambda uid: uid)
    assert tomllib.loads(text) == {}
    lines = text.splitlines()
    bare = "\n".join(line.removeprefix("# ") for line in lines[lines.index("# [[destination]]") :])
    (destination,) = tomllib.loads(bare)["destination"]
    assert destination["addresses"] == [HOST, OTHER]
    assert (destination["ports"], destination["users"]) == (["udp/123"], [7])


def test_rule_that_lists_the_name_without_the_port_is_named_beside_the_new_one(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[[rule]]\nname = "web"\nnames = ["deb.example"]\n')
    advice = advise(settings, flow("deb.example", HOST, "tcp/80", why="port", rule="web", user=42))
    assert [rule.names for rule in advice.rules] == [("deb.example",)]
    assert "# or: rule web lists deb.example (a.toml:3); what it lacks can be added to its ports\n" in draft(
        advice, str
    )


def test_destination_that_opens_the_address_otherwise_is_no_rule_that_lists_the_name(tmp_path: Path) -> None:
    ntp = f'[[destination]]\nname = "ntp"\naddresses = ["{HOST}"]\nports = ["udp/123"]\n'
    named = flow("time.example", HOST, "tcp/4460", why="port", rule="ntp")
    nameless = flow("", HOST, "tcp/4461", why="port", rule="ntp")
    advice = advise(loaded(tmp_path, ntp), named, nameless)
    assert [(rule.names, rule.beside) for rule in advice.rules] == [(("time.example",), ())]
    assert left(advice) == {f"{HOST} tcp/4461": "port"}
    assert "ntp opens the address: its ports leave this out" in draft(advice, str)


def test_name_with_private_addresses_gets_them_named_in_a_rule_of_its_own(empty: Loaded) -> None:
    rules = advise(
        empty,
        apt("git.corp.example"),
        flow("git.corp.example", "10.1.2.3", "tcp/80", user=42, unit="apt-daily.service"),
        apt("deb.example"),
    ).rules
    assert {(rule.names, tuple(map(str, rule.private))) for rule in rules} == {
        (("git.corp.example",), ("10.1.2.3/32",)),
        (("deb.example",), ()),
    }


def test_name_of_a_service_question_is_the_one_behind_it(empty: Loaded) -> None:
    assert advise(empty, question("_http._tcp.deb.example", qtype="SRV")).rules[0].names == ("deb.example",)


def test_allowed_records_and_what_the_settings_allow_by_now_need_nothing(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[[rule]]\nname = "web"\nnames = [".example"]\nallow-public-suffix = true\n')
    assert advise(settings, question("a.example"), flow("a.example", HOST), asked("b.com", "gone")) == (
        (),
        (),
        (),
    )


def test_rule_names_are_unique_valid_and_beside_those_that_exist(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[[rule]]\nname = "apt-daily-debian"\nnames = ["x.example"]\n')
    records = [
        apt("deb.debian.example"),
        apt("x.debian.example", "tcp/443"),
        flow("9.example", HOST, user=3, unit="@\n.service"),
    ]
    records += [
        flow("b.example", HOST, f"tcp/{port}", user=None, unit="a-very-long-unit-name-that-goes-on.service")
        for port in (1, 3)
    ]
    records += [flow("revoked.example", HOST, "tcp/5", unit="revoked.service")]
    advice = advise(settings, *records)
    assert {"apt-daily-debian-2", "apt-daily-debian-3"} <= {rule.name for rule in advice.rules}
    main = tmp_path / "dynallow.toml"
    both = load(main, {tmp_path / "conf.d" / "60.toml": rules_text(advice.rules, lambda uid: uid)})
    assert len(both.settings.rules) == 1 + len(advice.rules)


def test_text_of_a_rule_reads_back_as_the_rule(empty: Loaded, tmp_path: Path) -> None:
    advice = advise(empty, apt("deb.debian.example"))
    (rule,) = tomllib.loads(draft(advice, lambda uid: NAMES.get(uid, uid)))["rule"]
    assert rule == {
        "name": "apt-daily-debian",
        "names": ["deb.debian.example"],
        "ports": ["tcp/80"],
        "users": ["_apt"],
        "reason": "suggested 2027-01-15: 3 connections by _apt (apt-daily.service) since 2027-01-15",
    }
