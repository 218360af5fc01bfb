"""Robust accuracy of the arms over eps, where they were attacked at several."""

from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Any

from robust_tickets.evaluation import robustness_csv
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Threat
from robust_tickets.report.arm_styles import arm_styles
from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.pictures.picture import Picture, set_title
from robust_tickets.report.read import complete_seeds
from robust_tickets.runs.directory import RunDirectory

ATTACK = "pgd-20"
_CHECKPOINT = "last"


def accuracies_over_eps(run: RunDirectory) -> dict[str, list[dict[Eps, float]]]:
    """Each arm's accuracy under PGD-20 by eps, of its last epoch, a seed each; arms at one eps are left out.

    Rows at an eps count where they are on as many test images as those at the recipe's.
    """
    curves = {}
    for arm in run.recipe.compare.trained:
        seeds = [_by_eps(run, seed, arm) for seed in complete_seeds(run)]
        common = set.intersection(*(set(seed) for seed in seeds)) if seeds else set()
        if len(common) > 1:
            order = sorted(common, key=lambda eps: eps.value)
            curves[arm] = [{eps: seed[eps] for eps in order} for seed in seeds]
    return curves


def _by_eps(run: RunDirectory, seed: int, arm: str) -> dict[Eps, float]:
    file = run.arm(seed, arm).robustness
    return _accuracies(file, robustness_csv.read_content(file), run.recipe.threat)


@lru_cache(maxsize=1024)  # a report asks for them several times
def _accuracies(file: Path, content: bytes | None, threat: Threat) -> dict[Eps, float]:
    rows = robustness_csv.parse_rows(file, content)
    rows = rows[(rows.split == "test") & (rows.seed == 0) & (rows.source == "")]
    rows = rows[(rows.checkpoint == _CHECKPOINT) & (rows.attack == ATTACK)]
    rows = rows[rows.norm == threat.norm]
    images = set(rows[rows.eps == str(threat.eps)].n)
    return {Eps(row.eps): float(row.accuracy) for row in rows.itertuples() if row.n in images}


@styled
def eps_figure(run: RunDirectory) -> Any:
    """A thin line a seed, a thick one through the means."""
    curves = accuracies_over_eps(run)
    styles = arm_styles(run.recipe.compare.arms)
    figure = new_figure(9, 4.4)
    ax = figure.subplots()
    for arm, seeds in curves.items():
        style, all_eps = styles[arm], list(seeds[0])
        xs = [eps.value for eps in all_eps]
        line: dict[str, Any] = {"color": style.colour, "linestyle": style.dash}
        for seed in seeds if len(seeds) > 1 else []:
            ax.plot(xs, [100 * seed[eps] for eps in all_eps], **line, linewidth=0.7, alpha=0.45)
        ys = [100 * mean(seed[eps] for seed in seeds) for eps in all_eps]
        marks = {"marker": style.marker, "markersize": 4.5, "markerfacecolor": style.face}
        ax.plot(xs, ys, **line, linewidth=1.6, **marks, label=arm)
    ticks = {eps.value: str(eps) for seeds in curves.values() for eps in seeds[0]}
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"eps, {run.recipe.threat.norm}")
    ax.set_ylabel("accuracy under PGD-20, last epoch, %")
    legend_below(figure)
    set_title(figure, run, "Robust accuracy over eps")
    return figure


def _missing(run: RunDirectory) -> str:
    if accuracies_over_eps(run):
        return ""
    return (
        "No arm was attacked at several eps in all seeds. To draw it, run `robust-tickets evaluate "
        "CHECKPOINT --eps 2/255 4/255 8/255` on the arms' `last.safetensors`, on as many images (`--limit`) "
        "as the table's, and make the report again."
    )


OVER_EPS = Picture(
    "over-eps",
    "Robustness over eps",
    lambda run: "Accuracy of the last epoch under PGD-20 whose ball has another radius than in training.",
    eps_figure,
    _missing,
)
