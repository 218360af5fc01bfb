"""The contrasts that a recipe names, tested together: in the text under its table, and as CSV."""

from collections.abc import Mapping, Sequence
from statistics import mean

import pandas as pd

from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.contrasts import WantedContrast
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.corrected import Tested, judge
from robust_tickets.report.judge import judge as judge_of
from robust_tickets.report.read import ArmResult, results
from robust_tickets.report.verdict import LEAST_SEEDS, interval
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text

Results = Mapping[str, Sequence[ArmResult]]


def contrasts_note(by_arm: Results, recipe: Recipe) -> str:
    """What came of the contrasts of a recipe, in one paragraph; empty where it names none."""
    tested = judged_contrasts(by_arm, recipe)
    if not tested:
        return ""
    n = len(tested)
    corrected = f", p-values corrected for {n} (Holm)" if n > 1 else ""
    epoch = f"after the last epoch{_best_epochs(recipe)}"
    head = f"**Contrasts of the recipe**, by {_figure(recipe, by_arm)} {epoch}{corrected}."
    return f"{head} {'; '.join(map(str, tested))}."


def contrasts_csv(run: RunDirectory) -> str:
    """The contrasts of a run's recipe as CSV, one a row: means and bounds are fractions."""
    by_arm = results(run)
    wanted = run.recipe.compare.wanted_contrasts
    rows = []
    for contrast, tested in zip(wanted, judged_contrasts(by_arm, run.recipe), strict=True):
        enough = len(tested.differences) >= LEAST_SEEDS
        low, high = interval(tested.differences) if enough else (None, None)
        rows.append(
            {
                "first": contrast.first,
                "second": contrast.second,
                "question": contrast.question,
                "seeds": len(tested.differences),
                "mean": mean(tested.differences),
                "low": low,
                "high": high,
                "p_value": tested.p_value if enough else None,
                "corrected": tested.corrected if enough else None,
                "is_shown": tested.is_shown,
            }
        )
    return csv_text(pd.DataFrame(rows), 6)


def judged_contrasts(by_arm: Results, recipe: Recipe) -> list[Tested]:
    """The contrasts of a recipe, tested together on the accuracies that decide, seed by seed."""
    accuracies = _accuracies(by_arm, recipe)

    def differences(contrast: WantedContrast) -> list[float]:
        pairs = zip(accuracies[contrast.first], accuracies[contrast.second], strict=True)
        return [first - second for first, second in pairs]

    wanted = recipe.compare.wanted_contrasts
    return judge([(contrast.label, contrast.question, differences(contrast)) for contrast in wanted])


def _accuracies(by_arm: Results, recipe: Recipe) -> dict[str, list[float]]:
    """The accuracy of each arm and seed after the last epoch: robust, or clean where that selects."""
    if recipe.evaluate.select_by == "clean":
        return {arm: [result.accuracy["last", "clean"] for result in seeds] for arm, seeds in by_arm.items()}
    own_judge = judge_of(by_arm, recipe)
    return {arm: [own_judge.accuracy(result) for result in seeds] for arm, seeds in by_arm.items()}


def _best_epochs(recipe: Recipe) -> str:
    """The arms of contrasts that have the best epoch instead, in brackets; empty where there is none."""
    arms = [arm for each in recipe.compare.wanted_contrasts for arm in (each.first, each.second)]
    best = [f"`{arm}`" for arm in dict.fromkeys(arms) if ARMS[arm].best_epoch_of]
    return f" ({', '.join(best)}: of the best)" if best else ""


def _figure(recipe: Recipe, by_arm: Results) -> str:
    """What decides, in words."""
    if recipe.evaluate.select_by == "clean":
        return "clean accuracy (the other sentences here are on robust accuracy)"
    return f"accuracy under {judge_of(by_arm, recipe).title}"
