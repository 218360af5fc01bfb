"""Whether the figures of an experiment are real: sanity checks, PGD beside AutoAttack, the adaptive look."""

from collections.abc import Iterator
from statistics import mean

import pandas as pd

from benchmarks.adaptive_look import LARGEST, loss
from benchmarks.experiments import Experiment
from robust_tickets.evaluation.attack_sets import PGD_BESIDE_AA
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.claims import points
from robust_tickets.report.judge import judge
from robust_tickets.report.read import results
from robust_tickets.report.trust import sanity_reports
from robust_tickets.runs.directory import RunDirectory


def doubtful_rows(part: Experiment) -> dict[str, str]:
    """The rows that are not to be believed, by name, with what was found."""
    found: dict[str, str] = {}
    for run in _runs(part):
        for arm, place, reports in sanity_reports(run):
            for check in (check for report in reports for check in report.checks if not check.passed):
                found.setdefault(arm, f"{place}: {check.finding}: {check.figure}")
    look = _look(part)
    if look is not None and loss(look) > LARGEST:
        found.setdefault(look.arm.iloc[0], f"the adaptive look takes {points(loss(look))} points")
    return found


def figure_lines(part: Experiment) -> Iterator[str]:
    """What the checks found, in a few sentences."""
    checkpoints, gaps = 0, []
    for run in _runs(part):
        checkpoints += sum(bool(reports) for _, _, reports in sanity_reports(run))
        by_arm = results(run)
        yardstick = judge(by_arm, run.recipe)
        for arm, rows in by_arm.items():
            if not ARMS[arm].best_epoch_of:
                gap = mean(row.accuracy["last", PGD_BESIDE_AA] - yardstick.accuracy(row) for row in rows)
                gaps.append((gap, arm))
    doubtful = doubtful_rows(part)
    verdict = "; ".join(f"`{arm}` ({why})" for arm, why in doubtful.items())
    yield f"Sanity checks of {checkpoints} checkpoints. Rows not to be believed: {verdict or 'none'}."
    (low, first), (high, last) = min(gaps), max(gaps)
    yield (
        "AutoAttack finds fewer images robust than PGD-20 does, of the same ones: by "
        f"{100 * low:.1f} points (`{first}`) to {100 * high:.1f} (`{last}`), means over seeds."
    )
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
