"""How a status looks.

Pure: a report goes in, blocks come out. Knows the schema and nothing of where
the report came from; what an agent would have known and a kernel does not is
left out rather than shown as zero.
"""

from __future__ import annotations

from collections.abc import Callable

from dynallow.cli.output import Block, Line, Style, Table
from dynallow.cli.phrases import listed, plural, since, size_text, users_text
from dynallow.control.schema import DestinationReport, KernelReport, RuleReport, StatusReport, UpstreamReport
from dynallow.units import format_duration

_MODES: dict[str, tuple[str, Style]] = {
    "enforce": ("enforce: what no rule allows is blocked", "good"),
    "observe": ("observe: denials are logged, nothing is blocked", "warn"),
    "unknown": ("unknown", "bad"),
}


def status_blocks(report: StatusReport) -> list[Block]:
    """The header, then a block for each rule, then the destinations."""
    blocks: list[Block] = [*_header(report)]
    blocks += [Line(f"warning     {text}", "warn") for text in report["warnings"]]
    for rule in report["rules"]:
        blocks += [Line(), *_rule(rule, report["agent"]["running"])]
    if report["agent"]["running"] and not report["rules"]:
        blocks += [Line(), Line("no rules: no name is allowed")]
    for destination in report["destinations"]:
        blocks += [Line(), _destination(destination)]
    return blocks


def _header(report: StatusReport) -> list[Block]:
    text, style = _MODES[report["mode"]]
    lines = [Line(f"mode        {text}{since(report['mode_since'])}", style), _agent(report), _table(report)]
    if report["agent"]["running"]:
        lines.append(Line(f"listening   {listed(report['listen'])}"))
        lines += [
            Line(f"{'' if number else 'upstreams':<12}{text}", style)
            for number, (text, style) in enumerate(map(_upstream, report["upstreams"]))
        ]
        counts = ", ".join(f"{count} {what}" for what, count in report["questions"].items())
        lines.append(Line(f"questions   {counts}"))
        living = report["living"]
        if living["asked"]:
            told = f"{plural(living['asked'], 'name')} asked again, {plural(living['kept'], 'lease')} kept"
            over = f", {living['passed_over']} passed over" if living["passed_over"] else ""
            lines.append(Line(f"living      {told}{over}: somebody talked to their addresses"))
        lines += [Line(f"not yet     {text}", "dim") for text in report["not_in_force"]]
    return [*lines]


def _agent(report: StatusReport) -> Line:
    agent = report["agent"]
    if not agent["running"]:
        return Line("agent       not running: what the kernel holds stays until it lapses", "bad")
    settings = f", settings {agent['settings']}" if agent["settings"] else ""
    return Line(f"agent       {agent['version']}, pid {agent['pid']}{since(agent['since'])}{settings}")


def _table(report: StatusReport) -> Line:
    kernel = report["kernel"]
    if not kernel["table"]:
        return Line("table       inet dynallow is not there: nothing is blocked", "bad")
    denied = f"{plural(kernel['denied_packets'], 'packet')} ({size_text(kernel['denied_bytes'])}) denied"
    return Line(
        ", ".join([f"table       inet dynallow, {denied}, kernel {kernel['release']}", *_features(kernel)])
    )


def _features(kernel: KernelReport) -> list[str]:
    """What the kernel can do, or what is done instead; nothing where no agent tells."""
    told = (
        (kernel["owned"], "owned by the agent", "shared"),
        (kernel["in_place_refresh"], "refreshed in place", "refreshed by add-delete-add"),
        (kernel["conntrack_filter"], "flows found by address", "flows found among all"),
        (kernel["sock_destroy"], "sockets ended", "sockets not ended"),
    )
    return [yes if there else no for there, yes, no in told if there is not None]


def _upstream(upstream: UpstreamReport) -> tuple[str, Style]:
    latency = "" if upstream["latency_ms"] is None else f", {upstream['latency_ms']:.1f} ms"
    counts = f"{upstream['asked']} asked, {upstream['failed']} failed{latency}"
    if upstream["gives_cookies"]:
        counts += ", gives cookies"
    if upstream["keeps_case"] is False:
        counts += ", changes case"
    if upstream["healthy"]:
        return f"{upstream['upstream']} healthy, {counts}", ""
    return f"{upstream['upstream']} FAILING, {counts}: {upstream['last_error'] or 'no error told'}", "bad"


def _rule(rule: RuleReport, known: bool) -> list[Block]:
    blocks: list[Block] = [Line(_rule_head(rule) if known else f"rule {rule['rule']}", "bold")]
    if not rule["leases"]:
        return [*blocks, Line("  no leases")]
    leases = rule["leases"]
    columns = (
        [lease["address"] for lease in leases],
        [lease["name"] for lease in leases],
        _each([int(lease["expires_in_s"]) for lease in leases], format_duration),
        _each([lease["packets"] for lease in leases], str),
        _each([lease["bytes"] for lease in leases], size_text),
    )
    rows = list(zip(*columns, strict=True))
    headings = ("address", "name", "time left", "packets", "bytes")
    return [*blocks, Table(headings, rows, frozenset((2, 3, 4)))]


def _each(numbers: list[int], text: Callable[[int], str]) -> list[str]:
    """The text of each number, made once for those that are equal: of 100,000 leases most are."""
    texts = {number: text(number) for number in set(numbers)}
    return [texts[number] for number in numbers]


def _rule_head(rule: RuleReport) -> str:
    words = [f"rule {rule['rule']}: {listed(rule['ports'])}", users_text(rule["users"])]
    if rule["reason"]:
        words.append(rule["reason"])
    if rule["owner"]:
        words.append(f"owner {rule['owner']}")
    if rule["expires"]:
        words.append(f"expires {rule['expires']}")
    return "; ".join(words)


def _destination(destination: DestinationReport) -> Line:
    why = f"; {destination['reason']}" if destination["reason"] else ""
    return Line(
        f"destination {destination['destination']}: {listed(destination['addresses'])}; "
        f"{listed(destination['ports'])}; {users_text(destination['users'])}{why}",
        "bold",
    )
