"""Loading: files merge, every fault is found and named by file and path, nothing half valid comes out."""

from __future__ import annotations

import os
from datetime import date
from ipaddress import ip_network
from pathlib import Path

import pytest

from dynallow.errors import SettingsError
from dynallow.policy import parse_name
from dynallow.policy.rrtypes import A
from dynallow.settings import Loaded, load
from dynallow.settings.model import Settings
from dynallow.units import PortRange, Rate

FULL = """
mode = "enforce"
[resolver]
listen = ["127.0.0.1:53", "[::1]:53"]
upstreams = ["10.10.0.10", "tls://9.9.9.9#dns.quad9.net", "https://dns.quad9.net/dns-query#9.9.9.9"]
timeout = "2s"
denied = "refused"
cache-size = 10
stale = "0s"
denied-ttl = "1m30s"
search-suffixes = ["corp.example.com."]
[[resolver.zone]]
names = [".corp.example.com"]
upstreams = ["10.10.0.11"]
[lease]
grace = "30s"
min = "40s"
max = "1h"
max-addresses-per-name = 5
max-per-rule = 6
[firewall]
denied = "drop"
log-group = 7
log-rate = "8/minute"
dns = "reject"
[control]
socket = "/tmp/dynallow.sock"
metrics = "127.0.0.1:9953"
[[rule]]
name = "package-mirror"
names = ["deb.debian.org", "*.debian.org", ".pypi.org", "s3.*.amazonaws.com"]
names-from = ["lists/mirrors.txt"]
except = ["tracker.debian.org"]
ports = ["tcp/80", "tcp/443", "udp/443", "tcp/6000-6010"]
users = ["root", 0]
types = ["A", "AAAA", "HTTPS"]
private = ["10.0.0.0/8"]
reason = "OS updates"
owner = "platform team"
expires = 2027-01-31
[[destination]]
name = "ntp"
addresses = ["10.10.0.20", "2001:db8::/64"]
ports = ["udp/123"]
users = []
reason = "time"
"""


