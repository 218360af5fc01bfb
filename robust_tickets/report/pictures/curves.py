"""Validation accuracy against what was spent, and against epochs: each seed's line, and the arms' means."""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.arm_styles import ArmStyle, arm_styles
from robust_tickets.report.candidates import Cost
from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.pictures.picture import Picture, set_title
from robust_tickets.report.read import ArmResult, results
from robust_tickets.report.units import unit
from robust_tickets.runs.directory import RunDirectory

_MARKS = 8
"""About so many markers stand on a line."""

_WIDE = 3.0
"""Where the dearest arm costs more than so many times the median, axes are logarithmic."""

Curve = tuple[list[float], list[dict[str, Any]]]
"""Where the validations of an arm and seed stand on the axis, and their records."""


@styled
def cost_figure(run: RunDirectory) -> Any:
    """Validation accuracy, robust and clean, against FLOPs, and against seconds where they are known."""
    by_arm = results(run)
    panels: dict[str, dict[str, list[Curve]]] = {}
    costs: list[Cost] = ["flops", "seconds"] if _seconds_are_known(by_arm) else ["flops"]
    for cost in costs:
        curves = {arm: [_curve(result, cost) for result in seeds] for arm, seeds in by_arm.items()}
        scale, name = unit(cost, max(xs[-1] for seeds in curves.values() for xs, _ in seeds))
        panels[f"{name} spent, search or first stage included"] = {
            arm: [([x / scale for x in xs], points) for xs, points in seeds] for arm, seeds in curves.items()
        }
    heading = "Validation accuracy against cost"
    return _figure(run, panels, heading, logarithmic=any(map(_is_wide, panels.values())))


@styled
def epoch_figure(run: RunDirectory) -> Any:
    """The same accuracies against the epochs of the arms' own trainings."""
    curves = {
        arm: [([point["epoch"] for point in result.curve], result.curve) for result in seeds]
        for arm, seeds in results(run).items()
    }
    return _figure(
        run, {"epochs trained, without the search or first stage": curves}, "Validation accuracy by epoch"
    )


def _figure(
    run: RunDirectory, panels: dict[str, dict[str, list[Curve]]], heading: str, logarithmic: bool = False
) -> Any:
    """Two rows of panels; panels: the curves of each arm's seeds by the label of the axis."""
    styles = arm_styles(run.recipe.compare.arms)
    legend_rows = -(-len(styles) // 4)
    across = len(panels) > 1
    figure = new_figure(9, (6.2 if across else 3.6) + 0.2 * legend_rows)
    shape = (2, len(panels)) if across else (1, 2)
    axes = figure.subplots(*shape, squeeze=False, sharey="row" if across else False)
    for row, kind in enumerate(("robust", "clean")):
        for column, (label, curves) in enumerate(panels.items()):
            ax = axes[row, column] if across else axes[0, row]
            for arm, seeds in curves.items():
                _draw_arm(ax, arm, styles[arm], seeds, f"val_{kind}")
            if column == 0:
                attack = f"PGD-{run.recipe.evaluate.val_steps}" if kind == "robust" else "no attack"
                ax.set_ylabel(f"{kind} accuracy ({attack}), %")
            if row == 1 or not across:
                ax.set_xlabel(label)
            if logarithmic:
                _set_scale(ax)
    legend_below(figure)
    set_title(figure, run, f"{heading} ({run.recipe.data.val_images:,} images)")
    return figure


def _is_wide(curves: dict[str, list[Curve]]) -> bool:
    """Whether one arm would squeeze the others on a linear axis, and none begins at zero."""
    ends = [xs[-1] for seeds in curves.values() for xs, _ in seeds]
    starts = [xs[0] for seeds in curves.values() for xs, _ in seeds]
    return min(starts) > 0 and max(ends) > _WIDE * median(ends)


def _set_scale(ax: Any) -> None:
    """Make the axis logarithmic, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _draw_arm(ax: Any, arm: str, style: ArmStyle, seeds: Sequence[Curve], key: str) -> None:
    """Draw a thin line for each seed, and their mean; of an arm that is another one cut short, the ends."""
    lines = [(xs, [100 * point[key] for point in points]) for xs, points in seeds]
    line: dict[str, Any] = {"color": style.colour, "linestyle": style.dash}
    marks = {"marker": style.marker, "markerfacecolor": style.face, "markeredgewidth": 0.8}
    if ARMS[arm].best_epoch_of:
        ends = [(xs[-1], ys[-1]) for xs, ys in lines]
        for x, y in ends if len(ends) > 1 else []:
            ax.plot([x], [y], **line, **marks, markersize=3, alpha=0.45)
        x, y = (mean(values) for values in zip(*ends, strict=True))
        ax.plot([x], [y], **line, **marks, markersize=7, label=arm, zorder=3)
        return
    if len(lines) > 1:
        for xs, ys in lines:
            ax.plot(xs, ys, **line, linewidth=0.7, alpha=0.45)
    # as far as all of them go: searches that end early differ in length
    xs, ys = ([mean(values) for values in zip(*parts, strict=False)] for parts in zip(*lines, strict=True))
    every = -(-len(xs) // _MARKS)
    ax.plot(xs, ys, **line, **marks, linewidth=1.6, markersize=4.5, markevery=every, label=arm)


def _curve(result: ArmResult, cost: Cost) -> Curve:
    """The validations of an arm by what was spent until then; seconds are known at ends of epochs alone."""
    before = result.before[f"charged_{cost}"] if result.before else 0.0
    if cost == "flops":
        return [before + point["flops"] for point in result.curve], result.curve
    start = [point for point in result.points if point["step"] == 0]
    seconds = [0.0] * len(start) + list(result.ledger["epoch_seconds"])[: len(result.history)]
    return [before + spent for spent in seconds], [*start, *result.history]


def _seconds_are_known(by_arm: dict[str, list[ArmResult]]) -> bool:
    """Whether the ledgers of all arms have the seconds at each epoch's end."""
    all_results = [result for seeds in by_arm.values() for result in seeds]
    return all(len(result.ledger.get("epoch_seconds", [])) >= len(result.history) for result in all_results)


def _cost_caption(run: RunDirectory) -> str:
    text = "Thick lines are means over seeds, thin ones single seeds; an arm begins where its search ended."
    if not _seconds_are_known(results(run)):
        text += " Seconds are left out, as the ledgers do not have those of each epoch."
    return text


CURVES = Picture("curves", "Accuracy against cost", _cost_caption, cost_figure)
EPOCHS = Picture(
    "epochs",
    "Accuracy by epoch",
    lambda run: "Thick lines are means over seeds, thin ones single seeds; the search is not on this axis.",
    epoch_figure,
)
