"""The timing table for people: heads of columns, and texts in percent, seconds and ratios."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE
from robust_tickets.report.judge import TITLES
from robust_tickets.report.marks import SECTION, seconds_marks


def titled_cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The heads of the columns, and a row of texts an arm.

    The last epoch comes first; beside it the best epoch, and averaged weights where an arm has them, each
    under AutoAttack where it was run.
    """
    columns: dict[str, list[str]] = {}

    def add(title: str, text: Callable[[Any], str]) -> None:
        columns[title] = [text(row) for row in table.itertuples()]

    add("arm", lambda row: str(row.arm))
    add("epochs", lambda row: f"{row.epochs:.4g}")
    add("weights kept", lambda row: f"{row.density:.0%}")
    add("clean %", lambda row: _percent(row, "clean_last"))
    add("PGD-20 %", lambda row: _percent(row, "pgd20_last"))
    if has_autoattack(table):
        whole = table.aa_last_added.notna().all()
        add(f"{TITLES[AA_WHOLE if whole else AA_PAIR]} %", lambda row: _percent_between(row, "aa_last"))
    if table.aa_best_mean.notna().any():
        add("AA best %", lambda row: _percent(row, "aa_best") + whole_mark(row.aa_best_added))
    else:
        add("PGD-20 best %", lambda row: _percent(row, "pgd20"))
    if table.aa_average_mean.notna().any():
        add("AA average %", lambda row: _percent_between(row, "aa_average"))
    elif table.pgd20_average_mean.notna().any():
        add("PGD-20 average %", lambda row: _percent(row, "pgd20_average"))
    attack = "AA" if has_autoattack(table) else "PGD-20"
    add(f"{attack} - dense, points", lambda row: f"{100 * row.robust_vs_dense:+.1f}")
    dense_disturbed = bool(table[table.arm == "dense"].disturbed.any())
    add("search s", lambda row: _seconds(row.search_s) + seconds_marks(1, row.machines, row.disturbed))
    add("train s", lambda row: _seconds(row.train_s) + seconds_marks(1, row.machines, row.disturbed))
    add("total s", lambda row: _seconds(row.total_s) + seconds_marks(row.jobs, row.machines, row.disturbed))
    add(
        "seconds / dense",
        lambda row: (
            f"{row.seconds_vs_dense:.2f}"
            + seconds_marks(row.jobs, row.machines, row.disturbed or dense_disturbed)
        ),
    )
    add("FLOPs / dense", lambda row: f"{row.flops_vs_dense:.2f}")
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def has_autoattack(table: pd.DataFrame) -> bool:
    """Whether AutoAttack was run."""
    return bool(table.aa_last_mean.notna().any())


def whole_mark(added: float) -> str:
    """The mark of an accuracy under the whole of AutoAttack; added: by its last two members, or NaN."""
    return "" if pd.isna(added) else SECTION


def _percent(row: Any, column: str) -> str:
    """A mean and its standard deviation, such as "38.2 ± 0.3"; "-" where there is none."""
    mean, sd = getattr(row, f"{column}_mean"), getattr(row, f"{column}_sd")
    if pd.isna(mean):
        return "-"
    return f"{100 * mean:.1f}" if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}"


def _percent_between(row: Any, column: str) -> str:
    """A mean and its interval, such as "38.2 (37.1 to 39.3)", with its mark; "-" where there is none."""
    mean, low, high = (getattr(row, f"{column}_{figure}") for figure in ("mean", "low", "high"))
    if pd.isna(mean):
        return "-"
    mark = whole_mark(getattr(row, f"{column}_added"))
    return f"{100 * mean:.1f}{mark} ({100 * low:.1f} to {100 * high:.1f})"


def _seconds(seconds: float) -> str:
    """Whole seconds, and tenths where there are fewer than ten."""
    return f"{seconds:.1f}" if 0 < seconds < 9.95 else f"{seconds:,.0f}"
