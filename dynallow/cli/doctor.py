"""`dynallow doctor`: look for what is wrong on this host, and say what to do.

Knows the order of the checks and how a finding looks; the checks themselves
are in `checks/`. Reads only: it changes nothing and sends nothing but, where no
agent runs and no chain stands in the way, one question to each upstream.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from dynallow.cli.checks.finding import Finding, Level
from dynallow.cli.connect import client, settings_arguments, settings_path, socket_argument
from dynallow.cli.output import Block, Line, Style, print_json, show
from dynallow.cli.phrases import plural

_MARKS: dict[Level, tuple[str, Style]] = {
    "ok": ("✓", "good"),
    "info": ("·", ""),
    "warn": ("!", "warn"),
    "fail": ("✗", "bad"),
}


def arguments(parser: ArgumentParser) -> None:
    """The verb's own arguments."""
    settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket_argument(parser)


def execute(args: Namespace) -> int:
    """Run every check; exit 1 when one failed."""
    findings = list(examine(args))
    if args.json:
        print_json({"findings": [finding.as_json() for finding in findings]})
    else:
        show(doctor_blocks(findings))
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def examine(args: Namespace, proc: Path = Path("/proc"), etc: Path = Path("/etc")) -> Iterator[Finding]:
    """All findings, from the kernel up to the agent."""
    from dynallow.cli.checks import agent, dns, kernel, settings, upstreams

    table, found = kernel.examine_kernel(proc)
    yield from found
    loaded, found = settings.examine_settings(settings_path(args))
    yield from found
    status, found = agent.examine_agent(client(args), table)
    yield from found
    listen = settings.listen_endpoints(loaded, status)
    yield from dns.examine_dns(proc, etc, listen, status)
    yield from upstreams.examine_upstreams(loaded, status, table)


def doctor_blocks(findings: list[Finding]) -> list[Block]:
    """A line for each finding, what was expected and what to do below it."""
    blocks: list[Block] = []
    for finding in findings:
        mark, style = _MARKS[finding.level]
        blocks.append(Line(f"{mark} {finding.check}: {finding.found}", style))
        if finding.expected:
            blocks.append(Line(f"    expected: {finding.expected}"))
        if finding.todo:
            blocks.append(Line(f"    to do:    {finding.todo}"))
    failed = sum(finding.level == "fail" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    blocks.append(Line(f"{plural(len(findings), 'finding')}: {failed} failed, {plural(warned, 'warning')}"))
    return blocks
