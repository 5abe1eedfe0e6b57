"""Install and uninstall on hosts of every kind: what is there in between, and that nothing is left of it.

Invariant: after uninstall the host is byte for byte what it was, but for what others have edited meanwhile.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dynallow.errors import SetupError
from dynallow.setup.found import find
from dynallow.setup.perform import Performer
from dynallow.setup.plan import UPSTREAMS, Wish
from dynallow.setup.record import FILE, load
from dynallow.setup.steps import GiveBack, Place, Run
from dynallow.setup.unplan import plan_uninstall
from tests.unit.setup.hosts import PROGRAM, RULERS, SERVER, install, planned, tree, uninstall
from tests.unit.setup.hosts import make as host
from tests.unit.setup.hosts import write as put

RESOLV_CONF = "/etc/resolv.conf"


def read(directory: Path, path: str) -> str:
    return (directory / path.strip("/")).read_text()


@pytest.mark.parametrize("ruler", RULERS)
def test_uninstall_after_install_leaves_the_host_as_it_was(tmp_path: Path, ruler: str) -> None:
    root = host(tmp_path, ruler)
    before = tree(root)
    install(root)
    assert tree(root) != before
    assert uninstall(root).notes == ()
    assert tree(root) == before


@pytest.mark.parametrize("ruler", RULERS)
def test_second_install_has_nothing_to_do(tmp_path: Path, ruler: str) -> None:
    root = host(tmp_path, ruler)
    install(root)
    before = tree(root)
    again = planned(root)
    assert again.steps == ()
    assert again.notes == ()
    install(root)
    assert tree(root) == before


@pytest.mark.parametrize("ruler", ["file", "dhclient", "dhcpcd", "a link of somebody's"])
def test_resolv_conf_that_nobody_rules_names_dynallow_and_keeps_its_search_list(
    tmp_path: Path, ruler: str
) -> None:
    install(host(tmp_path, ruler))
    lines = read(tmp_path, RESOLV_CONF).splitlines()
    assert lines[1:] == ["nameserver 127.0.0.1", "search corp.example", "options edns0"]
    assert not (tmp_path / "etc/resolv.conf").is_symlink()


@pytest.mark.parametrize("ruler", ["NetworkManager", "NetworkManager's link"])
def test_network_manager_is_told_to_leave_resolv_conf_alone(tmp_path: Path, ruler: str) -> None:
    install(host(tmp_path, ruler))
    assert "dns=none\n" in read(tmp_path, "/etc/NetworkManager/conf.d/90-dynallow.conf")
    assert "nameserver 127.0.0.1\nsearch corp.example\n" in read(tmp_path, RESOLV_CONF)


def test_resolved_gets_a_drop_in_and_its_link_stays(tmp_path: Path) -> None:
    install(host(tmp_path, "systemd-resolved"))
    assert "\nDNS=\nDNS=127.0.0.1\n" in read(tmp_path, "/etc/systemd/resolved.conf.d/90-dynallow.conf")
    assert (tmp_path / "etc/resolv.conf").is_symlink()


def test_resolvconf_has_dynallow_at_the_head(tmp_path: Path) -> None:
    install(host(tmp_path, "resolvconf"))
    head = read(tmp_path, "/etc/resolvconf/resolv.conf.d/head").splitlines()
    assert head[1:] == ["nameserver 127.0.0.1", "# Dynamic resolv.conf(5) file"]


def test_openresolv_has_dynallow_as_its_last_word(tmp_path: Path) -> None:
    install(host(tmp_path, "openresolv"))
    assert read(tmp_path, "/etc/resolvconf.conf").endswith("\nname_servers=127.0.0.1\n")


def test_dhcp_clients_leave_resolv_conf_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    install(host(tmp_path / "a", "dhclient"))
    assert "make_resolv_conf() { :; }" in read(tmp_path / "a", "/etc/dhcp/dhclient-enter-hooks.d/dynallow")
    (tmp_path / "b").mkdir()
    install(host(tmp_path / "b", "dhcpcd"))
    assert read(tmp_path / "b", "/etc/dhcpcd.conf").index("nohook resolv.conf\n") < 80


@pytest.mark.parametrize("ruler", RULERS)
def test_settings_observe_and_ask_the_servers_that_the_host_asked(tmp_path: Path, ruler: str) -> None:
    install(host(tmp_path, ruler))
    assert tomllib.loads(read(tmp_path, "/etc/dynallow/dynallow.toml"))["mode"] == "observe"
    assert tomllib.loads(read(tmp_path, UPSTREAMS)) == {"resolver": {"upstreams": [SERVER]}}


def test_settings_that_are_there_stay(tmp_path: Path) -> None:
    mine = 'mode = "observe"\n[resolver]\nupstreams = ["192.0.2.99"]\n'
    root = host(tmp_path, files={"/etc/dynallow/dynallow.toml": mine})
    before = tree(root)
    plan = install(root)
    assert read(tmp_path, "/etc/dynallow/dynallow.toml") == mine
    assert not (tmp_path / UPSTREAMS.strip("/")).exists()
    assert any("dynallow.toml" in note for note in plan.notes)
    uninstall(root)
    assert tree(root) == before


def test_settings_that_were_edited_after_install_stay_at_uninstall_and_are_named(tmp_path: Path) -> None:
    root = host(tmp_path)
    before = tree(root)
    install(root)
    put(tmp_path, "/etc/dynallow/dynallow.toml", "# mine\n")
    put(tmp_path, "/etc/dynallow/conf.d/mine.toml", "")
    notes = uninstall(root).notes
    assert len(notes) == 1
    assert "/etc/dynallow/dynallow.toml" in notes[0]
    left = {path for path in tree(root) if path not in before}
    assert left == {
        "/etc/dynallow",
        "/etc/dynallow/conf.d",
        "/etc/dynallow/conf.d/mine.toml",
        "/etc/dynallow/dynallow.toml",
    }


def test_upgrade_replaces_units_that_nobody_has_edited(tmp_path: Path) -> None:
    root = host(tmp_path, files={"/opt/next/bin/dynallow": "#!/bin/sh\n"})
    before = tree(root)
    install(root)
    edited = "/etc/systemd/system/dynallow.socket"
    put(tmp_path, edited, "# mine\n")
    plan = install(root, Wish("/opt/next/bin/dynallow", "2"))
    assert {step.path for step in plan.steps if isinstance(step, Place)} == {
        "/etc/systemd/system/dynallow-firewall.service",
        "/etc/systemd/system/dynallow.service",
    }
    assert "ExecStart=/opt/next/bin/dynallow run" in read(tmp_path, "/etc/systemd/system/dynallow.service")
    assert read(tmp_path, edited) == "# mine\n"
    assert load(root).version == "2"
    (tmp_path / edited.strip("/")).unlink()
    uninstall(root)
    assert tree(root) == before


def test_no_unit_names_a_program_that_is_not_the_one_installed(tmp_path: Path) -> None:
    install(host(tmp_path, files={"/srv/x/bin/dynallow": ""}), Wish("/srv/x/bin/dynallow", "1"))
    for unit in (tmp_path / "etc/systemd/system").glob("dynallow*"):
        assert "/opt/dynallow" not in unit.read_text(), unit
    assert "RequiresMountsFor=/etc/dynallow /srv/x\n" in read(
        tmp_path, "/etc/systemd/system/dynallow.service"
    )


def test_units_are_enabled_as_systemctl_would(tmp_path: Path) -> None:
    install(host(tmp_path))
    links = {
        str(path.relative_to(tmp_path / "etc/systemd/system"))
        for path in (tmp_path / "etc/systemd/system").rglob("*.wants/*")
    }
    assert links == {
        "multi-user.target.wants/dynallow.service",
        "sockets.target.wants/dynallow.socket",
        "sockets.target.wants/dynallow-ipv6.socket",
        "sysinit.target.wants/dynallow-firewall.service",
    }


def test_units_of_a_package_are_used_where_they_are(tmp_path: Path) -> None:
    unit = "/lib/systemd/system/dynallow.service"
    users = 'u dynallow - "agent" - -\n'
    root = host(
        tmp_path, files={unit: f"ExecStart={PROGRAM} run\n", "/usr/lib/sysusers.d/dynallow.conf": users}
    )
    before = tree(root)
    install(root)
    assert not (tmp_path / "etc/systemd/system/dynallow.service").exists()
    assert not (tmp_path / "etc/sysusers.d").exists()
    uninstall(root)
    assert tree(root) == before


def test_uninstall_of_what_a_package_brings_says_that_it_comes_back_with_the_next_boot(
    tmp_path: Path,
) -> None:
    unit = {"/lib/systemd/system/dynallow.service": f"ExecStart={PROGRAM} run\n"}
    root = host(tmp_path, files={**unit, "/usr/lib/sysusers.d/dynallow.conf": 'u dynallow - "agent" - -\n'})
    install(root)
    assert any("apt remove dynallow" in note for note in uninstall(root).notes)


@pytest.mark.parametrize("has_table", [True, False])
def test_table_that_is_there_must_go_before_anything_of_the_service_does(
    tmp_path: Path, has_table: bool
) -> None:
    """Else units and user were gone, and the host closed as before."""
    root = host(tmp_path)
    install(root)
    found = replace(find(root), live=True, active=frozenset({"dynallow.service"}), has_table=has_table)
    steps = plan_uninstall(root.look, found, load(root)).steps
    (at,) = [number for number, step in enumerate(steps) if isinstance(step, Run) and step.argv[0] == "nft"]
    deleting = steps[at]
    assert isinstance(deleting, Run)
    assert deleting.optional is not has_table
    back = {step.path: number for number, step in enumerate(steps) if isinstance(step, GiveBack)}
    assert back["/etc/resolv.conf"] < at < back["/etc/systemd/system/dynallow.service"]


@pytest.mark.parametrize("first", [install, uninstall])
def test_two_at_once_the_second_does_nothing_to_the_firsts_record(
    tmp_path: Path, first: Callable[..., object]
) -> None:
    root = host(tmp_path)
    before = tree(root)
    if first is uninstall:
        install(root)
    late = load(root)  # and what it would do was shown, before the first began
    plan = planned(root) if first is install else plan_uninstall(root.look, find(root), late)
    refusals = 0

    def meanwhile() -> None:
        nonlocal refusals
        record = load(root)
        second = Performer(root, replace(late, entries=dict(late.entries)))
        again = partial(second.install, program=PROGRAM, version="1", ruler="file", made_state=True)
        with pytest.raises(SetupError, match="another install or uninstall"):
            again(plan) if first is install else second.uninstall(plan)
        assert load(root) == record
        refusals += 1

    first(root, moment=meanwhile)
    assert refusals > 5
    if first is install:
        meanwhile()  # the first is done, and the second knows only what was before
        uninstall(root)
    assert tree(root) == before


def test_without_resolv_conf_leaves_it_alone_until_it_is_wanted(tmp_path: Path) -> None:
    root = host(tmp_path)
    before = tree(root)
    install(root, Wish(PROGRAM, "1", take_resolv_conf=False))
    assert tree(root)[RESOLV_CONF] == before[RESOLV_CONF]
    install(root)
    assert "nameserver 127.0.0.1" in read(tmp_path, RESOLV_CONF)
    uninstall(root)
    assert tree(root) == before


def test_resolv_conf_that_a_stranger_has_rewritten_is_left_to_him(tmp_path: Path) -> None:
    root = host(tmp_path)
    install(root)
    put(tmp_path, RESOLV_CONF, "nameserver 192.0.2.77\n")
    assert any(RESOLV_CONF in note for note in uninstall(root).notes)
    assert read(tmp_path, RESOLV_CONF) == "nameserver 192.0.2.77\n"


def test_resolv_conf_that_a_stranger_has_rewritten_is_taken_over_again_and_given_back_to_him(
    tmp_path: Path,
) -> None:
    root = host(tmp_path)
    install(root)
    put(tmp_path, RESOLV_CONF, "nameserver 192.0.2.77\n")
    install(root)
    assert "nameserver 127.0.0.1" in read(tmp_path, RESOLV_CONF)
    uninstall(root)
    assert read(tmp_path, RESOLV_CONF) == "nameserver 192.0.2.77\n"


def test_edited_resolv_conf_that_names_dynallow_alone_is_not_left_behind(tmp_path: Path) -> None:
    root = host(tmp_path)
    before = tree(root)
    install(root)
    put(tmp_path, RESOLV_CONF, "nameserver 127.0.0.1\noptions timeout:1\n")
    during = tree(root)
    with pytest.raises(SetupError, match="no resolver"):
        uninstall(root)
    assert tree(root) == during
    (tmp_path / "etc/resolv.conf").unlink()
    uninstall(root)
    assert tree(root) == before


def test_edited_file_of_resolvconf_loses_our_lines_alone(tmp_path: Path) -> None:
    root = host(tmp_path, "resolvconf")
    install(root)
    head = tmp_path / "etc/resolvconf/resolv.conf.d/head"
    head.write_text(head.read_text() + "nameserver 192.0.2.9\n")
    uninstall(root)
    assert head.read_text() == "# Dynamic resolv.conf(5) file\nnameserver 192.0.2.9\n"


def test_nothing_was_installed_nothing_is_undone(tmp_path: Path) -> None:
    root = host(tmp_path)
    before = tree(root)
    assert uninstall(root).steps == ()
    assert tree(root) == before


def test_user_that_was_there_before_stays(tmp_path: Path) -> None:
    root = host(tmp_path)
    for name, line in (("passwd", "dynallow:x:900:900::/:/bin/false\n"), ("group", "dynallow:x:900:\n")):
        with (tmp_path / "etc" / name).open("a") as users:
            users.write(line)
    before = tree(root)
    install(root)
    uninstall(root)
    assert tree(root) == before


def test_group_with_other_members_is_removed(tmp_path: Path) -> None:
    root = host(tmp_path)
    before = tree(root)
    install(root)
    for name in ("group", "gshadow"):
        file = tmp_path / "etc" / name
        lines = file.read_text().splitlines()
        file.write_text("".join(f"{x}nobody\n" if x.startswith("dynallow:") else f"{x}\n" for x in lines))
    uninstall(root)
    assert tree(root) == before


def test_record_that_is_none_stops_everything(tmp_path: Path) -> None:
    root = host(tmp_path)
    install(root)
    put(tmp_path, FILE, '{"format": 2}')
    for action in (install, uninstall):
        act: Callable[..., object] = action
        with pytest.raises(SetupError, match="record"):
            act(root)


def test_record_is_roots_alone(tmp_path: Path) -> None:
    """Root puts back what stands in it: the agent, owner of /var/lib/dynallow, must have no say in it."""
    root = host(tmp_path)
    install(root)
    file = tmp_path / FILE.strip("/")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.name != "dynallow"


def test_link_out_of_an_image_is_followed_inside_it(tmp_path: Path) -> None:
    """/etc of an image may be a link to an absolute path, which is the image's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    inside = tmp_path / "image"
    inside.mkdir()
    root = host(inside)
    (inside / "etc/systemd").symlink_to(str(outside))
    assert root.at("/etc/systemd/system/x") == inside / str(outside).strip("/") / "system/x"
