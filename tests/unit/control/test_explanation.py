"""What `explain` says: the same as the road and the table do, why, and what would have to change."""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dynallow.control.backend import BadRequestError
from dynallow.control.reports.explanation import explain
from dynallow.control.schema import ExplainReport
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import parse_name
from dynallow.policy.patterns import parse_pattern
from dynallow.policy.policy import PolicyBuilder
from dynallow.policy.rrtypes import parse_type
from dynallow.resolver.upstream.choose import choose
from dynallow.settings import Loaded, Settings, load
from dynallow.units import parse_port
from dynallow.usage.record import Record, Subject, ident
from tests.unit.resolver.host import Host, on_host
from tests.unit.resolver.nameserver import Nameserver

MIRROR, EDGE = parse_name("mirror.example"), parse_name("edge.cdn.example")
SETTINGS = """\
mode = "enforce"
[resolver]
upstreams = ["192.0.2.53"]
search-suffixes = ["lan.example"]

[[rule]]
name = "api"
names = ["api.example.org", "*.cdn.example.org"]
except = ["bad.cdn.example.org"]
ports = ["tcp/443", "tcp/8000-8010"]
users = [33]
reason = "billing"
owner = "team b"

[[rule]]
name = "old"
names = ["old.example.net"]
expires = 2020-01-31

[[rule]]
name = "six"
types = ["AAAA"]
names = ["six.example.net"]

[[destination]]
name = "ntp"
addresses = ["192.0.2.123"]
ports = ["udp/123"]
"""
LEASED, LAPSED, HOSTED = "198.51.100.7", "198.51.100.8", "198.51.100.9"


class Past:
    """A history in memory."""

    def __init__(self, *records: Record) -> None:
        self.kept = list(records)

    async def settle(self) -> None:
        """Everything is there."""

    def begins(self) -> float | None:
        return 1e9

    def about(self, names: Collection[str], addresses: Collection[str]) -> list[Record]:
        found = [one for one in self.kept if one.subject.name in names or one.subject.address in addresses]
        return sorted(found, key=lambda record: -record.last)

    def find(self, sign: str) -> Subject | None:
        return next((one.subject for one in self.kept if ident(one.subject) == sign), None)


def seen(**more: Any) -> Record:
    """Seven denied connections of uid 33."""
    empty = dict.fromkeys(("name", "qtype", "address", "port", "rule", "process", "unit"), "")
    fixed = {"kind": "flow", "decision": "denied", "mode": "enforce", "why": "no-name", "user": 33}
    times, last = more.pop("times", 7), more.pop("last", 2e9)
    return Record(Subject(**{**empty, **fixed, **more}), times, 1e9, last)


def explained(
    tmp_path: Path,
    subject: str,
    port: str | None = None,
    user: int | None = None,
    past: Past | None = None,
    prepare: Callable[[Ledger, float], None] = lambda ledger, now: None,
) -> ExplainReport:
    """Of an agent with SETTINGS, a lease of api.example.org, a lapsed one, and a hosts file."""
    (tmp_path / "dynallow.toml").write_text(SETTINGS)
    (tmp_path / "hosts").write_text(f"{HOSTED} Pinned.Example.Com. pinned\n# {LEASED} no.example\n")
    loaded = load(tmp_path / "dynallow.toml")

    async def work(host: Host, _server: Nameserver) -> ExplainReport:
        host.change(loaded.policy)
        host.wall = 2e9
        ledger = Ledger(Limits(), [rule.name for rule in loaded.policy.rules])
        api = parse_name("api.example.org")
        ledger.adopt("api", ip_address(LEASED).packed, host.now + 300, api)
        ledger.lapsed.note("api", ip_address(LAPSED).packed, api)
        prepare(ledger, host.now)
        agent = agent_of(host, loaded, ledger)
        asked = None if port is None else parse_port(port)
        return await explain(agent, subject, asked, user, past, tmp_path / "hosts")

    return on_host(work)


def agent_of(host: Host, loaded: Loaded, ledger: Ledger) -> Any:
    return SimpleNamespace(
        road=host.road,
        loaded=loaded,
        settings=loaded.settings,
        ledger=ledger,
        chosen=choose(loaded.settings),
        own=frozenset([ip_address("192.0.2.200").packed]),
        table=SimpleNamespace(features=SimpleNamespace(conntrack_filter=False)),
    )


