"""Whether mode `enforce` could begin, for those who decide it.

Pure. Knows the readiness report; its verdict is the agent's, the same that `dynallow mode enforce` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dynallow.cli.page.markup import Html, tag
from dynallow.cli.page.numbers import count, span
from dynallow.cli.page.tops import SHOWN, WHY
from dynallow.control.readinessschema import ReadinessReport, WouldBeDenied

_HEADINGS = ("would be denied", "who", "why", "times", "seen")


def readiness(report: ReadinessReport, user: Callable[[int], str]) -> Html:
    """The verdict, and who would miss what."""
    style = "good" if report["verdict"] == "ready" else "warn"
    more = report["more"] + max(len(report["denied"]) - SHOWN, 0)
    beside = (
        (sum(row["count"] for row in report["bypasses"]), "DNS questions past dynallow, which enforce stops"),
        (report["meant"], "denials that rules ask for (excepted, expired)"),
        (
            report["harmless"],
            "that nobody waits for (search lists, reverse names, types that come back empty)",
        ),
        (sum(report["untold"].values()), "that could not be told apart"),
    )
    return tag(
        "section",
        tag("h2", "Readiness to enforce"),
        tag("p", report["text"], class_=style),
        _table(report["denied"][:SHOWN], user) if report["denied"] else None,
        tag("p", f"and {count(more)} more", class_="note") if more else None,
        tag("ul", *(tag("li", f"{count(times)} {what}") for times, what in beside if times), class_="note"),
    )


def _table(rows: Sequence[WouldBeDenied], user: Callable[[int], str]) -> Html:
    lines = []
    for row in rows:
        wanted = f"{row['name'] or row['address']} {', '.join(row['ports'])}".strip()
        who = [
            "" if row["user"] is None else user(row["user"]),
            row["process"],
            row["unit"],
        ]
        lines.append(
            tag(
                "tr",
                tag("td", tag("span", wanted, class_="name")),
                tag("td", ", ".join(filter(None, who)) or "not known", data_label="who"),
                tag("td", WHY.get(row["why"], row["why"]), data_label="why"),
                tag("td", count(row["count"]), class_="n", data_label="times"),
                tag("td", span(row["first"], row["last"]), class_="when", data_label="seen"),
            )
        )
    head = tag(
        "tr", *(tag("th", heading, class_="n" if heading == "times" else None) for heading in _HEADINGS)
    )
    return tag("table", tag("thead", head), tag("tbody", *lines), class_="cards")
