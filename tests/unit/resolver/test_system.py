"""Which servers "system" means, and which of the settings' servers are asked for what."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from dynallow.policy.names import parse_name
from dynallow.resolver.upstream import choose as choose_module
from dynallow.resolver.upstream.choose import choose
from dynallow.resolver.upstream.exchange import Exchange
from dynallow.resolver.upstream.system import system_servers
from dynallow.settings import Settings
from dynallow.units import Address

OURS: tuple[Address, ...] = (ip_address("127.0.0.1"), ip_address("::1"))


@pytest.fixture
def write(tmp_path: Path) -> partial[Path]:
    return partial(_write, tmp_path)


def _write(directory: Path, text: str | bytes) -> Path:
    file = directory / f"resolv-{len(list(directory.iterdir()))}.conf"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def servers(*files: Path, ours: tuple[Address, ...] = OURS) -> list[str]:
    return [str(endpoint) for endpoint in system_servers(ours, files)]


def test_system_servers_in_the_files_order_without_our_own(write: partial[Path]) -> None:
    file = write("# by hand\nsearch example.org\nnameserver 127.0.0.1\nnameserver 192.0.2.53\n"
                 "nameserver 2001:db8::53\nnameserver ::1\noptions edns0 trust-ad\n")  # fmt: skip
    assert servers(file) == ["192.0.2.53:53", "[2001:db8::53]:53"]


def test_system_servers_first_file_that_names_another_counts(write: partial[Path], tmp_path: Path) -> None:
    only_us, real, later = (
        write("nameserver 127.0.0.1\n"),
        write("nameserver 192.0.2.1\n"),
        write("nameserver 192.0.2.2"),
    )
    assert servers(tmp_path / "absent", only_us, real, later) == ["192.0.2.1:53"]


def test_system_servers_stub_of_another_only_when_no_file_names_what_is_behind_it(
    write: partial[Path],
) -> None:
    stub, behind = write("nameserver 127.0.0.53\n"), write("nameserver 192.0.2.1\n")
    assert servers(stub, behind) == ["192.0.2.1:53"]
    assert servers(stub) == ["127.0.0.53:53"]


def test_system_servers_none_anywhere_is_empty(write: partial[Path], tmp_path: Path) -> None:
    assert servers(write("nameserver ::1\n"), write(""), tmp_path / "absent", tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "nameserver dns.example.org\n",
        "nameserver 192.0.2.999\n",
        "nameserver\n",
        "nameserver https://dns.example.org/dns-query\n",
        b"# caf\xe9\n",
        b"\0\xff\xfe" * 100,
        "options timeout:x ndots:y\n",
    ],
)
def test_system_servers_broken_file_is_passed_over(write: partial[Path], text: str | bytes) -> None:
    assert servers(write(text), write("nameserver 192.0.2.1\n")) == ["192.0.2.1:53"]


@pytest.mark.parametrize(
    "line", ["nameserver dns.example.org", "nameserver fe80::1%eth0", "# caf\xe9 \u2014"]
)
def test_system_servers_one_line_that_is_of_no_use_does_not_spoil_the_others(
    write: partial[Path], line: str
) -> None:
    assert servers(write(f"{line}\nnameserver 192.0.2.1\n")) == ["192.0.2.1:53"]


# ---------------------------------------------------------------- choose


def settings(**resolver: object) -> Settings:
    return Settings.model_validate({"resolver": resolver})


@pytest.fixture
def resolv_conf(write: partial[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("nameserver 127.0.0.1\nnameserver 192.0.2.9\nnameserver 2001:db8::9\n")
    monkeypatch.setattr(choose_module, "system_servers", partial(system_servers, files=[file]))


@pytest.mark.usefixtures("resolv_conf")
def test_choose_takes_servers_in_order_and_each_once() -> None:
    chosen = choose(settings(upstreams=["192.0.2.1", "system", "192.0.2.9", "[2001:db8::1]:5300"]))
    assert [str(server) for server in chosen.servers] == [
        "192.0.2.1:53", "192.0.2.9:53", "[2001:db8::9]:53", "[2001:db8::1]:5300",
    ]  # fmt: skip


@pytest.mark.usefixtures("resolv_conf")
@pytest.mark.parametrize("listen", ["127.0.0.1:53", "0.0.0.0:53"])
def test_choose_never_takes_dynallow_itself(listen: str) -> None:
    """A listener on every address is 127.0.0.1 too: asking it is a loop."""
    chosen = choose(settings(listen=[listen], upstreams=["system"]))
    assert [str(server) for server in chosen.servers] == ["192.0.2.9:53", "[2001:db8::9]:53"]


@pytest.mark.usefixtures("resolv_conf")
def test_choose_only_our_stub_and_a_wildcard_listener_is_no_server(
    write: partial[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("nameserver 127.0.0.1\n")
    monkeypatch.setattr(choose_module, "system_servers", partial(system_servers, files=[file]))
    assert choose(settings(listen=["0.0.0.0:53"], upstreams=["system"])).servers == ()


def test_pool_of_both_families_shares_a_server_between_zone_and_general() -> None:
    chosen = choose(
        settings(
            upstreams=["192.0.2.1", "2001:db8::1"],
            zone=[{"names": [".corp.example.com"], "upstreams": ["2001:db8::1", "192.0.2.2"]}],
        )
    )
    assert len(chosen.endpoints()) == 3
    pool = chosen.pool(Exchange(None), 2.0)
    assert len(list(pool.all())) == 3
    assert pool.zones[0].servers[0] is pool.servers[1]
    assert pool.zones[0].patterns[0].matches(parse_name("a.corp.example.com"))


def test_pool_asks_tcp_tls_and_https_servers_over_streams_that_outlive_a_reload() -> None:
    upstreams = [
        "192.0.2.1",
        "tcp://192.0.2.1",
        "tls://192.0.2.1#dns.example",
        "https://dns.example/q#192.0.2.1",
    ]
    chosen = choose(settings(upstreams=[*upstreams, "udp://192.0.2.1:53"]))
    assert {str(endpoint) for endpoint in chosen.endpoints()} == {
        "192.0.2.1:53", "192.0.2.1:853", "192.0.2.1:443",
    }  # fmt: skip
    assert sorted(f"{protocol} {endpoint}" for endpoint, protocol in chosen.ways()) == [
        "tcp 192.0.2.1:443", "tcp 192.0.2.1:53", "tcp 192.0.2.1:853", "udp 192.0.2.1:53",
    ]  # fmt: skip
    exchange = Exchange(None)
    before, after = chosen.pool(exchange, 2.0), chosen.pool(exchange, 2.0)
    assert [server.name for server in before.servers] == ["192.0.2.1:53", *upstreams[1:]]
    assert [server.stream is None for server in before.servers] == [True, False, False, False]
    assert [server.stream for server in before.servers] == [server.stream for server in after.servers]
    del before, after
    assert not exchange.streams
