"""How a status looks.

Pure: a report and the screen's measures go in, blocks come out. Knows the schema and nothing of where the
report came from; what an agent would have known and a kernel does not is left out rather than shown as zero.
Keeps: the important first; on a terminal no line is wider than it, and nothing that can be long is whole
unless it is asked for; a pipe gets everything, a line each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dynallow.cli.hourview import denied_lines
from dynallow.cli.leases import Leases, by_columns
from dynallow.cli.leaseview import lease_rows
from dynallow.cli.output import Block, Line, Spans, Style, escape
from dynallow.cli.phrases import listed, plural, since, size_text, users_text
from dynallow.cli.screen import PIPE, Screen, fitting, shortened, wrapped
from dynallow.durations import format_duration

if TYPE_CHECKING:
    from dynallow.control.schema import (
        DestinationReport,
        KernelReport,
        PendingReport,
        RuleReport,
        StatusReport,
        UpstreamReport,
    )

_MODES: dict[str, tuple[str, Style]] = {
    "enforce": ("enforce: what no rule allows is blocked", "good"),
    "observe": ("observe: denials are logged, nothing is blocked", "warn"),
    "unknown": ("unknown", "bad"),
}
LABEL = 12
"""Columns that a header line's label takes."""
_ROOMY = 60
"""From so many columns on a terminal shows what is seldom needed."""
_SIZES = (20, 12, 8, 5, 3, 2, 0)


def status_blocks(report: StatusReport, screen: Screen = PIPE, shown: int | None = None) -> list[Block]:
    """The header, then a block for each rule, then the destinations; `shown` leases of each rule."""
    blocks = _header(report, screen)
    for rule in report["rules"]:
        blocks += [Line(), *_rule(rule, report["agent"]["running"], screen, shown)]
    if report["agent"]["running"] and not report["rules"]:
        blocks += [Line(), Line("no rules: no name is allowed")]
    for destination in report["destinations"]:
        blocks += [Line(), *_destination(destination, screen)]
    return blocks


def fitting_blocks(report: StatusReport, screen: Screen) -> list[Block]:
    """As many leases of each rule as the screen has lines for; at the least its heading."""
    blocks: list[Block] = []
    for shown in _SIZES:
        blocks = status_blocks(report, screen, shown)
        if screen.height is None or len(blocks) < screen.height:
            break
    return blocks


def labelled(label: str, text: str, screen: Screen, style: Style = "") -> list[Block]:
    """A line of the header, and what follows it where it does not fit; on a terminal its label is dim."""
    if screen.width is None:
        return [Line(f"{label:<{LABEL}}{text}", style)]
    lines = wrapped(f"{label:<{LABEL}}{escape(text)}", screen, LABEL)
    head = Spans(((lines[0][:LABEL], "dim"), (lines[0][LABEL:], style)))
    return [head, *(Line(line, style) for line in lines[1:])]


# ------------------------------------------------------------ the header


def _header(report: StatusReport, screen: Screen) -> list[Block]:
    style = _MODES[report["mode"]][1]
    running = report["agent"]["running"]
    blocks = labelled("mode", fitting(_mode(report), screen, LABEL), screen, style)
    if (pending := report.get("pending")) is not None:
        blocks += labelled("pending", _pending(pending), screen, "warn")
    if (ready := report.get("readiness")) is not None:
        blocks += labelled(
            "readiness", ready["text"], screen, "good" if ready["verdict"] == "ready" else "warn"
        )
    if (policy := report.get("policy")) is not None and policy["last_reload"] == "failed":
        blocks += labelled(
            "warning", "the last reload failed: what was in force before still is", screen, "warn"
        )
    for text in report["warnings"]:
        blocks += labelled("warning", text, screen, "warn")
    blocks += denied_lines(report, screen)
    if running:
        blocks += _upstreams(report["upstreams"], screen)
    blocks += _agent(report, screen) + _table(report["kernel"], screen)
    if running:
        blocks += _doings(report, screen)
        for text in report["not_in_force"]:
            blocks += labelled("not yet", text, screen, "dim")
    return blocks


def _mode(report: StatusReport) -> list[str]:
    """In ever fewer words."""
    mode, text = report["mode"], _MODES[report["mode"]][0]
    began = since(report["mode_since"])
    ago = began.rpartition("(")[2].removesuffix(" ago)")
    return [f"{text}{began}", f"{mode}{began}", f"{mode} for {ago}" if ago else mode]


def _pending(pending: PendingReport) -> str:
    what = f"mode {pending['to']}" if pending["what"] == "mode" else "the reload"
    if pending["problem"]:
        return f"{what} could not be taken back yet: {pending['problem']}"
    if not pending["left_s"]:
        return f"{what} is being taken back: nobody confirmed it"
    back = f"goes back to {pending['from']}" if pending["what"] == "mode" else "is taken back"
    return f"{what} {back} in {format_duration(pending['left_s'])} unless you `dynallow confirm`"


