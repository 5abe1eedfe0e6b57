"""Status without an agent: what the kernel itself holds, in the same schema.

Knows the status schema and the reader of the table. Must not know netlink.
What only the agent knows (reasons, ports, upstreams, questions) is left empty
rather than guessed from settings that may not be the ones in force.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dynallow.cli.leases import Leases
from dynallow.control.schema import QuestionCounts, RuleReport, StatusReport
from dynallow.errors import ControlError, DynallowError, KernelError

if TYPE_CHECKING:
    from dynallow.firewall.inspect import TableView
    from dynallow.firewall.members import SetMember


def read_kernel_status(why: ControlError, rule: str | None) -> StatusReport:
    """The report from the kernel's sets.

    Raises `why`, with what the kernel said added, where that cannot be read either.
    """
    from dynallow.firewall.inspect import read_table

    try:
        table = read_table()
    except KernelError as error:
        hints = "; or, to read it from the kernel: ".join(hint for hint in (why.hint, error.hint) if hint)
        raise ControlError(
            f"{why.message}\nnor can the kernel's table be read: {error.message}", hints
        ) from error
    if rule is not None and table.present and rule not in table.sets:
        known = ", ".join(sorted(table.sets)) or "none"
        raise DynallowError(f"{why.message}\nand the kernel has no set of rule {rule!r}", f"it has: {known}")
    return report(table, why.message, rule)


def report(table: TableView, why: str, rule: str | None) -> StatusReport:
    """The view as a status report of an agent that is not there."""
    return {
        "agent": {"running": False, "pid": None, "version": "", "since": None, "settings": None},
        "mode": table.mode,
        "mode_since": None,
        "pending": None,
        "kernel": {
            "release": os.uname().release,
            "table": table.present,
            "in_place_refresh": None,
            "owned": None,
            "conntrack_filter": None,
            "sock_destroy": None,
            "denied_packets": table.denied_packets,
            "denied_bytes": table.denied_bytes,
        },
        "denials": None,
        "readiness": None,
        "listen": [],
        "upstreams": [],
        "questions": QuestionCounts(
            allowed=0, denied=0, filtered=0, malformed=0, hot=0, cached=0, fresh=0, stale=0, servfail=0
        ),
        "living": {"asked": 0, "kept": 0, "passed_over": 0},
        "rules": [_rule(name, members) for name, members in table.sets.items() if rule in (None, name)],
        "destinations": [],
        "not_in_force": [],
        "warnings": [why],
    }


def _rule(name: str, members: list[SetMember]) -> RuleReport:
    return {
        "rule": name,
        "reason": "",
        "owner": "",
        "expires": None,
        "ports": [],
        "users": [],
        "leases": Leases(members),
    }
