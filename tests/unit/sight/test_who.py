"""Process and unit, from trees that look like /proc and the cgroup tree, and from the real kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynallow.firewall.owners import Owner
from dynallow.sight import who
from dynallow.sight.taskstats import Taskstats
from dynallow.sight.who import Census, Who, unit_of

ME = os.getuid()
SERVICE = "/system.slice/nginx.service"


class Place:
    """A /proc and a cgroup tree, with whoever the test puts there; all of them the test's user's."""

    def __init__(self, root: Path, hidden: bool = False) -> None:
        self.proc, self.cgroups = root / "proc", root / "cgroup"
        for each in (self.proc, self.cgroups):
            each.mkdir()
        (self.cgroups / "cgroup.controllers").touch()
        self._hidden = hidden
        if not hidden:
            self.put(1, "init", "/init.scope")

    def put(self, pid: int, name: str, cgroup: str, sockets: tuple[int, ...] = ()) -> None:
        members = self.cgroups / cgroup.lstrip("/") / "cgroup.procs"
        members.parent.mkdir(parents=True, exist_ok=True)
        with members.open("a") as file:
            file.write(f"{pid}\n")
        if self._hidden:
            return
        place = self.proc / str(pid)
        (place / "fd").mkdir(parents=True, exist_ok=True)
        (place / "comm").write_text(name + "\n")
        (place / "cgroup").write_text(f"0::{cgroup}\n")
        for number, inode in enumerate(sockets):
            (place / "fd" / str(number)).symlink_to(f"socket:[{inode}]")

    def inode(self, cgroup: str) -> int:
        return (self.cgroups / cgroup.lstrip("/")).stat().st_ino

    def census(self) -> Census:
        return Census(str(self.proc), str(self.cgroups), lambda: 0.0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_socket_that_is_there_has_the_unit_of_its_cgroup_and_the_process_in_it(place: Place) -> None:
    place.put(10, "nginx", SERVICE)
    place.put(11, "curl", "/user.slice/user-1000.slice/session-3.scope")
    census = place.census()
    owner = Owner(ME, 0, place.inode(SERVICE))
    assert census.who(None, owner) == Who(ME, "nginx", "nginx.service", 10)
    assert census.who(ME, owner) == Who(ME, "nginx", "nginx.service", 10)


def test_of_several_processes_the_one_that_holds_the_socket_is_named(place: Place) -> None:
    place.put(10, "sh", SERVICE, (7, 8))
    place.put(12, "curl", SERVICE, (9, 77))
    census = place.census()
    cgroup = place.inode(SERVICE)
    assert census.who(ME, Owner(ME, 77, cgroup)) == Who(ME, "curl", "nginx.service", 12)
    assert census.who(ME, Owner(ME, 5, cgroup)) == Who(ME, "", "nginx.service", None), "held by none"


def test_several_processes_of_one_name_share_it_without_a_pid(place: Place) -> None:
    for pid in (10, 11, 12):
        place.put(pid, "nginx", SERVICE)
    assert place.census().who(ME, Owner(ME, 5, place.inode(SERVICE))) == Who(ME, "nginx", "nginx.service")


def test_socket_that_is_gone_leaves_what_all_of_the_users_processes_have_in_common(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.put(1, "apt", "/system.slice/apt.service")
    place.put(20, "http", "/system.slice/apt.service")
    census = place.census()
    assert census.who(ME, None) == Who(ME, "", "apt.service")
    assert census.who(ME + 1, None) == Who(ME + 1)
    assert census.who(None, None) == Who(None)


def test_process_that_came_later_is_seen_after_another_look(place: Place) -> None:
    census = place.census()
    assert census.who(ME, None) == Who(ME, "init", "init.scope", 1)
    place.put(30, "init", "/system.slice/other.service")
    assert census.who(ME, None).unit == "init.scope"
    census.look_anew()
    assert census.who(ME, None) == Who(ME, "init", "")


def test_cgroup_that_came_later_is_found(place: Place) -> None:
    place.put(10, "nginx", SERVICE)
    census = place.census()
    assert census.who(ME, Owner(ME, 0, place.inode(SERVICE))).unit == "nginx.service"
    place.put(11, "new", "/system.slice/new.service")
    census.look_anew()
    assert census.who(ME, Owner(ME, 0, place.inode("/system.slice/new.service"))).unit == "new.service"


def test_host_with_cgroups_of_version_1_tells_units_by_the_process(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.cgroups / "cgroup.controllers").unlink()
    (place.proc / "1/cgroup").write_text("9:name=systemd:/system.slice/cron.service\n8:pids:/\n0::/\n")
    assert place.census().who(ME, Owner(ME, 0, 1)) == Who(ME, "init", "cron.service", 1)


def test_name_that_a_process_has_given_itself_is_shown_without_control_characters(place: Place) -> None:
    place.put(10, "a\x1b[31mb\u202ec\n\x00dddddddddddd", SERVICE)
    who = place.census().who(ME, Owner(ME, 0, place.inode(SERVICE)))
    assert who.process == "a?[31mb?c??dddd"
    assert who.process.isprintable()
    assert len(who.process) <= 15


def test_trees_that_are_not_there_or_full_of_nonsense_say_nothing(tmp_path: Path) -> None:
    assert Census(str(tmp_path / "none"), str(tmp_path / "none")).who(ME, Owner(ME, 4, 5)) == Who(ME)
    place = Place(tmp_path)
    place.put(10, "", SERVICE)
    (place.proc / "10/cgroup").write_bytes(b"\xff:::\nnonsense\n")
    (place.cgroups / "system.slice/nginx.service/cgroup.procs").write_text("0\n999999999\n10\n")
    assert place.census().who(ME, Owner(ME, 0, place.inode(SERVICE))) == Who(ME, "", "nginx.service")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/system.slice/nginx.service/worker", "nginx.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/a.service", "user@1000.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/system.slice/docker-0a1b.scope/system.slice/nginx.service", "docker-0a1b.scope"),
        ("/dynallow-lab/system.slice/cron.service", "cron.service"),
        ("/_cgroup.service", "cgroup.service"),
        ("/user.slice", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_unit_of_a_cgroup_is_the_first_that_is_no_slice(path: str, unit: str) -> None:
    assert unit_of(path) == unit


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel tells it to who has CAP_NET_ADMIN")
def test_hidden_processes_are_told_by_the_kernel(tmp_path: Path) -> None:
    """/proc shows nobody: the cgroup tree says who is there, and the kernel whose it is."""
    told = Taskstats().of(os.getpid())
    name = Path("/proc/self/comm").read_text().strip()
    assert told == (ME, name)
    assert Taskstats().of(2**22 + 1) is None
    place = Place(tmp_path, hidden=True)
    place.put(os.getpid(), "", SERVICE)
    expected = Who(ME, name, "nginx.service", os.getpid())
    assert place.census().who(ME, Owner(ME, 5, place.inode(SERVICE))) == expected
    assert place.census().who(ME, None) == expected


def test_read_of_what_the_kernel_gives_by_pages_is_whole_and_of_what_is_too_long_whole_lines(
    tmp_path: Path,
) -> None:
    """A cgroup of 700 processes must not be told by the first 600 of them."""
    assert len(who._read("/proc/self/maps")) > 4096
    long = tmp_path / "cgroup.procs"
    long.write_text("123456\n" * 20_000)
    assert set(who._read(str(long)).split()) == {"123456"}
