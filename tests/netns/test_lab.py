"""The lab itself: a test that trusts it must be able to.

Needs the kernel's namespaces, knotd, curl. No agent runs here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from tests.lab import NOBODY, CommandError, Lab, LabError, Namespace, Zone, topology, wait_until
from tests.lab.dnsbytes import Query, address, reply
from tests.lab.needs import ROOT, require, require_lab, require_users
from tests.lab.scenarios import Send, fresh, fresh_address, silent, truncating
from tests.lab.traces import traces

CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_connection((address, 6001), 2) as tcp:
        tcp.sendall(b"t"); assert tcp.recv(1) == b"t"
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(2); udp.connect((address, 6001)); udp.send(b"u"); assert udp.recv(1) == b"u"
"""


def from_elsewhere(query: Query, knobs: Mapping[str, Any]) -> list[Send]:
    """A forged answer from another address and port, and later the right one."""
    return [
        Send(reply(query, [address("192.0.2.66")]), source=("198.51.100.7", 5353)),
        Send(reply(query, [address("192.0.2.1")]), delay_s=0.05),
    ]


def stumbling(query: Query, knobs: Mapping[str, Any]) -> bytes:
    """Fails for every name that does not begin with a number."""
    return reply(query, [address(f"192.0.2.{int(query.text.split('.')[0])}")])


@pytest.fixture(scope="module")
def served(shared_lab: Lab) -> Lab:
    zone = (
        Zone("example.org")
        .both("www", 10)
        .chain("deep", 3, "192.0.2.77")
        .large("big", "198.51.100.0/24", 200)
    )
    shared_lab.serve(zone.record("*.wild", "A", "192.0.2.8").srv("_https._tcp", 443, "www"))
    return shared_lab


def test_dig_of_a_served_name_shows_its_addresses_over_both_families(served: Lab) -> None:
    for server in topology.NAME_SERVER:
        found = served.host.run(["dig", "+short", f"@{server}", "www.example.org", "AAAA"]).stdout
        assert found == "2001:db8::a\n"
    assert served.host.run(["dig", "+short", "www.example.org"]).stdout == "192.0.2.10\n"


def test_ask_of_chains_wildcards_and_large_sets_shows_every_address(served: Lab) -> None:
    server = topology.NAME_SERVER[0]
    assert served.host.addresses("deep.example.org", server=server) == ["192.0.2.77"]
    assert served.host.addresses("any.wild.example.org", server=server) == ["192.0.2.8"]
    answer = served.host.ask("big.example.org", server=server, tcp=True).answer
    assert len(answer[0]) == 200


def test_getaddrinfo_in_the_host_uses_its_resolv_conf(served: Lab) -> None:
    code = "import socket; print(socket.getaddrinfo('www.example.org', 80, socket.AF_INET)[0][4][0])"
    assert served.host.python(code).stdout == "192.0.2.10\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_curl_of_a_served_name_gets_the_page_of_its_address(served: Lab, scheme: str, family: str) -> None:
    ca = str(served.authority.certificate)
    page = served.host.run(["curl", "-sS", family, "--cacert", ca, f"{scheme}://www.example.org/"]).stdout
    expected = "192.0.2.10" if family == "-4" else "2001:db8::a"
    assert page.startswith(f"host=www.example.org address={expected} ")


def test_connect_to_any_address_and_port_is_answered(served: Lab) -> None:
    anywhere = ["192.0.2.200", "203.0.113.5", "198.18.77.1", "8.8.8.8", "10.66.0.1", "169.254.9.9"]
    served.host.python(CONNECT, *anywhere, "2001:db8::5", "2001:db8:e::5", "2606::7", "64:ff9b::1")


def test_sniffer_of_one_ping_shows_exactly_that(served: Lab) -> None:
    wire = served.sniffer()
    served.host.run(["ping", "-c1", "203.0.113.77"])
    sent = wire.from_host()
    assert [(packet.protocol, packet.dst) for packet in sent] == [("icmp", "203.0.113.77")]


def test_sniffer_of_a_silent_host_shows_nothing(served: Lab) -> None:
    wire = served.sniffer()
    assert wire.from_host() == []


