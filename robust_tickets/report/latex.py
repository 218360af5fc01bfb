"""The timing table for a paper."""

from robust_tickets.report.read import complete_seeds
from robust_tickets.report.tables import TITLES, cells, heading, notes, sentence
from robust_tickets.report.trust import sanity_note, watch_note
from robust_tickets.runs.directory import RunDirectory

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def latex(run: RunDirectory) -> str:
    """The timing table as a LaTeX table (package booktabs), its caption what the table supports.

    The figures are those of the markdown table, character by character.
    """
    rows = cells(run)
    heads = [f"{{{escaped(title)}}}" for title in TITLES]
    parts = (f"{heading(run)}.", sentence(run), watch_note(run), sanity_note(run), notes(run))
    caption = " ".join(part for part in parts if part).replace("**", "").replace("`", "")
    seeds = "-".join(map(str, complete_seeds(run)))
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{tab:{run.recipe.name}-{seeds}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(TITLES) - 1)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(escaped(cell) for cell in row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """The text with LaTeX's special characters made harmless; a minus before a digit is set as one."""
    plain = "".join(_SPECIAL.get(character, character) for character in text)
    return f"${plain}$" if plain[:1] in "+-" and plain[1:2].isdigit() else plain
