"""The agent: whether it answers, in which mode, since when, and what it warns of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from dynallow.cli.checks.finding import Finding
from dynallow.cli.phrases import since
from dynallow.control.client import Client
from dynallow.control.schema import KernelReport, StatusReport
from dynallow.errors import ControlError, DynallowError

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView


_FEATURES: tuple[
    tuple[Literal["owned", "in_place_refresh", "conntrack_filter", "sock_destroy"], str, str], ...
] = (
    (
        "owned",
        "ownership of the table: nobody else can change or flush it while the agent lives",
        "no ownership of the table (Linux 6.9): what others change is loaded again",
    ),
    (
        "in_place_refresh",
        "refresh in place: a lease is prolonged by one message",
        "no refresh in place (Linux 6.12): a lease is prolonged by add, delete, add in one transaction",
    ),
    (
        "conntrack_filter",
        "conntrack filter: the flows to an IPv4 address are told without all others",
        "no conntrack filter (Linux 5.8): the flows to an address are looked for among all",
    ),
    (
        "sock_destroy",
        "SOCK_DESTROY: who uses a revoked address is told at once",
        "no SOCK_DESTROY: who uses a revoked address learns it by its timeouts; no packet flows all the same",
    ),
)


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
    findings += judge_features(status["kernel"])
    return findings + [Finding("agent", "warn", text) for text in status["warnings"]]


def judge_features(kernel: KernelReport) -> list[Finding]:
    """What the agent found that the kernel can do, and what follows where it cannot."""
    return [
        Finding("kernel feature", "info", there if kernel[key] else lacking)
        for key, there, lacking in _FEATURES
        if kernel[key] is not None
    ]