def test_sniffer_stopped_after_a_burst_has_every_packet(served: Lab) -> None:
    burst = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for n in range(20000): s.sendto(n.to_bytes(4, 'big'), ('10.10.0.2', 9))"
    )
    wire = served.sniffer()
    served.host.python(burst)
    numbers = [packet.payload[8:12] for packet in wire.from_host() if packet.dport == 9]
    assert numbers == [n.to_bytes(4, "big") for n in range(20000)]


def test_sniffer_of_extension_headers_and_fragments_names_them(served: Lab) -> None:
    code = (
        "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))\n"
        "s.sendto(b'x', ('2001:db8::5', 999))\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.IPPROTO_IP, 10, 0)\n"  # IP_MTU_DISCOVER off
        "s.sendto(bytes(3000), ('192.0.2.5', 999))"
    )
    wire = served.sniffer()
    served.host.python(code)
    sent = wire.from_host()
    six = [packet for packet in sent if packet.dst == "2001:db8::5" and packet.protocol == "udp"]
    four = [packet for packet in sent if packet.dst == "192.0.2.5" and packet.protocol == "udp"]
    assert [(packet.extensions, packet.dport) for packet in six] == [(("destination",), 999)]
    assert [packet.fragment for packet in four] == [True] * 3
    assert [packet.dport for packet in four] == [999, 0, 0]


def test_scripted_server_of_fresh_names_counts_each_question(shared_lab: Lab) -> None:
    server = shared_lab.scripted(fresh, ttl=7)
    try:
        answer = shared_lab.host.ask("n70000.Fresh.example.org", server=server.addresses[0]).answer
        assert answer[0].ttl == 7
        assert [str(record) for record in answer[0]] == [fresh_address(70000)]
        six = shared_lab.host.addresses("n9.fresh.example.org", "AAAA", server.addresses[1])
        assert six == [fresh_address(9, 6)]
        assert server.counts() == {
            ("n70000.fresh.example.org", "A", "udp"): 1,
            ("n9.fresh.example.org", "AAAA", "udp"): 1,
        }
        server.reset()
        server.turn(ttl=9)
        assert shared_lab.host.ask("n1.example.org", server=server.addresses[0]).answer[0].ttl == 9
        assert server.queries() == 1
    finally:
        server.stop()


def test_scripted_server_that_truncates_answers_over_tcp(shared_lab: Lab) -> None:
    server = shared_lab.scripted(truncating, addresses=["10.10.0.13"])
    answer = shared_lab.host.run(["dig", "+short", "@10.10.0.13", "n3.example.org"]).stdout
    assert fresh_address(3) in answer
    assert (server.queries(transport="udp"), server.queries(transport="tcp")) == (1, 1)


def test_scripted_server_that_is_silent_still_counts(shared_lab: Lab) -> None:
    server = shared_lab.scripted(silent, addresses=["10.10.0.14"])
    shared_lab.host.run(["dig", "+tries=1", "+timeout=1", "@10.10.0.14", "x.example.org"], check=False)
    assert server.queries("x.example.org", "A") == 1


def test_scripted_server_that_forges_its_source_sends_from_there(shared_lab: Lab) -> None:
    shared_lab.scripted(from_elsewhere, addresses=["10.10.0.15"])
    wire = shared_lab.sniffer()
    assert shared_lab.host.addresses("x.example.org", server="10.10.0.15") == ["192.0.2.1"]
    forged = [packet for packet in wire.stop() if packet.src == "198.51.100.7"]
    assert [packet.sport for packet in forged] == [5353]


def test_scripted_server_under_load_keeps_up(shared_lab: Lab, tmp_path: Path) -> None:
    require("dnsperf")
    server = shared_lab.scripted(fresh, addresses=["10.10.0.16"])
    names = tmp_path / "names"
    names.write_text("".join(f"n{n}.example.org A\n" for n in range(5000)))
    shared_lab.host.run(["dnsperf", "-s", "10.10.0.16", "-d", str(names), "-n", "1"])
    assert server.queries() == 5000


