"""The doctor's judgements on gathered values, and one whole run in an empty namespace."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from dynallow.cli.checks import dns, kernel
from dynallow.cli.checks.listeners import Listener, parse_address, read_listeners
from dynallow.cli.checks.resolvconf import name_servers
from dynallow.cli.checks.upstreams import judge_upstream
from dynallow.firewall.inspect import TableView
from dynallow.units import parse_endpoint
from tests.unit.cli.command import dynallow

LOCAL = ip_address("127.0.0.1")
LISTEN = (parse_endpoint("127.0.0.1:53"), parse_endpoint("[::1]:53"))


def listener(address: str, pid: int | None, process: str | None = "dnsmasq") -> Listener:
    return Listener("udp", ip_address(address), pid, process)


@pytest.mark.parametrize(
    ("release", "level"), [("6.18.4-amd64", "ok"), ("5.10.0", "ok"), ("5.4.0-42", "warn"), ("4.19", "warn")]
)
def test_release_older_than_needed_warns(release: str, level: str) -> None:
    assert kernel.judge_release(release).level == level


@pytest.mark.parametrize(
    ("caps", "level"), [("000001ffffffffff", "ok"), ("0000000000001000", "ok"), ("0", "warn")]
)
def test_rights_are_read_from_the_effective_set(caps: str, level: str) -> None:
    assert kernel.judge_rights(f"CapPrm:\t000001ffffffffff\nCapEff:\t{caps}\n").level == level


def test_tables_of_others_are_told_without_judgement() -> None:
    done = subprocess.CompletedProcess((), 0, "table ip filter\ntable inet dynallow\n", "")
    findings = kernel.judge_tables(done)
    assert [finding.level for finding in findings] == ["ok", "info"]
    assert "ip filter" in findings[1].found
    assert "inet dynallow" not in findings[1].found


@pytest.mark.parametrize(
    ("stderr", "level"),
    [("Operation not permitted (you must be root)", "warn"), ("Protocol not supported", "fail")],
)
def test_nf_tables_that_does_not_answer_fails_but_missing_rights_warn(stderr: str, level: str) -> None:
    (finding,) = kernel.judge_tables(subprocess.CompletedProcess((), 1, "", stderr))
    assert finding.level == level


@pytest.mark.parametrize(
    ("table", "level"),
    [
        (TableView(present=False), "fail"),
        (TableView(True, "enforce"), "ok"),
        (TableView(True, "observe"), "warn"),
        (TableView(True, "unknown"), "fail"),
    ],
)
def test_table_is_judged_by_what_it_blocks(table: TableView, level: str) -> None:
    assert kernel.judge_table(table).level == level


@pytest.mark.parametrize(
    ("found", "agent", "level"),
    [
        ([], None, "ok"),
        ([listener("127.0.0.1", 7)], None, "fail"),
        ([listener("0.0.0.0", 7)], None, "fail"),
        ([listener("::", 7)], None, "fail"),
        ([listener("127.0.0.53", 7)], None, "ok"),
        ([listener("127.0.0.1", 9, "python3")], 9, "ok"),
        ([listener("127.0.0.1", None, None)], 9, "ok"),
        ([listener("127.0.0.1", 9), listener("0.0.0.0", 7)], 9, "warn"),
        ([], 9, "fail"),
        ([listener("127.0.0.1", 1, "systemd")], None, "ok"),
        ([listener("127.0.0.1", 1, "systemd"), listener("0.0.0.0", 7)], None, "fail"),
        ([listener("127.0.0.1", 1, "systemd"), listener("127.0.0.1", 9)], 9, "ok"),
    ],
)
def test_port_is_judged_by_who_has_it(found: list[Listener], agent: int | None, level: str) -> None:
    assert dns.judge_port(53, [LOCAL], found, agent).level == level


@pytest.mark.parametrize(
    ("servers", "level"),
    [(["127.0.0.1"], "ok"), (["127.0.0.1", "::1"], "ok"), (["127.0.0.1", "192.0.2.1"], "fail"), ([], "warn")],
)
def test_resolv_conf_must_name_the_agent_alone(tmp_path: Path, servers: list[str], level: str) -> None:
    finding = dns.judge_resolv_conf(tmp_path / "resolv.conf", list(map(ip_address, servers)), LISTEN)
    assert finding.level == level


def test_resolv_conf_that_is_a_link_says_to_where(tmp_path: Path) -> None:
    link = tmp_path / "resolv.conf"
    link.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    finding = dns.judge_resolv_conf(link, [ip_address("127.0.0.53")], LISTEN)
    assert "/run/systemd/resolve/stub-resolv.conf" in finding.todo


def test_name_servers_are_read_as_glibc_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 192.0.2.9\nnameserver 192.0.2.1 # x\n nameserver 192.0.2.8\n"
        "nameserver\tfe80::1%eth0\nnameserver x\n;\nnameserver"
    )
    assert list(map(str, name_servers(path))) == ["192.0.2.1", "fe80::1%eth0"]
    assert name_servers(tmp_path / "none") == ()


def test_other_resolvers_are_told_with_how_to_stop_them() -> None:
    (finding,) = dns.judge_resolvers(["bash", "systemd-resolve"])
    assert (finding.level, finding.todo) == ("warn", "systemctl disable --now systemd-resolved")
    assert [one.level for one in dns.judge_resolvers(["bash"])] == ["ok"]


@pytest.mark.parametrize(
    ("daemon", "level"),
    [(None, "warn"), ("{", "warn"), ("[]", "warn"), ("{}", "warn"), ('{"dns": ["172.17.0.1"]}', "info")],
)
def test_docker_needs_a_server_of_its_own(daemon: str | None, level: str) -> None:
    assert dns.judge_docker(daemon).level == level


def test_upstream_that_fails_is_told_with_its_error() -> None:
    finding = judge_upstream(
        {
            "upstream": "192.0.2.1",
            "healthy": False,
            "asked": 3,
            "failed": 3,
            "latency_ms": None,
            "last_error": "no answer",
            "keeps_case": True,
            "gives_cookies": False,
        }
    )
    assert (finding.level, finding.found) == ("fail", "192.0.2.1: 3 asked, 3 failed: no answer")


@pytest.mark.parametrize(
    ("digits", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("B80D0120000000000000000001000000", "2001:db8::1"),
    ],
)
def test_kernel_address_is_read_in_host_order(digits: str, address: str) -> None:
    assert str(parse_address(digits)) == address


def test_listeners_are_those_of_the_port_with_their_process(tmp_path: Path) -> None:
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    line = "   0: 0100007F:{port} 00000000:0000 {state} 0:0 00:0 0     0        0 {inode} 2\n"
    (tmp_path / "net").mkdir()
    (tmp_path / "net/udp").write_text(head + line.format(port="0035", state="07", inode=111))
    (tmp_path / "net/tcp").write_text(
        head
        + line.format(port="0035", state="0A", inode=222)
        + line.format(port="0035", state="01", inode=333)
        + line.format(port="0050", state="0A", inode=444)
    )
    (tmp_path / "17/fd").mkdir(parents=True)
    (tmp_path / "17/comm").write_text("dnsmasq\n")
    (tmp_path / "17/fd/4").symlink_to("socket:[111]")
    assert read_listeners(tmp_path, 53) == [
        Listener("tcp", LOCAL, None, None),
        Listener("udp", LOCAL, 17, "dnsmasq"),
    ]


@pytest.mark.parametrize("agent", ["17", "2"])
def test_listener_that_systemd_holds_open_is_the_services(tmp_path: Path, agent: str) -> None:
    """In whatever order the processes are read."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/udp").write_text(
        "head\n   0: 0100007F:0035 00000000:0000 07 0:0 00:0 0     0        0 111 2\n"
    )
    for pid, name in (("1", "systemd"), (agent, "dynallow")):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(f"{name}\n")
        (tmp_path / pid / "fd/4").symlink_to("socket:[111]")
    assert read_listeners(tmp_path, 53) == [Listener("udp", LOCAL, int(agent), "dynallow")]


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
def test_doctor_without_agent_and_table_exits_1_with_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "dynallow.toml"
    config.write_text('[resolver]\nupstreams = ["192.0.2.53"]\n')
    words = ("doctor", "--config", config, "--socket", tmp_path / "none.sock")
    ran = dynallow(*words, prefix=("unshare", "-n"))
    assert ran.returncode == 1
    assert "✗ table: not there" in ran.stdout
    assert "✗ agent: agent not reachable" in ran.stdout
    findings = json.loads(dynallow(*words, "--json", prefix=("unshare", "-n")).stdout)["findings"]
    upstream = [finding for finding in findings if finding["check"] == "upstreams"]
    assert [finding["level"] for finding in upstream] == ["fail"]


def test_doctor_of_invalid_settings_goes_on_with_the_rest(tmp_path: Path) -> None:
    config = tmp_path / "dynallow.toml"
    config.write_text("mode = 1\nx = 2\n")
    ran = dynallow("doctor", "--json", "--config", config, "--socket", tmp_path / "none.sock")
    assert ran.returncode == 1
    found = [(finding["check"], finding["level"]) for finding in json.loads(ran.stdout)["findings"]]
    assert found.count(("settings", "fail")) == 2
    assert ("resolv.conf", "ok") in found or any(check == "resolv.conf" for check, _ in found)
