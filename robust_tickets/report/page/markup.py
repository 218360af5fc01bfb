"""HTML from plain text: everything that comes from files is escaped here."""

import re
from collections.abc import Iterable
from html import escape

__all__ = ["element", "escape", "join", "listing", "prose"]


def element(name: str, content: str = "", **attributes: str) -> str:
    """An element around content that is HTML already; a trailing underscore in an attribute's name is cut."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{words}>{content}</{name}>"


def prose(text: str) -> str:
    """The text of a paragraph, whose **strong words** and `code` are those of the Markdown tables."""
    words = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", words)


def listing(items: Iterable[str]) -> str:
    """A list whose items are HTML already; empty without any."""
    content = "".join(element("li", item) for item in items)
    return element("ul", content) if content else ""


def join(parts: Iterable[str]) -> str:
    """Parts of a page on lines of their own, without empty ones."""
    return "\n".join(part for part in parts if part)
