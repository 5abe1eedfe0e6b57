"""The agent: whether it answers, in which mode, since when, and what it warns of."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dynallow.cli.checks.finding import Finding
from dynallow.cli.phrases import since
from dynallow.control.client import Client
from dynallow.control.schema import StatusReport
from dynallow.errors import ControlError, DynallowError

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView


def examine_agent(client: Client, table: TableView | None) -> tuple[StatusReport | None, list[Finding]]:
    """The agent's status (None: not reachable), and what was found."""
    try:
        status = cast(StatusReport, client.get("/v1/status"))
    except ControlError as error:
        return None, [Finding("agent", "fail", error.message, "an agent that answers", error.hint)]
    except DynallowError as error:
        return None, [Finding("agent", "fail", error.message, "a status", error.hint)]
    return status, judge_status(status, table)


def judge_status(status: StatusReport, table: TableView | None) -> list[Finding]:
    """What the status says that a person should know."""
    agent = status["agent"]
    findings = [
        Finding("agent", "ok", f"{agent['version']}, pid {agent['pid']}{since(agent['since'])}"),
        Finding("mode", "info", f"{status['mode']}{since(status['mode_since'])}, the last switch"),
    ]
    if table is not None and table.present and table.mode != status["mode"]:
        findings.append(
            Finding(
                "mode",
                "fail",
                f"the kernel's table is in mode {table.mode}",
                f"{status['mode']}, as the agent says: somebody has changed the table",
                "systemctl restart dynallow",
            )
        )
    return findings + [Finding("agent", "warn", text) for text in status["warnings"]]
