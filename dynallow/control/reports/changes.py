"""What a reload or a flush has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address

from dynallow.control.reports.source import moment
from dynallow.control.schema import ConfirmReport, FlushReport, Mode, PendingReport, ReloadReport
from dynallow.lease.plan import Revocation
from dynallow.pending.state import Trial
from dynallow.policy.names import to_text
from dynallow.settings import Loaded, Settings, not_in_force, where_mode_is_set


def changes(
    before: Settings, after: Loaded, restart: Sequence[str], on_trial: PendingReport | None
) -> ReloadReport:
    """What a reload has changed."""
    old = {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.settings.rules}
    sections = ("mode", "resolver", "lease", "firewall", "history", "destinations")
    settings_changed = [name for name in sections if getattr(before, name) != getattr(after.settings, name)]
    report: ReloadReport = {
        "changed": False,
        "rules_added": sorted(new.keys() - old.keys()),
        "rules_removed": sorted(old.keys() - new.keys()),
        "rules_changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "settings_changed": settings_changed,
        "needs_restart": list(restart),
        "not_in_force": list(not_in_force(after.settings)),
        "pending": on_trial,
    }
    report["changed"] = any(
        (report["rules_added"], report["rules_removed"], report["rules_changed"], settings_changed)
    )
    return report


def narrowed(before: Settings, after: Settings) -> set[str]:
    """The rules that stay, and have lost ports or have other users: flows of theirs may have lost theirs."""
    old = {rule.name: rule for rule in before.rules}
    return {
        rule.name
        for rule in after.rules
        if (was := old.get(rule.name)) is not None
        and (set(was.ports) - set(rule.ports) or set(was.users) != set(rule.users))
    }


def flushed(revocation: Revocation, named: Mapping[tuple[str, bytes], bytes], cut: int) -> FlushReport:
    """What a flush has taken away."""
    return {
        "revoked": [
            {
                "rule": rule,
                "address": str(ip_address(address)),
                "name": to_text(name) if (name := named.get((rule, address), b"")) else "",
            }
            for rule, address in revocation.elements
        ],
        "connections_cut": cut,
    }


def pending(trial: Trial, until: datetime, left_s: float, problem: str | None) -> PendingReport:
    """What is on trial."""
    return {
        "what": trial.what,
        "from": trial.was,
        "to": trial.to,
        "until": moment(until),
        "left_s": round(left_s, 1),
        "problem": problem,
    }


def ended(trial: Trial, keep: bool, mode: Mode, loaded: Loaded) -> ConfirmReport:
    """What became of it; `mode` is in force now, and so are the settings `loaded`."""
    return {
        "what": trial.what,
        "outcome": "confirmed" if keep else "taken-back",
        "from": trial.was,
        "to": trial.to,
        "mode": mode,
        "settings_say": loaded.settings.mode,
        "settings": str(where_mode_is_set(loaded)),
    }


def summary(report: ReloadReport) -> str:
    """A reload in a line."""
    told = (
        ("rules added", report["rules_added"]),
        ("removed", report["rules_removed"]),
        ("changed", report["rules_changed"]),
        ("settings changed", report["settings_changed"]),
    )
    return "; ".join(f"{what}: {_few(names)}" for what, names in told if names) or "nothing changed"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
