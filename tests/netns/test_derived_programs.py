"""Real programs that follow records, with the listed name alone in the rule: apt, curl, Chromium."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, Namespace, Zone, wait_until
from tests.lab.agent import Agent
from tests.lab.needs import find, require, require_lab

pytestmark = pytest.mark.netns

SETTINGS = """
mode = "enforce"
[resolver]
upstreams = ["10.10.0.10"]
[[rule]]
name = "mirror"
names = ["mirror.example.org"]
ports = ["tcp/80"]
[[rule]]
name = "pages"
names = ["%s"]
ports = ["tcp/443"]
"""
REPOSITORY = "192.0.2.61"  # where both targets of the service point, and the mirror itself does not
CONTROL = """Package: tiny
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: nothing at all
"""
# Nothing of the machine's own apt: neither its sources and settings nor its state.
APT_CONF = """
Dir "{root}/apt/";
Dir::State::status "{root}/apt/status";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
APT::Sandbox::User "root";
APT::Architecture "amd64";
Acquire::Languages "none";
Acquire::http::Proxy "DIRECT";
Acquire::http::Timeout "10";
Acquire::Retries "0";
Debug::Acquire::SrvRecs "true";
"""


def make_repository(root: Path, place: Namespace) -> None:
    """A Debian archive with one package, unsigned."""
    package = root / "tiny"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "DEBIAN/control").write_text(CONTROL)
    pool, dist = root / "www/pool", root / "www/dists/stable"
    pool.mkdir(parents=True)
    (dist / "main/binary-amd64").mkdir(parents=True)
    place.run(["dpkg-deb", "--build", "--root-owner-group", str(package), str(pool / "tiny.deb")])
    deb = (pool / "tiny.deb").read_bytes()
    entry = f"Filename: pool/tiny.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
    index = (CONTROL + entry).encode()
    listed = ""
    for name, data in (("Packages", index), ("Packages.gz", gzip.compress(index))):
        (dist / f"main/binary-amd64/{name}").write_bytes(data)
        listed += f" {hashlib.sha256(data).hexdigest()} {len(data)} main/binary-amd64/{name}\n"
    release = "Suite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\n"
    (dist / "Release").write_text(f"{release}Date: Sat, 01 Jan 2000 00:00:00 UTC\nSHA256:\n{listed}")


def apt_home(root: Path) -> dict[str, str]:
    """An apt of its own that knows the mirror alone; returns its environment."""
    for directory in ("etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / "apt" / directory).mkdir(parents=True)
    (root / "apt/status").touch()
    source = "deb [trusted=yes arch=amd64] http://mirror.example.org/ stable main\n"
    (root / "apt/etc/apt/sources.list").write_text(source)
    (root / "apt.conf").write_text(APT_CONF.format(root=root))
    return {"APT_CONFIG": str(root / "apt.conf")}


@pytest.fixture
def quiet_lab() -> Iterator[Lab]:
    """Without the lab's own web servers, which would answer for every address."""
    require_lab()
    require("apt-get", "dpkg-deb")
    with Lab(web=False) as lab:
        yield lab


