"""The timing table for a paper."""

from robust_tickets.report.read import complete_seeds, heading
from robust_tickets.report.table_cells import titled_cells
from robust_tickets.report.tables import paragraphs, timing
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
    "§": r"\S{}",
}


def latex(run: RunDirectory) -> str:
    """The timing table as a LaTeX table (packages booktabs and graphicx), the text under it as its caption.

    The figures are those of the markdown table, character by character.
    """
    table = timing(run)
    titles, rows = titled_cells(table)
    heads = [f"{{{escape(title)}}}" for title in titles]
    caption = " ".join([f"{heading(run)}.", *paragraphs(run, table)]).replace("**", "").replace("`", "")
    seeds = "-".join(map(str, complete_seeds(run)))
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{run.recipe.name}-{seeds}}}",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *(" & ".join(map(escape, row)) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Escape LaTeX's special characters; a number with a sign is set in math mode."""
    plain = "".join(_SPECIAL.get(character, character) for character in text)
    return f"${plain}$" if plain[:1] in "+-" and plain[1:2].isdigit() else plain
