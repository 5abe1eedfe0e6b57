"""The rules as a change board asks for them: what for, whose, until when, and whether anybody uses them.

Pure. Knows the status and rows of the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

from dynallow.cli.page.markup import Content, Html, tag
from dynallow.cli.page.numbers import count, span
from dynallow.control.historyschema import HistoryRow
from dynallow.control.schema import RuleReport, StatusReport

_SOON_DAYS = 30
_NAMES = 6
_HEADINGS = ("rule", "open to", "reason", "owner", "ends", "used", "leases now", "denied near it")


class Use(NamedTuple):
    """What was made of a rule in the window; `last` is empty for never."""

    questions: int = 0
    flows: int = 0
    denied: int = 0
    last: str = ""


def uses(rows: Sequence[HistoryRow]) -> dict[str, Use]:
    """By rule; a question that several rules allow counts for each."""
    found: dict[str, Use] = {}
    for row in rows:
        for rule in filter(None, row["rule"].split(",")):
            use = found.get(rule, Use())
            if row["decision"] != "allowed":
                use = use._replace(denied=use.denied + row["count"])
            else:
                last = max(use.last, row["last"])
                if row["kind"] == "question":
                    use = use._replace(questions=use.questions + row["count"], last=last)
                else:
                    use = use._replace(flows=use.flows + row["count"], last=last)
            found[rule] = use
    return found


def rules(
    status: StatusReport, rows: Sequence[HistoryRow], today: date, user: Callable[[int], str], whole: bool
) -> Html:
    """The table of rules and destinations. `whole`: the history covers the window."""
    used = uses(rows)
    lines = []
    for rule in status["rules"]:
        packets = sum(lease["packets"] for lease in rule["leases"])
        lines.append(
            _line(
                tag("span", tag("span", rule["rule"], class_="name"), _names(rule)),
                _open_to(rule["ports"], rule["users"], user),
                rule["reason"] or _missing("none given"),
                rule["owner"] or _missing("nobody"),
                _ends(rule["expires"], today),
                _used(used.get(rule["rule"], Use()), whole),
                f"{count(len(rule['leases']))} ({count(packets)} packets)" if rule["leases"] else "0",
                _denied(used.get(rule["rule"], Use())),
            )
        )
    for there in status["destinations"]:
        use = used.get(there["destination"], Use())
        lines.append(
            _line(
                tag("span", there["destination"], class_="name"),
                tag(
                    "span",
                    ", ".join(there["addresses"]),
                    "; ",
                    _open_to(there["ports"], there["users"], user),
                ),
                there["reason"] or _missing("none given"),
                tag("span", "(by address)", class_="soft"),
                "",
                _used(use, whole),
                "",
                _denied(use),
            )
        )
    head = tag("tr", *(tag("th", heading) for heading in _HEADINGS))
    return tag("table", tag("thead", head), tag("tbody", *lines), class_="cards")


def _names(rule: RuleReport) -> Html:
    """Its patterns, as far as there is room."""
    names = rule.get("names", [])
    told = [*names[:_NAMES], *rule.get("names_from", [])]
    more = rule.get("names_count", len(names)) - len(names[:_NAMES])
    if more > 0:
        told.append(f"and {count(more)} more")
    return tag("div", ", ".join(told), class_="note")


def _line(*cells: Content) -> Html:
    return tag(
        "tr",
        *(
            tag("td", cell, data_label=heading if number else None)
            for number, (heading, cell) in enumerate(zip(_HEADINGS, cells, strict=True))
        ),
    )


def _open_to(ports: Sequence[str], users: Sequence[int], user: Callable[[int], str]) -> Html:
    return tag("span", ", ".join(ports), " for ", ", ".join(map(user, users)) or "every user")


def _missing(text: str) -> Html:
    return tag("span", text, class_="warn")


def _ends(expires: str | None, today: date) -> Content:
    if expires is None:
        return tag("span", "never", class_="soft")
    left = (date.fromisoformat(expires) - today).days
    style = "bad" if left < 0 else "warn" if left <= _SOON_DAYS else ""
    told = tag("span", expires, class_="day")
    return tag("span", told, ", over" if left < 0 else None, class_=style or None)


def _used(use: Use, whole: bool) -> Html:
    if not use.questions and not use.flows:
        return tag("span", "not in this window" if whole else "not since the history begins", class_="warn")
    told = f"{count(use.questions)} questions, {count(use.flows)} flows"
    return tag("span", told, tag("div", f"last {span(use.last, use.last)}", class_="note"))


def _denied(use: Use) -> Html:
    return tag("span", count(use.denied), class_="soft" if not use.denied else None)
