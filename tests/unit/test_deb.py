"""The Debian package by its contents, and the program in it, unpacked and run.

Installing, upgrading and removing it is tests/netns/test_package.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynallow.setup.steps import Place
from dynallow.setup.things import File
from tests.lab import deb
from tests.lab.needs import ROOT, require
from tests.unit.setup.hosts import install, make, planned, tree, uninstall

PROGRAM = "usr/lib/dynallow/bin/dynallow"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deb.build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def unpacked(package: Path) -> Path:
    place = package.parent / "root"
    deb.run("dpkg-deb", "-R", package, place)
    return place


def test_control_file_ties_it_to_the_python_that_its_libraries_fit(package: Path) -> None:
    fields = deb.run("dpkg-deb", "-f", package)
    assert "Package: dynallow\n" in fields
    major, minor = sys.version_info[:2]
    assert f"python3 (>= {major}.{minor}~), python3 (<< {major}.{minor + 1}~)" in fields
    assert "nftables" in fields
    assert "@" not in fields.replace("maintainers@", "")


def test_contents_are_roots_and_nobody_elses_to_write(package: Path) -> None:
    lines = deb.run("dpkg-deb", "-c", package).splitlines()
    assert len(lines) > 500
    for line in lines:
        kind, owner = line.split()[:2]
        assert owner == "root/root", line
        assert kind in ("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx"), line
    assert not any(re.search(r"__pycache__|/python/(tests|hypothesis|pytest|mypy)/", line) for line in lines)


def test_units_name_the_packages_own_program(unpacked: Path) -> None:
    names = {path.name for path in (unpacked / "lib/systemd/system").iterdir()}
    assert names == {path.name for path in (ROOT / "systemd").glob("dynallow*")}
    for unit in (unpacked / "lib/systemd/system").iterdir():
        text = unit.read_text()
        assert "/opt" not in text
        for program in re.findall(r"/\S+/dynallow (?:run|reload|firewall)", text):
            assert (unpacked / program.split()[0].lstrip("/")).exists()


def test_settings_are_conffiles_and_as_in_the_tree(unpacked: Path) -> None:
    conffiles = (unpacked / "DEBIAN/conffiles").read_text().split()
    in_tree = {
        f"/etc/dynallow/{p.relative_to(ROOT / 'config')}" for p in (ROOT / "config").rglob("*") if p.is_file()
    }
    assert set(conffiles) == in_tree
    assert (unpacked / "etc/dynallow/dynallow.toml").read_text() == (
        ROOT / "config/dynallow.toml"
    ).read_text()


def test_program_runs_with_its_own_libraries_alone(unpacked: Path) -> None:
    for words in (["--version"], ["check", str(unpacked / "etc/dynallow/dynallow.toml")]):
        done = subprocess.run(
            [sys.executable, "-IS", unpacked / PROGRAM, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done
    shown = "import dynallow.agent, dynallow.control.server, pydantic; print(pydantic.__file__)"
    path = f"import sys; sys.path.insert(0, {str(unpacked / 'usr/lib/dynallow/python')!r}); "
    where = subprocess.run([sys.executable, "-ISc", path + shown], capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(unpacked))


def test_install_by_the_package_leaves_units_and_settings_where_they_are(
    unpacked: Path, tmp_path: Path
) -> None:
    files = {
        f"/{path.relative_to(unpacked)}": path.read_text()
        for room in ("lib/systemd/system", "usr/lib/sysusers.d", "etc/dynallow")
        for path in (unpacked / room).rglob("*")
        if path.is_file()
    }
    root = make(tmp_path, files=files)
    before = tree(root)
    plan = install(root)
    written = {step.path for step in plan.steps if isinstance(step, Place) and isinstance(step.thing, File)}
    assert written == {
        "/etc/dynallow/conf.d/00-install.toml",
        "/etc/resolv.conf",
    }
    assert planned(root).steps == ()
    uninstall(root)
    assert tree(root) == before


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_script_is_sound_shell(unpacked: Path, script: str) -> None:
    require("sh")
    path = unpacked / "DEBIAN" / script
    assert path.stat().st_mode & 0o777 == 0o755
    deb.run("sh", "-n", path)
    assert "\nset -e\n" in path.read_text()
    assert "resolv.conf" not in re.sub(r"(?m)^#.*$", "", path.read_text())


def test_upgrade_of_a_package_whose_libraries_somebody_has_deleted_goes_on(unpacked: Path) -> None:
    """The way to mend that is the next package; no dynallow is on the machine that runs this."""
    if Path("/usr/lib/dynallow").exists():
        pytest.xfail("a dynallow is installed here")
    deb.run("sh", unpacked / "DEBIAN/prerm", "upgrade", "0.2.0")
