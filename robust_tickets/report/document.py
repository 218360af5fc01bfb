"""A table for people with its heading and notes: Markdown, LaTeX and HTML say the same, cell by cell."""

import html as escapes
import re
from collections.abc import Callable
from dataclasses import dataclass

from robust_tickets.report.latex import escape

_PARTS = re.compile(r"\*\*(?P<bold>.+?)\*\*|`(?P<code>[^`]+)`")


@dataclass(frozen=True)
class Document:
    """A table.

    heading: data, network, threat model, test images and seeds, in a line.
    label: of the table in LaTeX.
    titles, rows: texts; the first column is to the left, figures are to the right.
    notes: paragraphs under it, with **bold** and `code` as in Markdown.
    """

    heading: str
    label: str
    titles: list[str]
    rows: list[list[str]]
    notes: list[str]


def markdown(document: Document) -> str:
    """The table as Markdown."""
    titles = document.titles
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" + " ---: |" * (len(titles) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in document.rows]
    return "\n\n".join([f"**{document.heading}**", "\n".join(lines), *document.notes]) + "\n"


def latex(document: Document) -> str:
    """The table for a paper (packages booktabs and graphicx): its heading as caption, the notes below."""
    notes = [_marked(text, escape, r"\textbf{%s}", r"\texttt{%s}") for text in document.notes]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(document.heading)}.}}",
            rf"\label{{tab:{document.label}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(document.titles) - 1)}}}",
            r"\toprule",
            " & ".join(f"{{{escape(title)}}}" for title in document.titles) + r" \\",
            r"\midrule",
            *(" & ".join(map(escape, row)) + r" \\" for row in document.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\par\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            "\n\n".join(notes),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def html(document: Document) -> str:
    """The table as a piece of HTML, to be put into a page."""

    def row(tag: str, cells: list[str]) -> str:
        first, *rest = map(escapes.escape, cells)
        scope = "col" if tag == "th" else "row"
        end = "".join(
            f'<{tag}{" scope=col" * (tag == "th")} style="text-align:right">{cell}</{tag}>' for cell in rest
        )
        return f'<tr><th scope={scope} style="text-align:left">{first}</th>{end}</tr>'

    notes = [
        _marked(text, escapes.escape, "<strong>%s</strong>", "<code>%s</code>") for text in document.notes
    ]
    return "\n".join(
        [
            "<table>",
            f"<caption>{escapes.escape(document.heading)}</caption>",
            f"<thead>{row('th', document.titles)}</thead>",
            "<tbody>",
            *(row("td", cells) for cells in document.rows),
            "</tbody>",
            "</table>",
            *(f"<p>{text}</p>" for text in notes),
            "",
        ]
    )


def _marked(text: str, escape_text: Callable[[str], str], bold: str, code: str) -> str:
    """A paragraph with its marks in another language; bold, code: its marks around %s."""
    parts, end = [], 0
    for match in _PARTS.finditer(text):
        parts.append(escape_text(text[end : match.start()]))
        if match["bold"]:
            parts.append(bold % _marked(match["bold"], escape_text, bold, code))
        else:
            parts.append(code % escape_text(match["code"]))
        end = match.end()
    return "".join([*parts, escape_text(text[end:])])
