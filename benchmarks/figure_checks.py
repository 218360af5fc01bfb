"""Whether the figures of an experiment are real: sanity checks, PGD beside AutoAttack, the adaptive look."""

from collections.abc import Iterator

import pandas as pd

from benchmarks.adaptive_look import LARGEST_DROP, drop
from benchmarks.experiments import Experiment
from robust_tickets.report.tables import timing
from robust_tickets.report.trust import sanity_reports
from robust_tickets.runs.directory import RunDirectory


def doubtful_rows(part: Experiment) -> dict[str, str]:
    """The rows that are not to be believed, by name, with what was found."""
    found: dict[str, str] = {}
    for run in _runs(part):
        for arm, place, reports in sanity_reports(run):
            for check in (check for report in reports for check in report.checks if not check.passed):
                where = f"{run.path.name}, {place}" if part.study else place
                found.setdefault(arm, f"{where}: {check.finding}: {check.figure}")
    look = _look(part)
    if look is not None and drop(look) > LARGEST_DROP:
        found.setdefault(look.arm.iloc[0], f"the adaptive look takes {100 * drop(look):.1f} points")
    return found


def figure_lines(part: Experiment) -> Iterator[str]:
    """What the checks found, in a few sentences."""
    runs = _runs(part)
    checkpoints = sum(bool(reports) for run in runs for _, _, reports in sanity_reports(run))
    tables = pd.concat([timing(run) for run in runs], ignore_index=True).dropna(subset="pgd20_minus_aa")
    smallest, largest = (tables.loc[place] for place in tables.pgd20_minus_aa.agg(["idxmin", "idxmax"]))
    doubtful = doubtful_rows(part)
    verdict = "; ".join(f"`{arm}` ({why})" for arm, why in doubtful.items())
    yield f"Sanity checks of {checkpoints} checkpoints. Rows not to be believed: {verdict or 'none'}."
    yield (
        "Of the same images, APGD-CE and APGD-T find fewer robust than PGD-20 does: by "
        f"{100 * smallest.pgd20_minus_aa:.1f} points (`{smallest.arm}`) to "
        f"{100 * largest.pgd20_minus_aa:.1f} (`{largest.arm}`), means over seeds."
    )
    if any(piece.startswith("look") for piece in part.pieces()):
        yield "The adaptive look has not been taken yet."
    look = _look(part)
    if look is not None:
        arm, seed, table = look.arm.iloc[0], look.seed.iloc[0], look.table.iloc[0]
        lowest = [f"{100 * rows.accuracy.min():.1f} % on `{net}`" for net, rows in look.groupby("attacked")]
        yield (
            f"Adaptive look at `{arm}`, seed {seed}, which has {100 * table:.1f} % in the table: APGD-CE and "
            f"APGD-T, attacked on the network itself with five starts or on another: {', '.join(lowest)}."
        )


def _runs(part: Experiment) -> list[RunDirectory]:
    """The run directories of a part: one, or those of a study."""
    return (
        [RunDirectory.open(path) for path in RunDirectory.paths(part.run)]
        if part.study
        else [RunDirectory.open(part.run)]
    )


def _look(part: Experiment) -> pd.DataFrame | None:
    return pd.read_csv(part.look_file) if part.look_file.is_file() else None
