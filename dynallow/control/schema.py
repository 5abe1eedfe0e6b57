"""What the control API answers, as types: the stable schema of every `--json`.

Knows names and types only. Must not import anything of the house but its like.
What `dynallow status` runs imports it for the type checker alone: to make the
types takes a tenth of the time that it has. Keys may be added in later versions; none is
renamed or removed within `/v1`.

Addresses, ports and moments are text (moments in ISO 8601, UTC), spans are
seconds, users are uids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from dynallow.control.historyschema import HistoryRow

Mode = Literal["enforce", "observe"]
ModeOrUnknown = Literal["enforce", "observe", "unknown"]


class AgentReport(TypedDict):
    running: bool
    pid: int | None
    version: str
    since: str | None
    settings: str | None


class KernelReport(TypedDict):
    """What the kernel can do and the agent uses is null where no agent tells. `owned`: by the agent alone."""

    release: str
    table: bool
    in_place_refresh: bool | None
    owned: bool | None
    conntrack_filter: bool | None
    sock_destroy: bool | None
    denied_packets: int
    denied_bytes: int


class UpstreamReport(TypedDict):
    """`keeps_case`, `gives_cookies`: whether its datagrams are checked by these; null for a stream."""

    upstream: str
    healthy: bool
    asked: int
    failed: int
    latency_ms: float | None
    last_error: str | None
    keeps_case: bool | None
    gives_cookies: bool | None


class QuestionCounts(TypedDict):
    allowed: int
    denied: int
    filtered: int
    malformed: int
    hot: int
    cached: int
    fresh: int
    stale: int
    servfail: int


class LivingReport(TypedDict):
    """Names that the agent asked for by itself, because a flow to an address of theirs lived."""

    asked: int
    kept: int
    passed_over: int


class LeaseReport(TypedDict):
    """A member of a rule's set, with the kernel's own counters."""

    address: str
    name: str
    expires_in_s: float
    packets: int
    bytes: int


class LeaseColumns(TypedDict):
    """Some of a rule's leases by columns: the same place is the same lease in each."""

    address: list[str]
    name: list[str]
    expires_in_ms: list[int]
    packets: list[int]
    bytes: list[int]


class LeaseLine(TypedDict):
    """A line of a status in lines; the last line is the report, in which these leases do not stand again."""

    rule: str
    leases: LeaseColumns


class RuleReport(TypedDict):
    """`names` are the rule's own patterns, the first hundred of `names_count`, `names_from` its lists."""

    rule: str
    names: NotRequired[list[str]]
    names_count: NotRequired[int]
    names_from: NotRequired[list[str]]
    reason: str
    owner: str
    expires: str | None
    ports: list[str]
    users: list[int]
    leases: Sequence[LeaseReport]


class DestinationReport(TypedDict):
    destination: str
    addresses: list[str]
    ports: list[str]
    users: list[int]
    reason: str


class PolicyChange(TypedDict):
    at: str
    generation: int
    what: str


class PolicyReport(TypedDict):
    """`generation` counts the policies that were in force since the agent's start.

    `changes` are the latest ones, the oldest first.
    """

    generation: int
    since: str
    last_reload: Literal["done", "failed"] | None
    changes: list[PolicyChange]


PendingReport = TypedDict(
    "PendingReport",
    {
        "what": Literal["mode", "reload"],
        "from": Mode,
        "to": Mode,
        "until": str,
        "left_s": float,
        "problem": str | None,
    },
)
"""What is taken back by itself unless it is confirmed: a switch of mode, or a reload.

`from` and `to` are modes in both. `left_s` is 0 when it is being taken back; `problem` is why
that could not be done yet.
"""


class DenialsReport(TypedDict):
    """Denied (mode observe: would be denied) in the last hour: how many in each step, the oldest first.

    `since` is where the first step begins; the last one is not over yet.
    """

    since: str
    step_s: int
    questions: list[int]
    flows: list[int]


class ReadyReport(TypedDict):
    """What `GET /v1/readiness` said at `at`, in a word and in a sentence; at most some minutes old."""

    verdict: Literal["ready", "not-yet", "too-little-seen", "unknown"]
    text: str
    at: str


class StatusReport(TypedDict):
    """`denials` and `readiness` are null where no agent tells; `readiness` is told in mode observe alone."""

    agent: AgentReport
    mode: ModeOrUnknown
    mode_since: str | None
    pending: PendingReport | None
    kernel: KernelReport
    denials: DenialsReport | None
    readiness: ReadyReport | None
    listen: list[str]
    upstreams: list[UpstreamReport]
    questions: QuestionCounts
    living: LivingReport
    rules: list[RuleReport]
    destinations: list[DestinationReport]
    not_in_force: list[str]
    warnings: list[str]
    policy: NotRequired[PolicyReport]


