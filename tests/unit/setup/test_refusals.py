"""Why an install does not even begin; each reason with what to do, and nothing done."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dynallow.errors import SetupError
from dynallow.setup.found import Found, find
from dynallow.setup.plan import Wish, known_upstreams
from dynallow.setup.record import load
from dynallow.setup.refusals import refuse_install
from dynallow.setup.things import Root
from tests.lab.needs import namespaces_refused
from tests.unit.setup.hosts import PROGRAM, make, planned, tree


def refused(
    root: Root, wish: Wish | None = None, *, found: Found | None = None, by: tuple[str, ...] = ()
) -> str:
    """The reasons and the hint."""
    wish = wish or Wish(PROGRAM, "1")
    with pytest.raises(SetupError) as caught:
        refuse_install(
            root,
            found or find(root),
            wish,
            planned(root, wish),
            upstreams=known_upstreams(root.look, load(root)),
            listeners=by,
        )
    return f"{caught.value.message}\n{caught.value.hint}"


def test_all_is_well_on_an_ordinary_host(tmp_path: Path) -> None:
    root = make(tmp_path)
    wish = Wish(PROGRAM, "1")
    refuse_install(root, find(root), wish, planned(root), upstreams=("192.0.2.53",), listeners=())


def test_port_53_taken_names_who_has_it_and_what_to_do(tmp_path: Path) -> None:
    text = refused(make(tmp_path), by=("unbound (pid 12) on 127.0.0.1 udp",))
    assert "port 53 is taken: unbound (pid 12) on 127.0.0.1 udp" in text
    assert "systemctl disable --now unbound" in text


def test_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "expected the dynallow program" in refused(make(tmp_path), Wish("/opt/none/bin/dynallow", "1"))


def test_program_that_the_services_do_not_see_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, files={"/root/venv/bin/dynallow": "#!/bin/sh\n"})
    root.at("/root/venv/bin/dynallow").chmod(0o755)
    assert "do not see" in refused(root, Wish("/root/venv/bin/dynallow", "1"))
    root.at(PROGRAM).write_text("#!/home/me/.pyenv/bin/python3\n")
    assert "/home/me/.pyenv/bin/python3: the services do not see" in refused(root)


def test_no_name_server_to_be_found_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path)
    root.at("/etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    assert "--upstream ADDRESS" in refused(root)


def test_read_only_etc_is_refused_with_every_reason_at_once(tmp_path: Path) -> None:
    if os.getuid() != 0 or namespaces_refused():
        pytest.skip("mounting takes root or a user namespace")
    root = make(tmp_path)
    etc = root.at("/etc/x").parent
    subprocess.run(["mount", "--bind", etc, etc], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", etc], check=True)
        text = refused(root, by=("dnsmasq (pid 1) on 127.0.0.1 udp",))
    finally:
        subprocess.run(["umount", etc], check=True)
    assert f"{etc} cannot be written to" in text
    assert "port 53 is taken" in text


def test_immutable_resolv_conf_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path)
    file = root.at("/etc/resolv.conf")
    if (
        shutil.which("chattr") is None
        or subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode
    ):
        pytest.xfail("no file here can be made immutable")
    try:
        text = refused(root)
    finally:
        subprocess.run(["chattr", "-i", file], check=True)
    assert f"{file} is immutable" in text
    assert f"chattr -i {file}" in text


def test_running_host_without_systemd_or_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("dynallow.setup.refusals._BOOTED", tmp_path / "none")
    text = refused(make(tmp_path / "host"), found=Found(live=True))
    assert "takes root" in text
    assert "systemd does not run this host" in text


def test_refusal_changes_nothing(tmp_path: Path) -> None:
    root = make(tmp_path)
    before = tree(root)
    refused(root, by=("x (pid 1) on ::1 tcp",))
    assert tree(root) == before
