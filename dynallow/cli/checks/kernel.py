"""The kernel's side: release, rights, nft, the table, other tables, IPv6."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dynallow.cli.checks.finding import Finding
from dynallow.cli.phrases import plural
from dynallow.errors import KernelError

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView

_OLDEST = (5, 10)  # sets with per-element comments and counters, nat in inet tables: all are there
_CAP_NET_ADMIN = 12
_OURS = "inet dynallow"
_AS_ROOT = "run as root, or with CAP_NET_ADMIN"
_TIMEOUT_S = 10.0


def examine_kernel(proc: Path) -> tuple[TableView | None, list[Finding]]:
    """The table as the kernel has it (None: cannot be read), and what was found."""
    findings = [judge_release(os.uname().release), judge_rights((proc / "self/status").read_text())]
    findings += _examine_nft()
    table, finding = _examine_table()
    return table, [*findings, finding, judge_ipv6(_read(proc / "sys/net/ipv6/conf/all/disable_ipv6"))]


def judge_release(release: str) -> Finding:
    """Whether nf_tables of this release has what the ruleset uses."""
    match = re.match(r"(\d+)\.(\d+)", release)
    if match is None or (int(match[1]), int(match[2])) >= _OLDEST:
        return Finding("kernel", "ok", release)
    return Finding("kernel", "warn", release, "5.10 or later", "boot a newer kernel")


def judge_rights(status: str) -> Finding:
    """Whether this process may talk to nf_tables, from its /proc/self/status."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if match is not None and int(match[1], 16) >> _CAP_NET_ADMIN & 1:
        return Finding("rights", "ok", "CAP_NET_ADMIN")
    return Finding("rights", "warn", "no CAP_NET_ADMIN: the kernel's tables cannot be read", "", _AS_ROOT)


def _examine_nft() -> list[Finding]:
    from dynallow.firewall import nft

    program = nft.find()
    if program is None:
        return [Finding("nft", "fail", "not installed", "the program nft", "apt install nftables")]
    version = _run(program, "--version")
    findings = [Finding("nft", "ok", version.stdout.strip() or "version unknown")]
    return findings + judge_tables(_run(program, "list", "tables"))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def judge_tables(listed: subprocess.CompletedProcess[str]) -> list[Finding]:
    """Whether nf_tables answers, and whose tables there are beside ours."""
    if listed.returncode != 0:
        said = listed.stderr.strip().splitlines()
        why = said[0] if said else "nft failed"
        level = "warn" if "permitted" in why or "must be root" in why else "fail"
        return [
            Finding(
                "nf_tables", "warn" if level == "warn" else "fail", why, "nft list tables works", _AS_ROOT
            )
        ]
    tables = [line.removeprefix("table ").strip() for line in listed.stdout.splitlines() if line]
    findings = [Finding("nf_tables", "ok", "usable")]
    others = [table for table in tables if table != _OURS]
    if others:
        # A packet must pass every base chain: others can only take away from what dynallow allows.
        text = f"{', '.join(others)}: what these drop stays dropped, and none can allow what dynallow denies"
        findings.append(Finding("other tables", "info", text))
    return findings


def _examine_table() -> tuple[TableView | None, Finding]:
    from dynallow.firewall.inspect import read_table

    try:
        table = read_table()
    except KernelError as error:
        return None, Finding("table", "warn", error.message, "table inet dynallow can be read", error.hint)
    return table, judge_table(table)


def judge_table(table: TableView) -> Finding:
    """Whether anything is blocked at all."""
    if not table.present:
        return Finding(
            "table", "fail", "not there: nothing is blocked", f"table {_OURS}", "systemctl start dynallow"
        )
    counts = (plural(len(table.sets), "rule"), plural(sum(map(len, table.sets.values())), "lease"))
    text = f"{_OURS}, mode {table.mode}, {', '.join(counts)}, {plural(table.denied_packets, 'packet')} denied"
    match table.mode:
        case "enforce":
            return Finding("table", "ok", text)
        case "observe":
            return Finding(
                "table",
                "warn",
                text,
                "mode enforce",
                "when the log shows no denial that hurts: dynallow mode enforce",
            )
    return Finding("table", "fail", text, "chain output as dynallow loads it", "systemctl restart dynallow")


def judge_ipv6(disabled: str | None) -> Finding:
    """Which families the host speaks; the table covers both in any case."""
    if disabled is None:
        return Finding("ipv6", "info", "not in this kernel")
    return Finding(
        "ipv6", "info", "off (net.ipv6.conf.all.disable_ipv6)" if disabled.strip() == "1" else "on"
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