class Tree:
    """A settings directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.main = root / "dynallow.toml"
        self.main.write_text("")

    def write(self, path: str, text: str | bytes) -> Tree:
        file = self.root / path
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return self

    def load(self) -> Loaded:
        return load(self.main)

    def faults(self) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self.load()
        return [str(fault).removeprefix(f"{self.root}/") for fault in caught.value.faults]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def allowed(loaded: Loaded, name: str) -> list[str]:
    return [rule.name for rule in loaded.policy.decide(parse_name(name), A, 0.0).rules]


def test_load_empty_file_observes_and_allows_nothing(tree: Tree) -> None:
    loaded = tree.load()
    assert loaded.settings == Settings()
    assert loaded.settings.mode == "observe"
    assert loaded.policy.count == 0
    assert loaded.files == (tree.main,)


def test_load_every_key_of_the_design_is_read(tree: Tree) -> None:
    tree.write("dynallow.toml", FULL).write("lists/mirrors.txt", "# mirrors\nmirror.example.net\n")
    loaded = tree.load()
    settings, rule = loaded.settings, loaded.policy.rules[0]
    assert [upstream.kind for upstream in settings.resolver.upstreams] == ["udp", "tls", "https"]
    assert (settings.resolver.stale, settings.resolver.denied) == (0.0, "refused")
    assert settings.resolver.denied_ttl == 90
    assert settings.resolver.search_suffixes == (parse_name("corp.example.com"),)
    assert str(settings.resolver.zones[0].names[0]) == ".corp.example.com"
    assert (settings.lease.grace, settings.lease.max_per_rule) == (30.0, 6)
    assert settings.firewall.log_rate == Rate(8, "minute")
    assert str(settings.control.metrics) == "127.0.0.1:9953"
    assert rule.ports[3] == PortRange("tcp", 6000, 6010)
    assert (rule.users, sorted(rule.types)) == ((0, 0), [1, 28, 65])
    assert rule.private == (ip_network("10.0.0.0/8"),)
    assert (rule.reason, rule.owner, rule.expires_at) == ("OS updates", "platform team", 1801440000.0)
    assert settings.rules[0].expires == date(2027, 1, 31)
    assert settings.destinations[0].addresses == (ip_network("10.10.0.20"), ip_network("2001:db8::/64"))
    assert allowed(loaded, "mirror.example.net") == ["package-mirror"]
    assert allowed(loaded, "tracker.debian.org") == []


def test_load_conf_d_merges_tables_and_appends_arrays_in_name_order(tree: Tree) -> None:
    tree.write("dynallow.toml", 'mode="enforce"\n[lease]\nmin="10s"\n[[rule]]\nname="a"\nnames=["a.example"]')
    tree.write("conf.d/20.toml", '[lease]\nmin="30s"\n[[rule]]\nname="c"\nnames=["c.example"]')
    tree.write("conf.d/10.toml", '[lease]\nmin="20s"\nmax="1h"\n[[rule]]\nname="b"\nnames=["b.example"]')
    tree.write("conf.d/30.toml.bak", "not TOML")
    loaded = tree.load()
    assert [rule.name for rule in loaded.policy.rules] == ["a", "b", "c"]
    assert [rule.name for rule in loaded.settings.rules] == ["a", "b", "c"]
    assert (loaded.settings.lease.min, loaded.settings.lease.max) == (30.0, 3600.0)
    assert [file.name for file in loaded.files] == ["dynallow.toml", "10.toml", "20.toml"]


def test_load_zones_of_several_files_append(tree: Tree) -> None:
    zone = '[[resolver.zone]]\nnames=["{}.example"]\nupstreams=["192.0.2.1"]\n'
    tree.write("dynallow.toml", zone.format("a")).write(
        "conf.d/a.toml", zone.format("b") + "[resolver]\nstale='1s'\n"
    )
    zones = tree.load().settings.resolver.zones
    assert [str(zone.names[0]) for zone in zones] == ["a.example", "b.example"]


def test_load_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path}/none.toml: expected a settings file, got none"
    assert "--config" in caught.value.hint
    assert caught.value.exit_code == 3


def test_load_directory_in_place_of_a_file_is_a_fault(tree: Tree) -> None:
    (tree.root / "conf.d" / "x.toml").mkdir(parents=True)
    assert tree.faults() == ["conf.d/x.toml: expected a readable file, got: Is a directory"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('mode = "x"', 'mode: expected "observe" or "enforce", got "x"'),
        ("mod = 1", 'mod: expected a known key, got "mod"; did you mean "mode"?'),
        ("[resolver]\nzzzzz = 1", "resolver.zzzzz: expected one of listen, upstreams, timeout"),
        ("resolver = 5", "resolver: expected a table, got 5"),
        ("rule = 5", "rule: expected an array, got 5"),
        ("rule = [5]", "rule[0]: expected a table, got 5"),
        ("[resolver]\nlisten = []", "resolver.listen: expected at least one endpoint, got an empty array"),
        (
            '[resolver]\nlisten = ["127.0.0.1", "127.0.0.1:53"]',
            "resolver.listen[1]: expected each endpoint once",
        ),
        ('[resolver]\nlisten = ["localhost"]', 'resolver.listen[0]: expected "ADDRESS:PORT"'),
        ('[resolver]\nlisten = "127.0.0.1:53"', 'resolver.listen: expected an array, got "127.0.0.1:53"'),
        ("[resolver]\nupstreams = []", "resolver.upstreams: expected at least one upstream, got none"),
        (
            '[resolver]\nupstreams = ["127.0.0.1"]',
            "resolver.upstreams[0]: expected a server other than dynallow",
        ),
        ('[resolver]\nupstreams = ["dns.quad9.net"]', 'resolver.upstreams[0]: expected "system"'),
        (
            '[resolver]\nupstreams = ["https://dns.quad9.net/q"]',
            "resolver.upstreams[0]: expected the address of",
        ),
        ("[resolver]\ntimeout = 2", "resolver.timeout: expected a duration such as"),
        ('[resolver]\ntimeout = "0s"', "resolver.timeout: expected more than"),
        ("[resolver]\ndenied-ttl = 10", "resolver.denied-ttl: expected whole seconds from 0s to 1h, got 10"),
        ('[resolver]\ndenied-ttl = "500ms"', "resolver.denied-ttl: expected whole seconds from 0s to 1h"),
        ('[resolver]\ndenied-ttl = "61m"', "resolver.denied-ttl: expected whole seconds from 0s to 1h"),
        ('[resolver]\ndenied-ttl = "soon"', "resolver.denied-ttl: expected a duration such as"),
        ("[resolver]\ncache-size = true", "resolver.cache-size: expected a whole number, got true"),
        ("[resolver]\ncache-size = -1", "resolver.cache-size: expected a number of at least 0, got -1"),
        ("[resolver]\ncache-size = 1.0", "resolver.cache-size: expected a whole number, got 1.0"),
        ("[[resolver.zone]]", "resolver.zone[0].names: expected at least one pattern, got none"),
        (
            '[resolver]\nsearch-suffixes = ["a..b"]',
            "resolver.search-suffixes[0]: expected a name without empty",
        ),
        ('[lease]\nmin = "2d"', 'lease.min: expected at most lease.max ("1d"), got "2d"'),
        ('[lease]\ngrace = "1d"', 'lease.grace: expected less than lease.max ("1d"), got "1d"'),
        ("[lease]\nmax-per-rule = 0", "lease.max-per-rule: expected a number of at least 1, got 0"),
        (
            "[firewall]\nlog-group = 65536",
            "firewall.log-group: expected a number of at most 65535, got 65536",
        ),
        ('[firewall]\nlog-rate = "many"', "firewall.log-rate: expected a rate such as"),
        ('[control]\nsocket = "x.sock"', "control.socket: expected an absolute path"),
        (
            f'[control]\nsocket = "/{"x" * 107}"',
            "control.socket: expected an absolute path of at most 107 bytes",
        ),
        ('[control]\nmetrics = "9953"', 'control.metrics: expected "ADDRESS:PORT"'),
    ],
)
def test_load_faulty_section_is_named(tree: Tree, text: str, fault: str) -> None:
    found = tree.write("dynallow.toml", text).faults()
    assert any(line.startswith(f"dynallow.toml:{fault}") for line in found), found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "rule[0].names: expected at least one pattern, or names-from, got none"),
        ('names = ["*.com"]', 'rule[0].names[0]: expected a pattern below a name of one owner, got "*.com"'),
        ('names = ["a.example", "http://x"]', "rule[0].names[1]: expected a host name alone, got the URL"),
        ('names = ["192.0.2.1"]', "rule[0].names[0]: expected a name, got the address"),
        ('names-from = ["https://x.example/list"]', "rule[0].names-from[0]: expected a file's path"),
        ('names-from = ["none.txt"]', None),
        ('names = ["a.example"]\nexcept = ["*"]', "rule[0].except[0]: expected a name with the wildcard"),
        ('names = ["a.example"]\nports = []', "rule[0].ports: expected at least one port"),
        ('names = ["a.example"]\nports = [443]', 'rule[0].ports[0]: expected a port such as "tcp/443"'),
        ('names = ["a.example"]\nports = ["tcp/1", "icmp/1"]', 'rule[0].ports[1]: expected "tcp/PORT"'),
        ('names = ["a.example"]\nusers = ["no-such-user"]', "rule[0].users[0]: expected a user that exists"),
        ('names = ["a.example"]\nusers = [-1]', "rule[0].users[0]: expected a user name or a number"),
        ('names = ["a.example"]\nusers = [true]', "rule[0].users[0]: expected a user name or a number"),
        ('names = ["a.example"]\ntypes = ["ANY"]', "rule[0].types[0]: expected a type whose records"),
        ('names = ["a.example"]\ntypes = []', "rule[0].types: expected at least one record type"),
        (
            'names = ["a.example"]\nprivate = ["10.0.0.1/8"]',
            'rule[0].private[0]: expected a prefix without host bits, "10.0.0.0/8", got "10.0.0.1/8"',
        ),
        ('names = ["a.example"]\nprivate = ["x"]', "rule[0].private[0]: expected an address or a prefix"),
        ('names = ["a.example"]\nexpires = 2027-01-31T00:00:00', "rule[0].expires: expected a date such as"),
        ('names = ["a.example"]\nexpires = "2027-02-30"', "rule[0].expires: expected a date such as"),
        ('names = ["a.example"]\nreason = "a\\u001bb"', "rule[0].reason: expected one line of printable"),
        (
            'names = ["a.example"]\nport = ["tcp/1"]',
            'rule[0].port: expected a known key, got "port"; did you',
        ),
    ],
)
def test_load_faulty_rule_is_named(tree: Tree, text: str, fault: str | None) -> None:
    found = tree.write("dynallow.toml", f'[[rule]]\nname = "r"\n{text}').faults()
    if fault is None:
        assert found == ["none.txt: expected a readable list of names, got: No such file or directory"]
    else:
        assert len(found) == 1
        assert found[0].startswith(f"dynallow.toml:{fault}"), found


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a" * 29, "revoked", "probe", "ä"])
def test_load_rule_name_that_no_kernel_set_can_have_is_a_fault(tree: Tree, name: str) -> None:
    found = tree.write("dynallow.toml", f'[[rule]]\nname = "{name}"\nnames = ["a.example"]').faults()
    assert len(found) == 1
    assert found[0].startswith("dynallow.toml:rule[0].name: expected ")


def test_load_longest_rule_name_is_accepted(tree: Tree) -> None:
    tree.write("dynallow.toml", f'[[rule]]\nname = "{"a" * 28}"\nnames = ["a.example"]').load()


def test_load_destination_without_addresses_or_ports_is_a_fault(tree: Tree) -> None:
    tree.write(
        "dynallow.toml", '[[destination]]\nname="a"\n[[destination]]\nname="b"\naddresses=[]\nports=[]'
    )
    assert tree.faults() == [
        "dynallow.toml:destination[0].addresses: expected a value, got nothing",
        "dynallow.toml:destination[0].ports: expected a value, got nothing",
        "dynallow.toml:destination[1].addresses: expected at least one address, got an empty array",
        "dynallow.toml:destination[1].ports: expected at least one port, got an empty array",
    ]


def test_load_faults_of_all_files_come_in_one_report(tree: Tree) -> None:
    tree.write(
        "dynallow.toml",
        '[[rule]]\nname="a"\nnames=["*.com", "a..b"]\nports=["x"]\nusers=[]\nnames-from=["l.txt"]',
    )
    tree.write("l.txt", "ok.example.org\n10.0.0.1\n\n# fine\nx.example:443 # port\n")
    tree.write("conf.d/1.toml", "broken =\n")
    tree.write(
        "conf.d/2.toml",
        '[[rule]]\nname="b"\nnames=["b.example"]\n[[rule]]\nname="a"\nnames=["c.example"]\nports=["tcp/0"]',
    )
    tree.write("conf.d/3.toml", b"x = '\xff'")
    found = tree.faults()
    starts = [
        "dynallow.toml:rule[0].names[0]: expected a pattern below",
        "dynallow.toml:rule[0].names[1]: expected a name without empty labels",
        'dynallow.toml:rule[0].ports[0]: expected "tcp/PORT"',
        "l.txt:2: expected a name, got the address",
        "l.txt:5: expected a name without a port",
        "conf.d/1.toml:1: expected TOML, got: ",
        f'conf.d/2.toml:rule[1].name: expected a rule name used once, got "a" as in {tree.main}:rule[0]',
        'conf.d/2.toml:rule[1].ports[0]: expected "tcp/PORT"',
        "conf.d/3.toml: expected UTF-8 text",
    ]
    assert [start for start in starts if not any(line.startswith(start) for line in found)] == []
    assert len(found) == len(starts)


def test_load_crossing_fault_names_the_file_that_set_the_key(tree: Tree) -> None:
    tree.write("dynallow.toml", '[lease]\nmax="1h"').write("conf.d/a.toml", '[lease]\nmin="2h"\ngrace="1s"')
    assert tree.faults() == ['conf.d/a.toml:lease.min: expected at most lease.max ("1h"), got "2h"']


def test_load_keys_that_fit_only_together_are_judged_together(tree: Tree) -> None:
    tree.write("dynallow.toml", '[lease]\nmin="2d"').write("conf.d/a.toml", '[lease]\nmax="3d"')
    assert tree.load().settings.lease.min == 172800.0


def test_load_public_suffix_is_accepted_when_the_rule_says_so(tree: Tree) -> None:
    tree.write(
        "dynallow.toml", '[[rule]]\nname="r"\nallow-public-suffix=true\nnames=["*.com"]\nnames-from=["l"]'
    )
    loaded = tree.write("l", ".co.uk\n").load()
    assert allowed(loaded, "a.com") == allowed(loaded, "a.co.uk") == ["r"]


def test_load_list_in_any_notation_gives_the_same_names(tree: Tree) -> None:
    lines = "\ufeffA.Example\r\n  b.example.  # comment\r\n\r\n*.c.example\nbücher.example\n"
    lines += "_x.example\nlast.example"
    tree.write("sub/l.txt", lines).write("dynallow.toml", '[[rule]]\nname="r"\nnames-from=["sub/l.txt"]')
    loaded = tree.load()
    assert loaded.policy.count == 6
    for name in (
        "a.example",
        "b.example",
        "x.c.example",
        "xn--bcher-kva.example",
        "_x.example",
        "last.example",
    ):
        assert allowed(loaded, name) == ["r"], name
    assert allowed(loaded, "c.example") == []


def test_load_list_relative_to_the_file_that_names_it(tree: Tree) -> None:
    tree.write("conf.d/x.toml", '[[rule]]\nname="r"\nnames-from=["l.txt"]').write(
        "conf.d/l.txt", "a.example\n"
    )
    assert allowed(tree.load(), "a.example") == ["r"]


def test_load_list_with_faults_on_every_line_tells_the_first_few(tree: Tree) -> None:
    tree.write("l.txt", "a b\n" * 1000).write("dynallow.toml", '[[rule]]\nname="r"\nnames-from=["l.txt"]')
    found = tree.faults()
    assert len(found) == 21
    assert found[-1] == "l.txt: expected names, got 980 more faults like these"


def test_load_list_that_is_no_regular_file_is_a_fault(tree: Tree) -> None:
    os.mkfifo(tree.root / "l.txt")
    tree.write("dynallow.toml", '[[rule]]\nname="r"\nnames-from=["l.txt"]')
    assert tree.faults() == ["l.txt: expected a regular file, got something else"]


def test_load_drafts_stand_in_for_files_and_for_those_that_are_not_there(tmp_path: Path) -> None:
    main = tmp_path / "dynallow.toml"
    main.write_text('[[rule]]\nname = "a"\nnames = ["a.example"]\n')
    new = tmp_path / "conf.d" / "60.toml"
    text = '[[rule]]\nname = "b"\nnames-from = ["list.txt"]\n'
    with pytest.raises(SettingsError) as faults:
        load(main, {new: text})
    assert str(new.parent / "list.txt") in str(faults.value)
    new.parent.mkdir()
    (new.parent / "list.txt").write_text("b.example\n")
    loaded = load(main, {new: text})
    assert loaded.files == (main, new)
    assert [rule.name for rule in loaded.settings.rules] == ["a", "b"]
    assert load(main, {main: ""}).settings == Settings()
    assert load(main).files == (main,)
