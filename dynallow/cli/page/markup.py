"""HTML, put together so that no text can become markup.

Pure. Invariant: what is not `Html` is escaped, in text as in attributes, controls and bidi marks made
visible; `Html` is made here alone, and of tags and attributes that the code names.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from dynallow.cli.output import escape


class Html:
    """Markup; anything else is text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


Content = Html | str | int | None
NOTHING = Html("")


def text(value: str) -> Html:
    """Text as markup: a name from the network stays a name."""
    return Html(html.escape(escape(value), quote=True))


def tag(name: str, *content: Content, **attributes: str | int | float | None) -> Html:
    """An element. `class_` is "class", `data_label` is "data-label"; one that is None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value)).text}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{told}>{joined(content).text}</{name}>")


def joined(content: Iterable[Content]) -> Html:
    """One after the other."""
    return Html("".join(_markup(each) for each in content))


def _markup(content: Content) -> str:
    if isinstance(content, Html):
        return content.text
    return "" if content is None else text(str(content)).text
