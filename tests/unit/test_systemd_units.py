"""The units of `systemd/` before systemd's own judges: `systemd-analyze verify` and `security`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab.needs import ROOT, require

UNITS = sorted((ROOT / "systemd").glob("dynallow*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
PROGRAM = "/opt/dynallow/bin/dynallow"
EXPOSURE_MAX = 1.6


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    require("systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )


def test_verify_of_all_units_is_silent(tmp_path: Path) -> None:
    """With a program that exists in place of the one that is installed later."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, shutil.which("true") or ""))
    done = analyze("verify", "--man=no", *sorted(tmp_path.iterdir()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verify_names_only_the_missing_program_where_it_is_not_installed() -> None:
    """The control: verify does look at the units as they are."""
    if Path(PROGRAM).exists():
        pytest.skip(f"{PROGRAM} is installed here")
    done = analyze("verify", "--man=no", *UNITS)
    assert done.returncode != 0
    assert all(PROGRAM in line for line in done.stderr.splitlines())


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_security_exposure_of_a_service_is_low(service: Path) -> None:
    done = analyze("security", "--offline=true", "--no-pager", service)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


def test_services_share_their_restrictions() -> None:
    """What one is hardened by, the other is too; the agent alone speaks to the network."""
    after = [service.read_text().partition("RestrictAddressFamilies")[2] for service in SERVICES]
    hardened = [
        {line for line in text.partition("[Install]")[0].splitlines()[1:] if line and line[0] != "#"}
        for text in after
    ]
    assert len(hardened) == 2
    assert hardened[0] == hardened[1]
    assert "CapabilityBoundingSet=CAP_NET_ADMIN" in hardened[0]


def test_no_unit_runs_anything_at_its_stop() -> None:
    for unit in UNITS:
        assert not re.search(r"^ExecStop", unit.read_text(), re.MULTILINE), unit


def test_sysusers_and_tmpfiles_are_understood() -> None:
    require("systemd-sysusers", "systemd-tmpfiles")
    users = ROOT / "systemd/sysusers.d/dynallow.conf"
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", users], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    lines = [
        line.split()
        for line in (ROOT / "systemd/tmpfiles.d/dynallow.conf").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert [line[:5] for line in lines] == [
        ["d", "/etc/dynallow", "0755", "root", "root"],
        ["d", "/var/lib/dynallow", "0700", "dynallow", "dynallow"],
    ]