@pytest.mark.parametrize(("types", "outcome"), [("A SRV", "allows"), ("SRV", "filtered")])
def test_explain_derived_name_rule_says_the_same_as_the_verdict(types: str, outcome: str) -> None:
    builder = PolicyBuilder()
    rule = builder.add_rule("web", types=frozenset(map(parse_type, types.split())))
    builder.add_pattern(rule, parse_pattern("mirror.example"))
    policy = builder.build()
    settings = Settings.model_validate({"rule": [{"name": "web", "names": ["mirror.example"]}]})

    async def work(host: Host, _server: Nameserver) -> ExplainReport:
        host.change(policy)
        listed = policy.decide(MIRROR, parse_type("SRV"), host.wall)
        host.road.derived.note(policy, listed, MIRROR, (EDGE,), host.now, host.now + 100.0)
        agent = agent_of(host, Loaded(settings, policy, ()), Ledger(Limits(), ["web"]))
        return await explain(agent, "edge.cdn.example", None, None)

    report = on_host(work)
    assert [one["outcome"] for one in report["rules"]] == [outcome]
    assert report["verdict"] == {"allows": "allowed"}.get(outcome, outcome)
    assert [lead["root"] for lead in report["derived"]] == ["mirror.example"]


# ------------------------------------------------------------ what would have to change


_ALONE = 'list it in a rule of its own: [[rule]] name = "NAME", names = '
_DNS = "nothing: DNS goes to dynallow alone, whatever rules say"


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (
            "new.example.org",
            'add "new.example.org" to names of rule api, which lists others below example.org (FILE:8)',
        ),
        ("new.example.com tcp/22", f'{_ALONE}["new.example.com"], ports = ["tcp/22"]'),
        ("bad.cdn.example.org", 'take "bad.cdn.example.org" out of except of rule api (FILE:9)'),
        ("old.example.net", "set a later `expires` in rule old, which expired on 2020-01-31 (FILE:18)"),
        ("api.example.org tcp/80 33", 'add "tcp/80" to ports of rule api (FILE:10)'),
        ("api.example.org tcp/443 0", "add 0 to users of rule api (FILE:11)"),
        ("api.example.org udp/53", _DNS),
        ("x.onion", "nothing: no rule can list such a name"),
        (r"\*.example.org", "nothing: no rule can list such a name"),
        (
            "six.example.net.lan.example",
            "ask for six.example.net with a dot behind it, or list six.example.net.lan.example",
        ),
        (f"{LEASED} tcp/80 33", 'add "tcp/80" to ports of rule api (FILE:10)'),
        (f"{LEASED} tcp/8005 0", "add 0 to users of rule api (FILE:11)"),
        (f"{LAPSED} tcp/443 33", "ask for api.example.org through dynallow: rule api lists it"),
        (HOSTED, "take pinned.example.com out of /etc/hosts, so that it is asked for through dynallow"),
        ("203.0.113.1", "ask for its name through dynallow: the address never came from DNS"),
        ("203.0.113.1 udp/53", "ask dynallow instead; no rule opens DNS to other servers"),
        ("192.0.2.123 udp/124", 'add "udp/124" to ports of destination ntp (FILE:28)'),
    ],
)
def test_change_that_explain_names_first_is_what_an_administrator_would_write(
    tmp_path: Path, asked: str, change: str
) -> None:
    subject, port, user = (*asked.split(), None, None)[:3]
    assert subject is not None
    report = explained(tmp_path, subject, port, None if user is None else int(user))
    assert report["verdict"] == "denied"
    assert report["change"][0].replace(str(tmp_path / "dynallow.toml"), "FILE") == change


def test_type_that_a_rule_leaves_out_is_filtered_and_says_which(tmp_path: Path) -> None:
    line = seen(kind="question", why="type", name="six.example.net", qtype="A", user=None)
    report = explained(tmp_path, ident(line.subject), past=Past(line))
    assert (report["verdict"], report["subject"]) == ("filtered", "six.example.net")
    assert report["change"][0].startswith('add "A" to types of rule six (')