def _agent(report: StatusReport, screen: Screen) -> list[Block]:
    agent = report["agent"]
    if not agent["running"]:
        return labelled("agent", "not running: what the kernel holds stays until it lapses", screen, "bad")
    text = f"{agent['version']}, pid {agent['pid']}"
    began = since(agent["since"])
    settings = f"{text}{began}, settings {agent['settings']}"
    texts = [settings] if agent["settings"] else []
    texts += [f"{text}{began}", f"{text}{began.partition(' (')[0]}", text]
    return labelled("agent", fitting(texts, screen, LABEL), screen)


def _table(kernel: KernelReport, screen: Screen) -> list[Block]:
    if not kernel["table"]:
        return labelled("table", "inet dynallow is not there: nothing is blocked", screen, "bad")
    features = _features(kernel) if _is_roomy(screen) else []
    return labelled("table", ", ".join(["inet dynallow", f"kernel {kernel['release']}", *features]), screen)


def _features(kernel: KernelReport) -> list[str]:
    """What the kernel can do, or what is done instead; nothing where no agent tells."""
    told = (
        (kernel["owned"], "owned by the agent", "shared"),
        (kernel["in_place_refresh"], "refreshed in place", "refreshed by add-delete-add"),
        (kernel["conntrack_filter"], "flows found by address", "flows found among all"),
        (kernel["sock_destroy"], "sockets ended", "sockets not ended"),
    )
    return [yes if there else no for there, yes, no in told if there is not None]


def _upstreams(upstreams: Iterable[UpstreamReport], screen: Screen) -> list[Block]:
    blocks: list[Block] = []
    servers = list(upstreams)
    width = max((len(server["upstream"]) for server in servers), default=0) if screen.width else 0
    for number, server in enumerate(servers):
        text, style = _upstream(server, width)
        blocks += labelled("" if number else "upstreams", text, screen, style)
    return blocks


def _upstream(upstream: UpstreamReport, width: int) -> tuple[str, Style]:
    latency = "" if upstream["latency_ms"] is None else f", {upstream['latency_ms']:.1f} ms"
    counts = f"{upstream['asked']} asked, {upstream['failed']} failed{latency}"
    if upstream["gives_cookies"]:
        counts += ", gives cookies"
    if upstream["keeps_case"] is False:
        counts += ", changes case"
    name = f"{upstream['upstream']:<{width}}"
    if upstream["healthy"]:
        return f"{name} healthy, {counts}", ""
    return f"{name} FAILING, {counts}: {upstream['last_error'] or 'no error told'}", "bad"


def _doings(report: StatusReport, screen: Screen) -> list[Block]:
    blocks: list[Block] = []
    if _is_roomy(screen):
        blocks += labelled("listening", listed(report["listen"]), screen)
    counts = ((count, what) for what, count in report["questions"].items())
    told = [f"{count} {what}" for count, what in counts if count or what in ("allowed", "denied")]
    blocks += labelled("questions", ", ".join(told), screen)
    living = report["living"]
    if living["asked"]:
        text = f"{plural(living['asked'], 'name')} asked again, {plural(living['kept'], 'lease')} kept"
        over = f", {living['passed_over']} passed over" if living["passed_over"] else ""
        blocks += labelled("living", f"{text}{over}: somebody talked to their addresses", screen)
    return blocks


def _is_roomy(screen: Screen) -> bool:
    return screen.width is None or screen.width >= _ROOMY


# ------------------------------------------------------------ rules and destinations


def _rule(rule: RuleReport, known: bool, screen: Screen, shown: int | None) -> list[Block]:
    leases = by_columns(rule["leases"])
    words = [_held(leases)]
    if known:
        words += [listed(rule["ports"]), users_text(rule["users"]), rule["reason"]]
        words += [f"owner {rule['owner']}"] if rule["owner"] else []
        words += [f"expires {rule['expires']}"] if rule["expires"] else []
    heading = _heading(f"rule {rule['rule']}", words, screen)
    return [*heading, *lease_rows(leases, screen, shown)] if shown != 0 else heading


def _held(leases: Leases) -> str:
    """How many there are, and what went to them."""
    if not leases:
        return "no leases"
    told = plural(1, "lease") if len(leases) == 1 else f"{len(leases):,} leases"
    packets = sum(leases.packets)
    if not packets:
        return f"{told}, no packets"
    return f"{told}, {plural(packets, 'packet')} ({size_text(sum(leases.octets))})"


def _destination(destination: DestinationReport, screen: Screen) -> list[Block]:
    addresses = listed(destination["addresses"])
    if screen.width is not None:
        addresses = shortened(addresses, 2 * screen.width, screen)
    words = [addresses, listed(destination["ports"]), users_text(destination["users"]), destination["reason"]]
    return _heading(f"destination {destination['destination']}", words, screen)


def _heading(title: str, words: Iterable[str], screen: Screen) -> list[Block]:
    text = f"{title}: {'; '.join(filter(None, words))}"
    if screen.width is None:
        return [Line(text, "bold")]
    lines = wrapped(escape(text), screen, 4)
    cut = len(title) + 1
    return [Spans(((lines[0][:cut], "bold"), (lines[0][cut:], ""))), *map(Line, lines[1:])]