def test_apt_get_update_by_srv_records_needs_the_mirrors_name_alone(quiet_lab: Lab) -> None:
    lab, root = quiet_lab, quiet_lab.directory / "apt-test"
    root.mkdir()
    make_repository(root, lab.internet)
    zone = Zone("example.org").a("mirror", "192.0.2.60").record("_http._tcp.mirror", "SRV", "0 0 80 one.pool")
    lab.serve(zone.record("_http._tcp.mirror", "SRV", "1 0 80 two.pool").a("one.pool", REPOSITORY))
    argv = [lab.internet.python_path, "-m", "http.server", "80", "--bind", REPOSITORY]
    web = lab.internet.popen([*argv, "--directory", str(root / "www")], stdout=subprocess.DEVNULL)
    lab.cleanup(web.kill)
    agent = lab.agent(SETTINGS % "page.example.org")
    wait_until(lambda: _listens(lab.internet, REPOSITORY), "the repository")
    assert lab.host.ask("one.pool.example.org").rcode() == 3
    environment = apt_home(root)
    updated = lab.host.run(["apt-get", "update"], env=environment, timeout=120)
    assert "Err:" not in updated.stdout, updated
    downloaded = lab.host.run(
        ["sh", "-ec", f"cd {root} && apt-get download tiny"], env=environment, timeout=120, check=False
    )
    assert downloaded.returncode == 0, downloaded
    assert [path.name for path in root.glob("*.deb")] == ["tiny_1.0_all.deb"]
    assert lab.host.set_elements("mirror_v4")[REPOSITORY].comment == "mirror.example.org"
    assert lab.host.set_elements("mirror_v4")[REPOSITORY].packets > 0
    assert [lead["root"] for lead in agent.cli_json("explain", "one.pool.example.org")["derived"]] == [
        "mirror.example.org"
    ]


def _listens(place: Namespace, address: str) -> bool:
    code = "import socket, sys; socket.create_connection((sys.argv[1], 80), 1).close()"
    return place.python(code, address, check=False).returncode == 0


# ---------------------------------------------------------------- pages with HTTPS records


def pages() -> Zone:
    """A page behind an alias and one whose service is elsewhere; their own addresses serve all others."""
    zone = Zone("example.org").record("alias", "HTTPS", "0 pool").record("direct", "HTTPS", "1 node alpn=h2")
    zone.record("pool", "HTTPS", "1 . alpn=http/1.1").both("pool", 71).both("node", 72)
    return zone.both("alias", 73).both("direct", 74)


@pytest.fixture(scope="module")
def published(shared_lab: Lab) -> None:
    shared_lab.serve(pages())


@pytest.mark.parametrize(("name", "page"), [("alias", 73), ("direct", 74)])
def test_curl_loads_a_page_of_a_name_that_publishes_https_records(
    shared_lab: Lab, published: None, name: str, page: int
) -> None:
    agent = _start(shared_lab, name)
    loaded = shared_lab.host.run(
        [
            "curl",
            "-sS",
            "--fail",
            "--cacert",
            str(shared_lab.authority.certificate),
            f"https://{name}.example.org/",
        ]
    )
    assert f"host={name}.example.org" in loaded.stdout
    assert f"address=192.0.2.{page} " in loaded.stdout or f"address=2001:db8::{page:x} " in loaded.stdout
    agent.kill()


def _start(lab: Lab, name: str) -> Agent:
    lab.host.run(["nft", "flush", "ruleset"])
    return lab.agent(SETTINGS % f"{name}.example.org")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pages"), [("alias", (71, 73)), ("direct", (72, 74))])
def test_chromium_loads_a_page_of_a_name_that_publishes_https_records(
    shared_lab: Lab, published: None, name: str, pages: tuple[int, ...]
) -> None:
    """Chromium 156 asks for them and goes to the name's own addresses all the same: either will do."""
    require("chromium")
    agent = _start(shared_lab, name)
    home = shared_lab.directory / f"chromium-{name}"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--ignore-certificate-errors"]
    words += [f"--user-data-dir={home}", "--disable-background-networking", "--timeout=20000"]
    words += ["--enable-features=AsyncDns,UseDnsHttpsSvcb", "--dump-dom", f"https://{name}.example.org/"]
    loaded = shared_lab.host.run([find("chromium") or "", *words], timeout=90, env={"HOME": str(home)})
    assert f"host={name}.example.org" in loaded.stdout, loaded
    addresses = [form for page in pages for form in (f"192.0.2.{page} ", f"2001:db8::{page:x} ")]
    assert any(f"address={address}" in loaded.stdout for address in addresses), loaded.stdout
    assert agent.cli_json("status")["questions"]["allowed"] >= 3  # A, AAAA and HTTPS
    agent.kill()
