"""What programs find with a search list before the name, as in containers: the C libraries themselves.

`lookup.c` is compiled with musl; glibc is Python's own. Both ask the real agent for A and AAAA at once,
by the host's resolv.conf. Shown for each way to deny: approved names are found by way of
names that do not exist, names are denied in time, and no name with a suffix leaves the host.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.agent import Agent
from tests.lab.needs import require
from tests.netns.manyfold import manyfold

pytestmark = pytest.mark.netns

LISTED, ELSEWHERE, ABOVE, UNLISTED = "deb.example.org", "deb", "b.example.net", "other.example.org"
"""Allowed; with a suffix allowed; above an allowed name; denied, whatever stands behind it."""
SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.12"]
denied = "%s"
search-suffixes = %s
[[rule]]
name = "listed"
names = ["deb.example.org", "deb.corp.example", "a.b.example.net"]
"""
SEARCHING = (
    "nameserver 127.0.0.1\nsearch ns.svc.cluster.example corp.example\noptions ndots:5 attempts:1 timeout:"
)
PATIENCE_S = 1  # musl's, for a name server that refuses; it waits for another one
SUFFIXES = '["svc.cluster.example", "corp.example"]'
FOUND = ["192.0.2.1", "2001:db8::1"]
NO_NAME, NO_DATA, LATER = ["EAI_NONAME"], ["EAI_NODATA"], ["EAI_AGAIN"]
GLIBC = """
import socket, sys
try:
    found = socket.getaddrinfo(sys.argv[1], 443, type=socket.SOCK_STREAM)
    print(*(one[4][0] for one in found))
except socket.gaierror as error:
    print(next(name for name in dir(socket) if name[:4] == "EAI_" and getattr(socket, name) == error.errno))
"""

# (denied, search-suffixes, library) → what comes of LISTED, ELSEWHERE, ABOVE, UNLISTED.
EXPECTED = {
    ("nxdomain", "[]", "glibc"): (FOUND, FOUND, NO_DATA, NO_NAME),
    ("nxdomain", "[]", "musl"): (FOUND, FOUND, NO_NAME, NO_NAME),
    ("nxdomain", SUFFIXES, "glibc"): (FOUND, FOUND, NO_DATA, NO_NAME),
    ("nxdomain", SUFFIXES, "musl"): (FOUND, FOUND, NO_NAME, NO_NAME),
    # glibc goes on, but for a single label; musl takes a refusal for no answer, and waits in vain.
    ("refused", "[]", "glibc"): (FOUND, LATER, NO_DATA, LATER),
    ("refused", "[]", "musl"): (LATER, None, None, None),
    # For this the suffixes are to be named.
    ("refused", SUFFIXES, "glibc"): (FOUND, FOUND, NO_DATA, LATER),
    ("refused", SUFFIXES, "musl"): (FOUND, FOUND, NO_NAME, LATER),
}


@pytest.fixture(scope="module")
def upstream(shared_lab: Lab) -> None:
    shared_lab.scripted(manyfold)


@pytest.fixture(scope="module")
def programs(shared_lab: Lab) -> dict[str, list[str]]:
    """What looks a name up, by its C library."""
    require("musl-gcc")
    program = str(shared_lab.directory / "lookup")
    source = Path(__file__).with_name("lookup.c")
    subprocess.run(["musl-gcc", "-Wall", "-Werror", "-o", program, source], check=True, timeout=60)
    return {"glibc": [shared_lab.host.python_path, "-c", GLIBC], "musl": [program]}


@pytest.fixture(params=list(dict.fromkeys(key[:2] for key in EXPECTED)), ids=str, scope="module")
def denying(
    request: pytest.FixtureRequest, shared_lab: Lab, upstream: None
) -> Iterator[tuple[Agent, str, str]]:
    """An agent with a way to deny, whose host has a search list."""
    agent = shared_lab.agent(SETTINGS % request.param)
    (shared_lab.host.directory / "etc-resolv.conf").write_text(SEARCHING)
    yield agent, *request.param
    agent.stop()


@pytest.mark.parametrize("library", ["glibc", "musl"])
def test_search_list_leads_to_what_the_c_library_makes_of_each_denial(
    shared_lab: Lab, programs: dict[str, list[str]], denying: tuple[Agent, str, str], library: str
) -> None:
    agent, denied, suffixes = denying
    expected = EXPECTED[denied, suffixes, library]
    for name, result in zip((LISTED, ELSEWHERE, ABOVE, UNLISTED), expected, strict=True):
        if result is None:
            continue
        for _ in range(5):
            began = time.monotonic()
            found = shared_lab.host.run([*programs[library], name]).stdout.split()
            took_s = time.monotonic() - began
            if found == result or took_s < 0.95 * PATIENCE_S:
                break  # else the library may have lost its patience with a machine that stood still
        assert found == result, name
        if library == "musl" and result == LATER:
            assert took_s > 0.95 * PATIENCE_S
    # LISTED and ELSEWHERE, A and AAAA, are cached for whoever comes second.
    (asked,) = [each["asked"] for each in agent.cli_json("status")["upstreams"]]
    assert asked <= 4, "a name with a suffix has left the host"
