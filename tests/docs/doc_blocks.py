"""The fenced blocks of the documentation: where they stand, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page below the root, its language, its text, and the line of its first line."""

    page: str
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a block of the shell, without comments, with single spaces between words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def code_spans() -> list[tuple[str, str]]:
    """The words in backquotes in the text of all pages, each with its page."""
    found = []
    for page in PAGES:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        spans = (" ".join(match.split()) for match in _SPAN.findall(text))
        found += [(page.relative_to(ROOT).as_posix(), span) for span in spans]
    return found


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in one of these languages, all of them without any."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if not languages or match[1] in languages:
                line = text.count("\n", 0, match.start()) + 2
                found.append(Block(page.relative_to(ROOT).as_posix(), match[1], match[2], line))
    return found