def test_scripted_server_whose_scenario_fails_says_so_and_goes_on(shared_lab: Lab) -> None:
    server = shared_lab.scripted(stumbling, addresses=["10.10.0.18"])
    assert shared_lab.host.ask("nine.example.org", server="10.10.0.18").rcode() == dns.rcode.SERVFAIL
    assert shared_lab.host.addresses("9.example.org", server="10.10.0.18") == ["192.0.2.9"]
    assert server.queries() == 2
    assert any("invalid literal for int" in text for _, text in traces(shared_lab.directory))


def test_set_elements_of_a_set_with_timeouts_shows_milliseconds_and_names(lab: Lab) -> None:
    rules = """table inet t { set s { type ipv4_addr; flags timeout; counter
      elements = { 192.0.2.1 timeout 1h2m3s expires 59m58s comment "www.example.org",
                   192.0.2.2 timeout 5m comment "expires 9s, counter" }
    }
    }
    """
    lab.host.run(["nft", "-f", "-"], stdin=rules)
    found = lab.host.set_elements("s", "inet t")
    assert found["192.0.2.1"].timeout_s == 3723
    assert 3590 < (found["192.0.2.1"].expires_s or 0) < 3598
    assert found["192.0.2.1"].comment == "www.example.org"
    assert found["192.0.2.2"].comment == "expires 9s, counter"
    assert 290 < (found["192.0.2.2"].expires_s or 0) < 300


def test_host_of_the_lab_leaves_the_machines_files_alone(lab: Lab) -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    lab.host.resolv_conf("192.0.2.53")
    assert "192.0.2.53" in lab.host.run(["cat", "/etc/resolv.conf"]).stdout
    assert Path("/etc/resolv.conf").read_bytes() == before


def test_process_of_another_user_reaches_the_project_and_has_no_rights(lab: Lab) -> None:
    lab.host.python("import dynallow", user=NOBODY)
    with pytest.raises(CommandError):
        lab.host.run(["nft", "list", "ruleset"], user=NOBODY)


def test_process_of_another_user_has_its_uid(lab: Lab) -> None:
    require_users()
    assert lab.host.run(["id", "-u"], user=NOBODY).stdout == f"{NOBODY}\n"


def test_close_of_a_lab_leaves_no_process_and_no_file() -> None:
    require_lab()
    with Lab(web=False) as lab:
        daemon = (
            "import os, time\nif os.fork() == 0:\n os.setsid(); os.close(1); os.close(2); time.sleep(600)"
        )
        lab.host.python(daemon)
        spaces, directory = _networks(lab), lab.directory
        assert _living_in(spaces)
    assert not _living_in(spaces)
    assert not directory.exists()
    assert ROOT.joinpath("pyproject.toml").exists()


def test_kill_of_the_labs_process_leaves_no_process() -> None:
    require_lab()
    code = (
        "import os, sys, time\nfrom tests.lab import Lab\nlab = Lab()\n"
        "places = lab.host, lab.router, lab.internet, lab.elsewhere\n"
        "print(*(place.pid for place in places), lab.directory, flush=True)\n"
        "time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with child:
        assert child.stdout is not None
        *pids, directory = child.stdout.readline().split()
        spaces = {os.readlink(f"/proc/{pid}/ns/net") for pid in pids}
        child.kill()
    wait_until(lambda: not _living_in(spaces), "the end of every process of the lab")
    subprocess.run(["rm", "-rf", directory], check=True)


def test_wait_until_of_what_never_happens_ends_at_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(LabError, match=r"a miracle: not within 0\.1 s"):
        wait_until(lambda: False, "a miracle", within_s=0.1)
    assert time.monotonic() - began < 1


def _networks(lab: Lab) -> set[str]:
    places: list[Namespace] = [lab.host, lab.router, lab.internet, lab.elsewhere]
    return {os.readlink(f"/proc/{place.pid}/ns/net") for place in places}


def _living_in(spaces: set[str]) -> list[str]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/ns/net") in spaces:
                found.append(entry)
        except OSError:
            continue
    return found