class ExplainedRule(TypedDict):
    """What one rule says of the subject, and the line that says it (`where` is "file:line").

    `line` is where the rule itself begins; `expires` its last day.
    """

    rule: str
    outcome: Literal["allows", "excepted", "expired", "filtered", "destination"]
    pattern: str | None
    exception: str | None
    where: str | None
    ports: list[str]
    users: list[int]
    reason: str
    owner: str
    line: str | None
    expires: str | None


class ExplainedDecision(TypedDict):
    """The line of the table that a packet ends at: `nft` is its text, in `chain`.

    `by`: a rule or destination (`name` says which, `where` is "file:line" of what opens the port);
    "loopback": it stays on this host; "dns": DNS goes to dynallow alone; "nothing": nothing allows it.
    """

    by: Literal["rule", "destination", "loopback", "dns", "nothing"]
    name: str
    where: str | None
    chain: str
    nft: str


class ExplainedLease(TypedDict):
    rule: str
    address: str
    name: str
    expires_in_s: float


class ExplainedLead(TypedDict):
    """An answer for `root`, a name that the rule lists, or one of `steps` after it, led to the subject."""

    rule: str
    root: str
    steps: int
    expires_in_s: float


class ExplainReport(TypedDict):
    """`text` is the verdict in one sentence; `names` are other names on the subject's addresses.

    `derived` says how a name that no rule lists may be asked for all the same.

    `hosts` are the addresses that /etc/hosts gives to the name (whoever looks there does not ask dynallow),
    `hosts_names` the names that it gives to the address.

    `port` and `user` are what was asked about, `id` the line of `denied` that was. `packet` is what becomes
    of the first packet of a flow to the address and port right now: "accepted", "reset", "rejected" or
    "dropped", "passed" (mode observe: it counts as denied, and goes out), "turned" (to dynallow's own
    listener); null without a port. `decided` is what decides that. `change` says what would have to change
    to have it allowed, most fitting first; `notes` what else bears on it.

    `revoked_for_s`: flows to the address count for nothing, so much longer. `flows` are those that are
    established to it and go on.

    `past` are what was asked, used and denied, the latest first and at most ten of `past_rows`;
    `past_begins` is how far the history goes back. `seen_names` are other names that gave one of the
    subject's addresses, in the past.
    """

    subject: str
    kind: Literal["name", "address"]
    verdict: Literal["allowed", "denied", "filtered"]
    text: str
    rules: list[ExplainedRule]
    leases: list[ExplainedLease]
    names: list[str]
    derived: list[ExplainedLead]
    hosts: list[str]
    hosts_names: list[str]
    mode: Mode
    id: str | None
    port: str | None
    user: int | None
    packet: Literal["accepted", "reset", "rejected", "dropped", "passed", "turned"] | None
    decided: ExplainedDecision | None
    change: list[str]
    notes: list[str]
    revoked_for_s: float | None
    flows: int
    past: list[HistoryRow]
    past_rows: int
    past_begins: str | None
    seen_names: list[str]


class ReloadReport(TypedDict):
    changed: bool
    rules_added: list[str]
    rules_removed: list[str]
    rules_changed: list[str]
    settings_changed: list[str]
    needs_restart: list[str]
    not_in_force: list[str]
    pending: PendingReport | None


class RevokedLease(TypedDict):
    rule: str
    address: str
    name: str


class FlushReport(TypedDict):
    revoked: list[RevokedLease]
    connections_cut: int


class ModeReport(TypedDict):
    mode: Mode
    was: ModeOrUnknown
    pending: PendingReport | None


ConfirmReport = TypedDict(
    "ConfirmReport",
    {
        "what": Literal["mode", "reload"],
        "outcome": Literal["confirmed", "taken-back"],
        "from": Mode,
        "to": Mode,
        "mode": Mode,
        "settings_say": Mode,
        "settings": str,
    },
)
"""What became of what was on trial.

`mode` is in force now; `settings_say` is the one after the next start or reload, and `settings` the file that
says so, or where it can be said.
"""


class ErrorReport(TypedDict):
    """The one shape of every 4xx and 5xx; `faults` only beside code "settings-invalid"."""

    code: str
    message: str
    hint: str
    faults: NotRequired[list[str]]
