"""An agent in memory behind the real control server, for tests of client and CLI.

`MemoryAgent` is a Backend with a fixed state; `serving` runs the server in a
thread with a loop of its own, so that a test can talk to it as another process
would: blocking, over the real socket.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from dynallow.control.backend import BadRequestError, Following, UnknownRuleError
from dynallow.control.connection import Limits
from dynallow.control.historyschema import By, DeniedReport, HistoryReport, LogLine, LogReport, TimelineReport
from dynallow.control.metrics import Family, render
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import (
    ConfirmReport,
    ExplainReport,
    FlushReport,
    LeaseReport,
    Mode,
    ModeReport,
    PendingReport,
    ReloadReport,
    RevokedLease,
    RuleReport,
    StatusReport,
)
from dynallow.control.server import ControlServer
from dynallow.errors import DynallowError
from dynallow.units import Endpoint, PortRange

LEASE = LeaseReport(address="198.51.100.7", name="deb.example.org", expires_in_s=93.4, packets=12, bytes=4096)


class Queued:
    """Lines that the test puts there; `left` once nobody reads any more."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[list[LogLine]] = asyncio.Queue()
        self.left = threading.Event()

    async def take(self, within_s: float) -> list[LogLine]:
        try:
            async with asyncio.timeout(min(within_s, 0.1)):
                return await self.queue.get()
        except TimeoutError:
            return []

    def leave(self) -> None:
        self.left.set()


