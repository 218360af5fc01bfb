"""What `compare` prints at its end: the verdict, a table of at most 100 columns, and where the rest is."""

import textwrap

from robust_tickets.report.chance import chance_note
from robust_tickets.report.conditions import conditions, conditions_note
from robust_tickets.report.contrasts import contrasts_note
from robust_tickets.report.frontier_answers import Question, answers
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.judge import TITLES
from robust_tickets.report.marks import DAGGER, DOUBLE_DAGGER, PILCROW, seconds_marks
from robust_tickets.report.notes import tuning_note
from robust_tickets.report.read import heading, left_out_note, results
from robust_tickets.report.tables import timing
from robust_tickets.report.trust import sanity_note, warnings_note
from robust_tickets.report.verdict import verdict
from robust_tickets.runs.directory import RunDirectory

WIDTH = 100
"""Columns of a terminal that texts and tables fit in."""

_ARM_WIDTH = 30  # of the longest name that is shown whole


def summary(run: RunDirectory) -> str:
    """The end of a comparison in a few lines. Raises InputError if no seed is complete."""
    by_arm = results(run)
    texts = [
        heading(run),
        verdict(by_arm, run.recipe, len(run.machines())),
        contrasts_note(by_arm, run.recipe),
        chance_note(by_arm, run.recipe),
        _table(run),
        *answers(read_frontier([run]), Question()),
        tuning_note(run),
        warnings_note(run),
        sanity_note(run),
        left_out_note(run),
        *_notes_of_marks(run, max(result.jobs for seeds in by_arm.values() for result in seeds)),
        conditions_note(conditions(by_arm), PILCROW),
        f"All figures, notes and pictures: {run.page}",
    ]
    return "\n\n".join(text if "\n" in text else _wrapped(text) for text in texts if text)


def _notes_of_marks(run: RunDirectory, jobs: int) -> list[str]:
    """What the marks of seconds say."""
    return [
        f"{DAGGER} Taken while up to {jobs} jobs ran at a time." if jobs > 1 else "",
        f"{DOUBLE_DAGGER} Of several machines: seconds cannot be compared, FLOPs can."
        if len(run.machines()) > 1
        else "",
    ]


def _wrapped(text: str) -> str:
    plain = text.replace("**", "").replace("`", "")
    return textwrap.fill(plain, WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(run: RunDirectory) -> str:
    """The columns that decide, aligned."""
    table = timing(run)
    dense_disturbed = bool(table[table.arm == "dense"].disturbed.any())
    rows = [["arm", "epochs", "kept", "clean %", "robust %", "- dense", "FLOPs", "seconds"]]
    for row in table.itertuples():
        marks = seconds_marks(row.jobs, row.machines, row.disturbed or dense_disturbed)
        rows.append(
            [
                textwrap.shorten(str(row.arm), _ARM_WIDTH, placeholder="..."),
                f"{row.epochs:.4g}",
                f"{row.density:.0%}",
                f"{100 * row.clean_last_mean:.1f}",
                f"{100 * row.robust_mean:.1f}",
                f"{100 * row.robust_vs_dense:+.1f}",
                f"{row.flops_vs_dense:.2f}",
                f"{row.seconds_vs_dense:.2f}{marks}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row)) for row in rows
    ]
    attack = TITLES[table.judge.iloc[0]]
    about = f"Last epoch; robust: {attack}; FLOPs and seconds: of dense's, search included."
    return "\n".join([lines[0], "-" * len(lines[0]), *(line.rstrip() for line in lines[1:]), about])
