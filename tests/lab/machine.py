"""A machine that boots: the real systemd as PID 1, on the lab's host, with `systemd/` as it is in the tree.

Knows namespaces, cgroups, and what systemd wants of a container. Must not know what a test wants to prove.
Its root is an overlay over this machine's, whose changes are in memory; its network is the host's;
`/opt/dynallow` is this tree and these libraries. Invariant: nothing of the machine outside is changed, and
nothing outlives `close` or the death of the lab's host (but for empty cgroups after kill -9).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.lab.namespace import CommandError, Namespace
from tests.lab.needs import ROOT, has_users, require
from tests.lab.waiting import LabError, wait_until

UNITS = ("dynallow.service", "dynallow-firewall.service", "dynallow.socket", "dynallow-ipv6.socket")
_PID_1 = Path("/lib/systemd/systemd")
_DISTRIBUTION = Path("/lib/systemd/system")
_CGROUPS = Path("/sys/fs/cgroup")
# All that a boot needs of the distribution's own units; nothing else of them is seen.
_TARGETS = (
    *("basic", "final", "local-fs", "local-fs-pre", "multi-user", "network", "network-pre", "nss-lookup"),
    *("paths", "reboot", "shutdown", "slices", "sockets", "swap", "sysinit", "timers", "umount"),
)
_OF_THE_LAB = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/hosts")
_LOG = "/run/lab.log"
# A Python of one's own may have its library where a service may not look: in a home.
_PROGRAM = """#!/bin/sh
LD_LIBRARY_PATH={prefix}/lib exec {prefix}/bin/{python} -IS /opt/dynallow/program.py "$@"
"""
# MemoryDenyWriteExecute= of later systemds is this call too (PR_SET_MDWE, Linux 6.3); 252 has a filter alone.
_MAIN = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    print("no PR_SET_MDWE", file=sys.stderr)
sys.path[:0] = ["/opt/dynallow/tree", "/opt/dynallow/libraries"]
sys.dont_write_bytecode = True
from dynallow.cli.main import main
sys.argv[0] = "/opt/dynallow/bin/dynallow"
sys.exit(main())
"""
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs none {place}
mkdir {place}/upper {place}/work {place}/root
mount -t overlay overlay -o lowerdir=/,upperdir={place}/upper,workdir={place}/work {place}/root
cd {place}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount --rbind /dev dev
{cgroups}
mount -t tmpfs none usr/lib/systemd/system-generators
rm -rf etc/systemd/system etc/fstab var/lib/dynallow etc/dynallow
mkdir -p etc/systemd/system etc/sysusers.d etc/tmpfiles.d run/units old etc/dynallow
mkdir -p opt/python opt/dynallow/bin opt/dynallow/tree opt/dynallow/libraries
{files}
mount --bind {tree} opt/dynallow/tree
mount --bind {libraries} opt/dynallow/libraries
mount --bind {prefix} opt/python
cp -R {place}.files/. .
{installed}
pivot_root . old
{enabled}
exec chroot . /usr/bin/env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units \\
    {pid_1} --system --unit=multi-user.target --log-target=console --log-level=info --show-status=0