class MemoryAgent:
    """Rules "mirror" and "api"; what is asked of it stands in `asked`; `fault` is raised instead."""

    def __init__(self, leases: int = 1) -> None:
        self.mode: Mode = "enforce"
        self.verdict: Literal["ready", "not-yet", "too-little-seen", "unknown"] = "not-yet"
        self.asked: list[tuple[object, ...]] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.following: Queued | None = None
        self.leases = [LEASE] * leases

    async def _record(self, *call: object) -> None:
        self.asked.append(call)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault

    def _rule(self, name: str, leases: list[LeaseReport]) -> RuleReport:
        return RuleReport(
            rule=name,
            reason="OS updates",
            owner="platform team",
            expires=None,
            ports=["tcp/443"],
            users=[0],
            leases=leases,
        )

    async def status(self, rule: str | None) -> StatusReport:
        await self._record("status", rule)
        rules = [self._rule("mirror", self.leases), self._rule("api", [])]
        if rule is not None and rule not in ("mirror", "api"):
            raise UnknownRuleError(f"no rule {rule!r}", hint="rules: api, mirror")
        return {
            "agent": {
                "running": True,
                "pid": 4242,
                "version": "0.1.0",
                "since": "2026-11-21T10:00:00+00:00",
                "settings": "/etc/dynallow/dynallow.toml",
            },
            "mode": self.mode,
            "mode_since": "2026-11-21T10:00:00+00:00",
            "pending": None,
            "kernel": {
                "release": "6.18.0",
                "table": True,
                "in_place_refresh": True,
                "owned": True,
                "conntrack_filter": True,
                "sock_destroy": True,
                "denied_packets": 3,
                "denied_bytes": 180,
            },
            "readiness": {
                "verdict": "not-yet",
                "text": "not yet: 2d observed, 12 would-be denials left of 3 kinds, the last new one 5m ago",
                "at": "2026-11-21T12:00:00Z",
            }
            if self.mode == "observe"
            else None,
            "denials": {
                "since": "2026-11-21T11:00:00Z",
                "step_s": 60,
                "questions": [0] * 49 + [2] + [0] * 10,
                "flows": [0] * 57 + [7, 0, 1],
            },
            "listen": ["127.0.0.1:53", "[::1]:53"],
            "upstreams": [
                {
                    "upstream": "192.0.2.1",
                    "healthy": False,
                    "asked": 9,
                    "failed": 2,
                    "latency_ms": 1.5,
                    "last_error": "no answer within 2 s",
                    "keeps_case": False,
                    "gives_cookies": True,
                }
            ],
            "questions": {
                "allowed": 5,
                "denied": 2,
                "filtered": 1,
                "malformed": 0,
                "hot": 3,
                "cached": 1,
                "fresh": 1,
                "stale": 0,
                "servfail": 0,
            },
            "living": {"asked": 4, "kept": 3, "passed_over": 0},
            "rules": [one for one in rules if rule in (None, one["rule"])],
            "destinations": [
                {
                    "destination": "ntp",
                    "addresses": ["192.0.2.123/32"],
                    "ports": ["udp/123"],
                    "users": [],
                    "reason": "time",
                }
            ],
            "not_in_force": ["rule a: b"],
            "warnings": ["upstream 192.0.2.1 does not answer"],
        }

    async def explain(self, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
        await self._record("explain", subject, port, user)
        if " " in subject:
            raise BadRequestError(f'expected a name or an address, got "{subject}"')
        allowed = subject == "deb.example.org"
        return {
            "subject": subject,
            "kind": "name",
            "verdict": "allowed" if allowed else "denied",
            "text": f"{subject} is {'allowed by rule mirror' if allowed else 'listed by no rule'}",
            "rules": [
                {
                    "rule": "mirror",
                    "outcome": "allows",
                    "pattern": "*.example.org",
                    "exception": None,
                    "where": "/etc/dynallow/dynallow.toml:12",
                    "ports": ["tcp/443"],
                    "users": [],
                    "reason": "OS updates",
                    "owner": "platform team",
                    "line": "/etc/dynallow/dynallow.toml:9",
                    "expires": None,
                }
            ]
            if allowed
            else [],
            "leases": [{"rule": "mirror", "address": "198.51.100.7", "name": subject, "expires_in_s": 93.4}]
            if allowed
            else [],
            "names": ["cdn.example.net"] if allowed else [],
            "derived": [],
            "hosts": ["192.0.2.9"] if subject == "in.hosts.example" else [],
            "hosts_names": [],
            "mode": self.mode,
            "id": None,
            "port": None if port is None else str(port),
            "user": user,
            "packet": None,
            "decided": None,
            "change": [],
            "notes": [],
            "revoked_for_s": None,
            "flows": 0,
            "past": [],
            "past_rows": 0,
            "past_begins": None,
            "seen_names": [],
        }

    async def reload(self, within_s: float | None = None) -> ReloadReport:
        await self._record("reload", *filter(None, [within_s]))
        return {
            "changed": True,
            "rules_added": ["new"],
            "rules_removed": ["old"],
            "rules_changed": [],
            "settings_changed": ["lease.grace"],
            "needs_restart": ["resolver.listen"],
            "not_in_force": ["rule a: b"],
            "pending": self._pending("reload", "enforce", "enforce", within_s),
        }

    async def flush(self, rule: str | None, name: str | None) -> FlushReport:
        await self._record("flush", rule, name)
        revoked: list[RevokedLease] = [
            {"rule": rule or "mirror", "address": lease["address"], "name": lease["name"]}
            for lease in self.leases
        ]
        return {"revoked": revoked, "connections_cut": len(revoked)}

    async def set_mode(self, mode: Mode, within_s: float | None = None) -> ModeReport:
        await self._record("mode", mode, *filter(None, [within_s]))
        was, self.mode = self.mode, mode
        return {
            "mode": mode,
            "was": was,
            "pending": self._pending("mode", was, mode, within_s if was != mode else None),
        }

    def _pending(
        self, what: Literal["mode", "reload"], was: Mode, to: Mode, within_s: float | None
    ) -> PendingReport | None:
        if within_s is None:
            return None
        until = "2099-01-02T10:00:00Z"
        return {"what": what, "from": was, "to": to, "until": until, "left_s": within_s, "problem": None}

    async def readiness(self, since_s: float) -> ReadinessReport:
        await self._record("readiness", since_s)
        return {
            "verdict": self.verdict,
            "text": "not yet: 3h observed, 12 would-be denials left of 1 kinds, the last new one 1h ago",
            "mode": self.mode,
            "since": "2026-11-21T10:00:00Z",
            "until": "2026-11-22T10:00:00Z",
            "observed_s": 10800,
            "denials": 12,
            "denied": [
                {
                    "id": "@4f0c2a",
                    "user": 33,
                    "unit": "api.service",
                    "process": "curl",
                    "name": "telemetry.example.com",
                    "address": "",
                    "ports": ["tcp/443"],
                    "why": "not-listed",
                    "count": 12,
                    "first": "2026-11-22T08:00:00Z",
                    "last": "2026-11-22T09:00:00Z",
                }
            ],
            "more": 3,
            "newest": "2026-11-22T08:00:00Z",
            "bypasses": [],
            "meant": 1,
            "harmless": 2,
            "untold": {"packets": 5, "questions": 0},
        }

    async def confirm(self, *, keep: bool) -> ConfirmReport:
        await self._record("confirm", keep)
        return {
            "what": "mode",
            "outcome": "confirmed" if keep else "taken-back",
            "from": "observe",
            "to": "enforce",
            "mode": "enforce" if keep else "observe",
            "settings_say": "observe",
            "settings": "/etc/dynallow/dynallow.toml",
        }

    async def history(self, since_s: float, kind: str | None, decision: str | None) -> HistoryReport:
        await self._record("history", since_s, kind, decision)
        since, until = "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"
        return {"since": since, "until": until, "begins": None, "untold": {}, "rows": []}

    async def timeline(self, since_s: float, step_s: int) -> TimelineReport:
        await self._record("timeline", since_s, step_s)
        since, until = "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"
        return {"since": since, "until": until, "step_s": step_s, "points": []}

    async def denied(self, since_s: float, by: By | None, limit: int) -> DeniedReport:
        await self._record("denied", since_s, by, limit)
        since, until = "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"
        counts = {"questions": 0, "packets": 0}
        told: Any = {"mode": self.mode, "since": since, "until": until, "begins": None, "matched": 0}
        told |= {"total": counts, "observed": counts, "untold": counts, "denied_packets": 0}
        told |= {"rows": [], "groups": []}
        return cast(DeniedReport, told)

    async def log(self, since_s: float) -> LogReport:
        await self._record("log", since_s)
        return {"since": "2026-11-21T10:00:00Z", "until": "2026-11-21T11:00:00Z", "lines": []}

    def follow(self) -> Following:
        self.asked.append(("follow",))
        if self.following is None:
            raise DynallowError("too many programs follow the log already")
        return self.following

    def metrics(self) -> bytes:
        if isinstance(self.fault, DynallowError):
            raise self.fault
        return render([Family("dynallow_leases", "Leases in force.", "gauge", (({"rule": "mirror"}, 1.0),))])


@contextmanager
def serving(
    agent: MemoryAgent, socket: Path, *, metrics: Endpoint | None = None, limits: Limits | None = None
) -> Iterator[asyncio.AbstractEventLoop]:
    """The real server at `socket`, in a thread; an error of its start is raised here."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="control-server")
    thread.start()

    def run(coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)  # type: ignore[arg-type]

    server = ControlServer(agent, socket, metrics, limits=limits)
    try:
        run(server.start())
        try:
            yield loop
        finally:
            run(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