@pytest.mark.parametrize(
    ("subject", "port", "user", "verdict"),
    [
        ("api.example.org", None, None, "allowed"),
        ("api.example.org", "tcp/8000-8010", 33, "allowed"),
        ("api.example.org", "tcp/8000-8011", 33, "denied"),
        ("six.example.net", None, None, "allowed"),
        ("localhost", "tcp/22", None, "allowed"),
        (LEASED, None, None, "allowed"),
        (LEASED, None, 33, "allowed"),
        (LEASED, None, 0, "denied"),
        (LEASED, "tcp/8000-8010", 33, "allowed"),
        (LEASED, "tcp/7999-8010", 33, "denied"),
        (f"[::ffff:{LEASED}]", "tcp/443", 33, "allowed"),  # what such a socket sends is IPv4
        ("192.0.2.123", "udp/123", 12345, "allowed"),
        ("192.0.2.200", "tcp/22", None, "allowed"),
        ("0.0.0.0", "tcp/22", None, "allowed"),
        ("192.0.2.53", "udp/53", None, "denied"),
    ],
)
def test_verdict_of_a_port_and_user_is_the_tables(
    tmp_path: Path, subject: str, port: str | None, user: int | None, verdict: str
) -> None:
    assert explained(tmp_path, subject, port, user)["verdict"] == verdict


def test_explained_packet_has_the_line_that_decides_and_its_place(tmp_path: Path) -> None:
    report = explained(tmp_path, LEASED, "tcp/443", 33)
    assert report["packet"] == "accepted"
    assert report["decided"] is not None
    assert (report["decided"]["by"], report["decided"]["name"]) == ("rule", "api")
    assert report["decided"]["where"] == f"{tmp_path}/dynallow.toml:10"
    assert report["decided"]["nft"].startswith("ip daddr @api_v4 tcp dport { 443, 8000-8010 } meta skuid 33 ")
    (rule,) = report["rules"]
    assert (rule["line"], rule["where"]) == (f"{tmp_path}/dynallow.toml:6", f"{tmp_path}/dynallow.toml:8")


def test_address_without_a_port_has_no_packet_and_what_hosts_says(tmp_path: Path) -> None:
    report = explained(tmp_path, HOSTED)
    assert (report["packet"], report["port"]) == (None, None)
    assert report["hosts_names"] == ["pinned.example.com", "pinned"]
    assert explained(tmp_path, LEASED)["hosts_names"] == []  # a comment
    assert explained(tmp_path, "pinned.example.com")["hosts"] == [HOSTED]


def test_upstream_server_is_said_to_be_one_and_denied_to_others(tmp_path: Path) -> None:
    report = explained(tmp_path, "192.0.2.53", "udp/53")
    assert report["packet"] == "turned"
    assert "its own sockets reach it on tcp/53, udp/53" in report["notes"][0].replace(
        "dynallow's own", "its own"
    )
    assert explained(tmp_path, "192.0.2.53", "udp/853")["packet"] == "rejected"


def test_revoked_address_tells_for_how_long_and_new_flows_of_a_destination_pass(tmp_path: Path) -> None:
    def revoke(ledger: Ledger, now: float) -> None:
        for address in ("203.0.113.5", "192.0.2.123"):
            ledger.adopt_revoked(ip_address(address).packed, now + 60)

    report = explained(tmp_path, "203.0.113.5", prepare=revoke)
    assert (report["verdict"], report["revoked_for_s"]) == ("denied", 60.0)
    assert report["text"] == "203.0.113.5 was revoked; flows to it count for nothing for 1m more"
    assert explained(tmp_path, "192.0.2.123", "udp/123", prepare=revoke)["verdict"] == "allowed"


def test_address_that_ipv6_itself_needs_is_denied_to_programs_and_says_so(tmp_path: Path) -> None:
    report = explained(tmp_path, "ff02::2", "udp/123")
    assert report["verdict"] == "denied"
    assert any("neighbour discovery" in note for note in report["notes"])


def test_private_address_says_where_such_an_answer_would_be_let_through(tmp_path: Path) -> None:
    assert any("`private`" in note for note in explained(tmp_path, "10.1.2.3")["notes"])


