"""Tables of the page: readable without a script, sortable with one."""

import re
from collections.abc import Sequence

from robust_tickets.report.page.markup import element, escape

_NUMBER = re.compile(r"[-+−]?(\d[\d,]*\.?\d*|\.\d+)")
_NOTHING = ("", "-")
_SHORT = 40
"""Characters of a text that is not broken into lines."""


def table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, sortable: bool = True
) -> str:
    """A table in a box that scrolls, where the page is narrower.

    titles: heads of the columns; the first column names the rows.
    rows: texts, as they are shown.
    caption: what the table shows.
    sortable: whether its heads become buttons, and it takes the whole width.
    """
    numeric = [sortable and all(_is_number(row[i]) for row in rows) for i in range(len(titles))]
    heads = "".join(
        element("th", escape(title), scope="col", class_="number" if number else "text")
        for title, number in zip(titles, numeric, strict=True)
    )
    body = "\n".join(_row(row, numeric) for row in rows)
    content = "\n".join(
        [
            element("caption", escape(caption)),
            element("thead", element("tr", heads)),
            element("tbody", f"\n{body}\n"),
        ]
    )
    if sortable:
        return scroll_box(element("table", content, class_="sortable"), caption)
    return scroll_box(element("table", content), caption, "scroll plain")


def scroll_box(content: str, label: str, kind: str = "scroll") -> str:
    """A box that scrolls sideways by finger, wheel and keys; label: its accessible name."""
    return element("div", content, class_=kind, role="region", aria_label=label, tabindex="0")


def sort_value(text: str) -> str:
    """The first number of a cell, by which a column of numbers is sorted; empty where there is none."""
    if text == "inf":
        return "Infinity"
    match = _NUMBER.match(text)
    return match.group().replace(",", "").replace("−", "-").replace("+", "") if match else ""


def _row(row: Sequence[str], numeric: Sequence[bool]) -> str:
    cells = []
    for place, (text, number) in enumerate(zip(row, numeric, strict=True)):
        value = sort_value(text) if number else text
        about = {
            "data_sort": value,
            "class_": "number" if number else "short" if len(text) <= _SHORT else "long",
        }
        cells.append(
            element("td", escape(text), **about)
            if place
            else element("th", escape(text), scope="row", **about)
        )
    return element("tr", "".join(cells))


def _is_number(text: str) -> bool:
    return text in _NOTHING or bool(sort_value(text))
