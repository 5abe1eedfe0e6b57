"""The parts of the agent that reports are made from, and how values are spelled in them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from dynallow.control.reports.policylog import PolicyLog
from dynallow.control.schema import PendingReport
from dynallow.firewall.revoker import Revoker
from dynallow.firewall.table import Table
from dynallow.lease.ledger import Ledger
from dynallow.resolver.counts import LivingCounts
from dynallow.resolver.road import Road
from dynallow.resolver.upstream.choose import Chosen
from dynallow.settings import Loaded, Settings
from dynallow.units import PortRange
from dynallow.usage.totals import Totals


class Recording(Protocol):
    """What keeps the history."""

    @property
    def why_not(self) -> str | None:
        """Why it could not be written the last time."""


class Source(Protocol):
    """The parts of the agent that a report is made from."""

    settings: Settings
    loaded: Loaded
    ledger: Ledger
    table: Table
    road: Road
    since: datetime
    mode_since: datetime
    revoker: Revoker
    living_counts: LivingCounts
    chosen: Chosen
    policy_log: PolicyLog
    denials: Totals

    @property
    def sight(self) -> Recording:
        """Who keeps the history."""

    def samples(self) -> Mapping[str, int]:
        """How many denied packets and questions were looked at, and what came of it."""

    def pending(self) -> PendingReport | None:
        """What is taken back by itself unless it is confirmed."""

    @property
    def own(self) -> Container[bytes]:
        """The host's addresses, packed."""

    def warnings(self) -> list[str]:
        """What an administrator should know."""


def texts(ports: Iterable[PortRange]) -> list[str]:
    return [str(port) for port in ports]


def moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