# ------------------------------------------------------------ the past


def test_line_of_denied_is_explained_with_its_port_and_user(tmp_path: Path) -> None:
    line = seen(address=LEASED, port="tcp/80", name="api.example.org", why="port", rule="api")
    report = explained(tmp_path, ident(line.subject), past=Past(seen(address="203.0.113.1"), line))
    assert (report["id"], report["subject"]) == (ident(line.subject), LEASED)
    assert (report["port"], report["user"], report["packet"]) == ("tcp/80", 33, "reset")
    assert [row["count"] for row in report["past"]] == [7]


def test_line_of_what_has_no_ports_says_that_no_rule_opens_it(tmp_path: Path) -> None:
    line = seen(address=LEASED, port="icmp")
    report = explained(tmp_path, ident(line.subject), past=Past(line))
    assert (report["port"], report["packet"]) == ("icmp", "rejected")
    assert report["change"] == ["nothing: rules open TCP and UDP ports, not icmp"]


@pytest.mark.parametrize("past", [None, Past(seen(address=LEASED))])
def test_line_that_nobody_knows_is_a_bad_request(tmp_path: Path, past: Past | None) -> None:
    with pytest.raises(BadRequestError, match="no line @123456 in the history"):
        explained(tmp_path, "@123456", past=past)


def test_past_is_told_latest_first_cut_and_counted(tmp_path: Path) -> None:
    records = [seen(address="203.0.113.1", port=f"tcp/{n}", last=1e9 + n) for n in range(1, 31)]
    report = explained(tmp_path, "203.0.113.1", past=Past(*records))
    assert [row["port"] for row in report["past"]] == [f"tcp/{n}" for n in range(30, 20, -1)]
    assert (report["past_rows"], report["past_begins"]) == (30, "2001-09-09T01:46:40Z")
    assert [
        row["port"] for row in explained(tmp_path, "203.0.113.1", "tcp/3", past=Past(*records))["past"]
    ] == ["tcp/3"]


def test_names_that_gave_the_address_before_are_told_and_are_what_to_add(tmp_path: Path) -> None:
    records = [seen(address="203.0.113.1", port="tcp/443", name="shop.example.com", why="name")]
    report = explained(tmp_path, "203.0.113.1", "tcp/443", past=Past(*records))
    assert report["seen_names"] == ["shop.example.com"]
    assert 'names = ["shop.example.com"], ports = ["tcp/443"]' in report["change"][0]
    shared = Past(seen(address=LEASED, port="tcp/443", name="evil.example.com"))
    assert explained(tmp_path, "api.example.org", past=shared)["seen_names"] == ["evil.example.com"]


def test_history_that_cannot_be_read_takes_only_itself_away(tmp_path: Path) -> None:
    class Broken(Past):
        async def settle(self) -> None:
            raise ZeroDivisionError

        def begins(self) -> float | None:
            raise ZeroDivisionError

        def about(self, names: Collection[str], addresses: Collection[str]) -> list[Record]:
            raise ZeroDivisionError

    report = explained(tmp_path, LEASED, "tcp/443", 33, Broken())
    assert (report["verdict"], report["past"], report["past_begins"]) == ("allowed", [], None)


def test_mode_observe_says_what_enforce_would_do_and_that_it_goes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.SETTINGS", SETTINGS.replace('"enforce"', '"observe"'))
    report = explained(tmp_path, "203.0.113.1", "tcp/443")
    assert (report["verdict"], report["mode"], report["packet"]) == ("denied", "observe", "passed")
    assert report["notes"] == ["mode observe: nothing is blocked, this is what enforce would do"]
    assert explained(tmp_path, "203.0.113.1", "udp/53")["packet"] == "passed"
    assert "answered all the same" in explained(tmp_path, "new.example.com")["notes"][0]


def test_all_names_that_claim_the_address_are_told_however_many(tmp_path: Path) -> None:
    def crowd(ledger: Ledger, now: float) -> None:
        for number in range(1000):
            ledger.adopt(
                "api", ip_address(LEASED).packed, now + 300, parse_name(f"n{number}.cdn.example.org")
            )

    assert len(explained(tmp_path, LEASED, prepare=crowd)["names"]) == 1000
