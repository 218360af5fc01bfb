"""The page: one HTML file with all that it needs, from the files of run directories."""

from collections.abc import Mapping, Sequence
from functools import reduce
from importlib import resources
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.report.figures import image
from robust_tickets.report.frontier_answers import Question, answers
from robust_tickets.report.frontier_plot import frontier_figure
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_cells, frontier_notes
from robust_tickets.report.page.cautions import without_path
from robust_tickets.report.page.inline_svg import inline_svg
from robust_tickets.report.page.markup import element, escape, join, prose
from robust_tickets.report.page.run_sections import Section, run_sections
from robust_tickets.report.page.strips import strips_body
from robust_tickets.report.page.table import scroll_box, table
from robust_tickets.report.pictures.picture import subject
from robust_tickets.runs.directory import RunDirectory

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing that is not in it."""


def report_page(
    runs: Sequence[RunDirectory], drawings: Sequence[Mapping[str, bytes]], strips: Sequence[Path] = ()
) -> str:
    """The report of one run or several; the same files give the same bytes.

    drawings: of each run, as `all_pictures.draw_pictures` gives them.
    strips: files of adversarial images (see `strips.find_strips`).
    Raises InputError where a run has no complete seed, and for damaged files.
    """
    more = [Section("images", "Adversarial images", strips_body(strips))] if strips else []
    if len(runs) == 1:
        return _one_run(runs[0], drawings[0], more)
    return _several_runs(runs, drawings, more)


def _one_run(run: RunDirectory, drawings: Mapping[str, bytes], more: Sequence[Section]) -> str:
    sections = run_sections(run, drawings)
    place = 1 + [section.name for section in sections].index("pictures")
    sections[place:place] = more
    content = join(_section(section, 2) for section in sections)
    return _document(run.recipe.name, subject(run), sections, content)


def _several_runs(
    runs: Sequence[RunDirectory], drawings: Sequence[Mapping[str, bytes]], more: Sequence[Section]
) -> str:
    common = Section("together", "All runs on one frontier", _together(runs))
    entries, parts = [common], [_section(common, 2)]
    for number, (run, own) in enumerate(zip(runs, drawings, strict=True), 1):
        name = f"run-{number}-"
        heading = f"{run.recipe.name}: {subject(run)}"
        body = join(_section(section, 3) for section in run_sections(run, own, name))
        entries.append(Section(f"run-{number}", heading, ""))
        parts.append(_section(Section(f"run-{number}", heading, body), 2))
    entries += more
    parts += [_section(section, 2) for section in more]
    return _document(f"{len(runs)} comparisons", "", entries, join(parts))


def _together(runs: Sequence[RunDirectory]) -> str:
    """The frontier of all runs, or the reason why they have none."""
    try:
        frontier, question = read_frontier(runs), Question()
        notes = reduce(without_path, runs, frontier_notes(frontier, question))
        texts = [*answers(frontier, question), notes]
    except InputError as error:
        reason = reduce(without_path, runs, str(error))
        return element("p", prose(f"They have no common frontier: {reason}"), class_="missing")
    titles, cells = frontier_cells(frontier, question)
    heading = f"Cost and robust accuracy: {frontier.title}"
    drawing = inline_svg(image(frontier_figure(frontier)), "together-frontier", heading)
    caption = element("figcaption", "Large marks are means, small ones single seeds.")
    return join(
        [
            table(titles, cells, "Cost and robust accuracy of the arms of all runs"),
            *(element("p", prose(text)) for text in texts),
            element("figure", scroll_box(drawing, "The frontier of all runs") + caption),
        ]
    )


def _section(section: Section, level: int) -> str:
    heading = element(f"h{level}", escape(section.heading), id=f"{section.name}-heading")
    body = f"\n{heading}\n{section.body}\n"
    return element("section", body, id=section.name, aria_labelledby=f"{section.name}-heading")


def _document(title: str, about: str, sections: Sequence[Section], content: str) -> str:
    entries = "".join(
        element("li", element("a", escape(section.heading), href=f"#{section.name}")) for section in sections
    )
    header = element("h1", escape(title)) + (element("p", escape(about), class_="subject") if about else "")
    words = f"{title}: {about}" if about else title
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        element("title", escape(words)),
        element("style", f"\n{_part('style.css')}"),
        "</head>",
        "<body>",
        element("a", "Skip to the answer", href=f"#{sections[0].name}", class_="skip"),
        element("header", header),
        element("nav", element("ul", entries), aria_label="Contents"),
        element("main", f"\n{content}\n"),
        element("footer", element("p", "Made by robust-tickets from the files of the run alone.")),
        element("script", f"\n{_part('sort.js')}"),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _part(name: str) -> str:
    return (resources.files("robust_tickets.report.page") / name).read_text(encoding="utf-8")