"""
_INSTALLED = """\
cp {source}/dynallow*.s* etc/systemd/system/
cp {source}/sysusers.d/dynallow.conf etc/sysusers.d/
cp {source}/tmpfiles.d/dynallow.conf etc/tmpfiles.d/
"""
_ENABLED = """\
chroot . systemd-sysusers dynallow.conf
chroot . systemd-tmpfiles --create dynallow.conf
chroot . systemctl --quiet enable {enabled}
"""
_BARE = "rm -rf etc/dynallow var/lib/dynallow-install"
_numbers = count(1)


def require_machine() -> None:
    """Skip where no systemd can be booted: as an ordinary user, or without a systemd.

    Cgroups are whoever runs this machine's to give: without them the test is expected to fail, in CI too.
    """
    require("systemctl", "systemd-sysusers", "systemd-tmpfiles", "unshare", "pivot_root")
    if not has_users() or os.getuid() != 0:
        pytest.skip("systemd as PID 1 needs root and all user ids")
    if not _PID_1.exists():
        pytest.skip("no systemd")
    if not _hierarchies():
        pytest.xfail("no cgroups that may be written to, and systemd boots nowhere else")


def _hierarchies() -> list[Path]:
    """The cgroup trees that systemd uses: the one of version 2, or with version 1 its own beside that."""
    if (_CGROUPS / "cgroup.controllers").exists():
        found = [_CGROUPS]
    else:
        found = [_CGROUPS / name for name in ("systemd", "unified") if (_CGROUPS / name).is_dir()]
    return [path for path in found if os.access(path, os.W_OK)]


class Machine:
    """One boot of it, done when this returns. `files` are put below its root beforehand, by path.

    With `enabled` None it is a host on which dynallow was never installed; only its program is there.
    """

    def __init__(
        self,
        host: Namespace,
        *,
        files: Mapping[str, str],
        enabled: Sequence[str] | None = ("dynallow.service",),
        within_s: float = 120.0,
    ) -> None:
        self.host = host
        number = f"machine-{next(_numbers)}"
        place = host.directory / number
        place.mkdir()
        self._upper = f"/old{place}/upper"
        self._write(Path(f"{place}.files"), files)
        self._log = Path(f"{place}.log")
        self._cgroups = [tree / f"dynallow-lab-{os.getpid()}-{number}" for tree in _hierarchies()]
        for cgroup in self._cgroups:
            cgroup.mkdir()
        script = Path(f"{place}.sh")
        script.write_text(self._script(place, enabled, files))
        enter = "".join(f"echo $$ >{cgroup}/cgroup.procs; " for cgroup in self._cgroups)
        boot = f"{enter}exec unshare -m -p -u -i -C --fork --kill-child sh {script}"
        with self._log.open("w") as log:
            self._process = host.popen(["sh", "-c", boot], stdout=log, stderr=log)
        self.pid = 0
        try:
            wait_until(self._is_up, "systemd", within_s)
        except BaseException as error:
            self.close()
            raise LabError(f"no boot: {error}\n{self._log.read_text()}") from error

    def close(self) -> None:
        """Switch it off, without a warning."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
        self._process.kill()
        self._process.wait(60)
        for cgroup in self._cgroups:
            wait_until(lambda at=cgroup: _is_gone(at), f"the end of what is in {cgroup}")  # type: ignore[misc]

    # -- doing things on it -------------------------------------------------

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` as it must be started from outside."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-n", "-r", "-w", "--", *argv]

    def run(
        self, *argv: str, check: bool = True, stdin: str | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, as root; raises CommandError unless it exits 0 or `check` is off."""
        result = subprocess.run(
            self.command(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "COLUMNS": "160"},
            check=False,
        )
        if check and result.returncode:
            raise CommandError(result)
        return result

    def systemctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`systemctl WORDS`."""
        return self.run("systemctl", *words, check=check)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).stdout.strip()

    def path(self, path: str) -> Path:
        """Where a file of it is, seen from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    @property
    def changes(self) -> Path:
        """All files of it that are not the machine's outside, from its first moment on."""
        return self.path(self._upper)

    @property
    def log(self) -> str:
        """What systemd and the services have said."""
        services = self.path(_LOG)
        return self._log.read_text() + (services.read_text() if services.exists() else "")

    # -- making it ----------------------------------------------------------

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise LabError("PID 1 ended")
        if not self.pid:
            children = (
                Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            )
            comm = Path(f"/proc/{children[0]}/comm").read_text() if children else ""
            self.pid = int(children[0]) if comm == "systemd\n" else 0
            return False
        time.sleep(0.1)  # a pace: each look is a process, on processors that the boot needs
        asked = self.run("systemctl", "is-system-running", check=False)
        return asked.stdout.strip() in ("running", "degraded")

    def _write(self, root: Path, files: Mapping[str, str]) -> None:
        root.mkdir()
        prefix = sys.base_prefix if sys.base_prefix == "/usr" else "/opt/python"
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        output = f"[Service]\nStandardOutput=append:{_LOG}\nStandardError=append:{_LOG}\n"
        all_files = {
            "/opt/dynallow/bin/dynallow": _PROGRAM.format(prefix=prefix, python=python),
            "/opt/dynallow/program.py": _MAIN,
            **{f"/etc/systemd/system/{unit}.d/lab.conf": output for unit in UNITS if "service" in unit},
            **files,
        }
        for path, text in all_files.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if "/bin/" in path else 0o644)

    def _script(self, place: Path, enabled: Sequence[str] | None, given: Mapping[str, str]) -> str:
        if _hierarchies() == [_CGROUPS]:
            cgroups = "mount -t cgroup2 cgroup2 sys/fs/cgroup"
        else:
            cgroups = (
                "mount -t tmpfs tmpfs sys/fs/cgroup\nmkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified\n"
                "mount -t cgroup2 cgroup2 sys/fs/cgroup/unified\n"
                "mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd"
            )
        targets = [str(_DISTRIBUTION / f"{name}.target") for name in _TARGETS]
        files = [f"cp {' '.join(targets)} run/units/"]
        # A bind mount is not seen through an overlay.
        shown = [path for path in _OF_THE_LAB if path not in given]
        files += [f"[ ! -e .{path} ] || mount --bind {path} .{path}" for path in shown]
        source = shlex.quote(str(ROOT / "systemd"))
        return _BOOT.format(
            place=shlex.quote(str(place)),
            cgroups=cgroups,
            files="\n".join(files),
            installed=_BARE if enabled is None else _INSTALLED.format(source=source),
            tree=shlex.quote(str(ROOT)),
            libraries=shlex.quote(sysconfig.get_path("purelib")),
            prefix=shlex.quote(sys.base_prefix),
            enabled="" if enabled is None else _ENABLED.format(enabled=" ".join(enabled)),
            pid_1=_PID_1,
        )


def _is_gone(cgroup: Path) -> bool:
    """Remove it with all that systemd has made in it; False while somebody is still in there."""
    try:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)
    except OSError:
        return not cgroup.exists()
    return True
