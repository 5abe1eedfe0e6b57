"""What the control server needs of the agent, owned by the server.

Knows the schema's types and the ways a request can be refused. Must not know
HTTP, nor how the agent does any of it.

A method that cannot do what it was asked raises a DynallowError; the server
turns it into the one error shape. It never half-does: an error from `reload`,
`flush` or `set_mode` means that what was in force still is (invariant 9).
"""

from __future__ import annotations

from typing import Protocol

from dynallow.control.historyschema import By, DeniedReport, HistoryReport, LogLine, LogReport, TimelineReport
from dynallow.control.readinessschema import ReadinessReport
from dynallow.control.schema import (
    ConfirmReport,
    ExplainReport,
    FlushReport,
    Mode,
    ModeReport,
    ReloadReport,
    StatusReport,
)
from dynallow.errors import DynallowError
from dynallow.units import PortRange


class BadRequestError(DynallowError):
    """The request's words mean nothing: an impossible name, a malformed port (HTTP 400)."""

    exit_code = 2


class UnknownRuleError(DynallowError):
    """The request names a rule that the settings do not have (HTTP 404)."""


class Following(Protocol):
    """A reader of new lines. `leave` it when done."""

    async def take(self, within_s: float) -> list[LogLine]:
        """Those since the last time; none when so much time has passed without any."""

    def leave(self) -> None:
        """It reads no more."""


class Backend(Protocol):
    """The agent, as the control server sees it."""

    async def status(self, rule: str | None) -> StatusReport:
        """Everything in force, or only `rule`. Raises UnknownRuleError."""

    async def explain(self, subject: str, port: PortRange | None, user: int | None) -> ExplainReport:
        """The verdict on a name or an address. Raises BadRequestError for neither."""

    async def reload(self, within_s: float | None = None) -> ReloadReport:
        """Read the settings again, all or nothing. Raises SettingsError, KernelError.

        With `within_s` taken back after so many seconds, unless confirmed. Raises ConflictError while
        something is on trial.
        """

    async def flush(self, rule: str | None, name: str | None) -> FlushReport:
        """Revoke the leases that match both; None matches all. Raises UnknownRuleError, KernelError."""

    async def set_mode(self, mode: Mode, within_s: float | None = None) -> ModeReport:
        """Switch in one transaction; `within_s` as for `reload`. Raises KernelError, ConflictError."""

    async def confirm(self, *, keep: bool) -> ConfirmReport:
        """What is on trial stays, or else is taken back now. Raises ConflictError, KernelError."""

    async def readiness(self, since_s: float) -> ReadinessReport:
        """What of the last `since_s` seconds mode `enforce` would deny."""

    async def history(self, since_s: float, kind: str | None, decision: str | None) -> HistoryReport:
        """What happened in the last `since_s` seconds, of this kind and decision where given."""

    async def timeline(self, since_s: float, step_s: int) -> TimelineReport:
        """How much happened in each step of the last `since_s` seconds."""

    async def denied(self, since_s: float, by: By | None, limit: int) -> DeniedReport:
        """What was denied in the last `since_s` seconds, the `limit` most frequent."""

    async def log(self, since_s: float) -> LogReport:
        """The kept lines of the last `since_s` seconds."""

    def follow(self) -> Following:
        """New lines from now on. Raises DynallowError where there are too many who follow."""

    def metrics(self) -> bytes:
        """Prometheus text (`dynallow.control.metrics.render`). Called in a thread: must only read."""
