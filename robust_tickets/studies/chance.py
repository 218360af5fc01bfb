"""Which arms of a study are no better than a network that gives one class whatever the image."""

import pandas as pd

from robust_tickets.recipe.fields import Evaluate
from robust_tickets.report.boosting import aa_columns, end_title, first_end
from robust_tickets.report.chance import reach_of_one_class, share_of_one_class
from robust_tickets.report.read import ArmResult

ONE_CLASS = "one_class"
"""Column of a study: the accuracy that one class for all images reaches with luck."""


def one_class_accuracy(result: ArmResult, evaluate: Evaluate) -> float:
    """The value of the column, on the test images that decide."""
    _, column = first_end(evaluate)
    judged = evaluate.aa_images if column in aa_columns(evaluate) else evaluate.images
    return reach_of_one_class(share_of_one_class(result), judged or int(result.about["test_images"]))


def chance_paragraph(rows: pd.DataFrame, evaluate: Evaluate) -> str:
    """Which arms of which settings are at chance; empty where none is.

    rows: of a study.
    """
    checkpoint, column = first_end(evaluate)
    means = rows.groupby(["setting", "arm"], sort=False)[[column, ONE_CLASS]].mean()
    at_chance = means[means[column] <= means[ONE_CLASS]]
    if at_chance.empty:
        return ""
    names = [f"`{arm}` at {setting}" for setting, arm in at_chance.index]
    natural = evaluate.select_by == "clean"
    better = "more accurate" if natural else f"more robust ({end_title(evaluate)})"
    return (
        f"**At chance, {checkpoint} epoch.** {', '.join(names)}: no {better} than one class for all images, "
        f"which reaches {100 * at_chance[ONE_CLASS].max():.1f} % with luck. A contrast with "
        f"{'it' if len(names) == 1 else 'them'} is one with chance."
    )
