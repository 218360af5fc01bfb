"""The plot of a frontier: robust accuracy over FLOPs and over seconds."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean
from typing import Any

from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.arm_styles import arm_styles
from robust_tickets.report.candidates import Candidate, Cost, Frontier
from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.frontier import front
from robust_tickets.report.labels import Box, draw_labels
from robust_tickets.report.units import unit

_MARKERS = {"whole": "o", "ticket": "^", "narrow": "s", "random": "D"}
_WIDE = 8.0
"""Costs that differ by more than this factor have a logarithmic axis."""
_FAINT = 0.45
_MANY = 16
"""Of more candidates, points of other weights than the judge's are named on the front alone."""


@styled
def frontier_figure(frontier: Frontier, target: float = 0.0) -> Any:
    """Draw the frontier: a small point a seed, a large one at an arm's mean, the fronts as staircases.

    Arms that another one dominates are faint. Points of averaged or best weights are hollow. Where no arm has
    seconds that count, as on a busy machine, they have no panel. The same results give the same bytes.

    target: a robust accuracy that is drawn as a line; 0: none.
    """
    known: list[Cost] = ["flops", "seconds"] if frontier.points("seconds") else ["flops"]
    figure = new_figure(10 if len(known) > 1 else 6.5, 5.4)
    axes = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for ax, cost in zip(axes, known, strict=True):
        _set_axis(ax, frontier, cost)
        if target:
            ax.axhline(100 * target, color="#000000", linewidth=0.7, linestyle=":")
        for candidate in frontier.by_cost(cost):
            _draw_points(ax, frontier, candidate, cost)
        ax.margins(x=0.12, y=0.1)
    axes[0].set_ylabel(f"accuracy under {frontier.judge.title} on {frontier.images:,} test images, %")
    legend_below(figure, _legend(frontier, target), columns=3 * len(known))
    figure.suptitle(f"Cost and robust accuracy\n{frontier.title}", fontsize=10)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed in pixels: nothing may move after this
    for ax, cost in zip(axes, known, strict=True):
        ax.autoscale(False)
        stairs = _stairs(ax, frontier, cost)
        ax.plot(*zip(*stairs, strict=True), color="#000000", linewidth=1, alpha=0.6, zorder=1)
        lines = [(*one, *other) for one, other in pairwise(stairs)]  # a stair goes up or right
        if target:
            lines.append((ax.get_xlim()[0], 100 * target, ax.get_xlim()[1], 100 * target))
        _write_names(ax, frontier, cost, lines)
    return figure


def _set_axis(ax: Any, frontier: Frontier, cost: Cost) -> None:
    """Label the axis of a cost, and make it logarithmic where the costs differ widely."""
    means = [point[0] for point in frontier.points(cost).values()]
    ax.set_xlabel(f"{_unit(frontier, cost)[1]}, search or first stage included")
    if means and min(means) > 0 and max(means) / min(means) > _WIDE:
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(means) / min(means) < 100 else (1,)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())


def _unit(frontier: Frontier, cost: Cost) -> tuple[float, str]:
    """The largest unit of which the dearest arm takes at least two."""
    return unit(cost, max((point[0] for point in frontier.points(cost).values()), default=0.0))


def _draw_points(ax: Any, frontier: Frontier, candidate: Candidate, cost: Cost) -> None:
    scale = _unit(frontier, cost)[0]
    colour = _colour(frontier, candidate.name)
    alpha = 1.0 if candidate.name in front(frontier.contenders(cost)) else _FAINT
    marker = _MARKERS[ARMS[candidate.arm].network]
    xs, ys = [x / scale for x in candidate.cost(cost)], [100 * y for y in candidate.robust]
    if len(xs) > 1:
        ax.plot(xs, ys, marker, color=colour, markersize=3, alpha=alpha * 0.7, markeredgewidth=0)
    face = colour if candidate.weights == frontier.judge.checkpoint else "#FFFFFF"
    ax.plot(
        [mean(xs)],
        [mean(ys)],
        marker,
        markersize=8,
        markerfacecolor=face,
        markeredgecolor=colour,
        markeredgewidth=1.4,
        alpha=alpha,
        zorder=3,
    )


def _stairs(ax: Any, frontier: Frontier, cost: Cost) -> list[tuple[float, float]]:
    """The corners of the front as a staircase: the best accuracy that a cost has bought, edge to edge."""
    points, scale = frontier.contenders(cost), _unit(frontier, cost)[0]
    corners, accuracy = [], ax.get_ylim()[0]
    for name in front(points):
        x, y = points[name][0] / scale, 100 * points[name][1]
        corners += [(x, accuracy), (x, y)]
        accuracy = y
    return [*corners, (ax.get_xlim()[1], accuracy)] if corners else []


def _write_names(ax: Any, frontier: Frontier, cost: Cost, lines: Sequence[Box]) -> None:
    """Write the names beside the means, clear of the points of seeds and of lines, given as thin boxes."""
    points, scale = frontier.points(cost), _unit(frontier, cost)[0]
    on_front = front(frontier.contenders(cost))
    others = [name for name in points if name not in on_front]
    if len(points) > _MANY:  # colours tell whose averaged weights a hollow point is
        others = [name for name in others if frontier[name].weights == frontier.judge.checkpoint]
    names = [*on_front, *others]
    styles = [
        {
            "color": _dark(_colour(frontier, name)),
            "fontsize": 8,
            "fontweight": "bold" if name in on_front else "normal",
        }
        for name in names
    ]
    seeds = [
        (x / scale, 100 * y, x / scale, 100 * y)
        for name in points
        for x, y in zip(frontier[name].cost(cost), frontier[name].robust, strict=True)
    ]
    means = [(points[name][0] / scale, 100 * points[name][1]) for name in names]
    draw_labels(ax, names, means, styles, [*lines, *seeds])


def _colour(frontier: Frontier, name: str) -> str:
    """The colour of a candidate's arm."""
    return arm_styles(each.arm for each in frontier.candidates)[frontier[name].arm].colour


def _dark(colour: str) -> str:
    """The colour, darkened where a text in it is too light to be read on white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    brightness = sum(weight * part for weight, part in zip((0.3, 0.6, 0.1), parts, strict=True))
    share = min(1.0, 105 / max(brightness, 1))
    return "#" + "".join(f"{round(share * part):02X}" for part in parts)


def _legend(frontier: Frontier, target: float) -> list[Any]:
    """What the marks mean, as far as they occur."""
    from matplotlib.lines import Line2D

    networks = {ARMS[candidate.arm].network for candidate in frontier.candidates}
    texts = {
        "whole": "whole network",
        "ticket": "from a ticket",
        "narrow": "narrow network",
        "random": "a mask that moves",
    }
    grey: dict[str, Any] = {"color": "#555555", "linestyle": "none"}
    marks = [
        Line2D([], [], marker=_MARKERS[name], markersize=8, label=text, **grey)
        for name, text in texts.items()
        if name in networks
    ]
    others = {c.weights for c in frontier.candidates} - {frontier.judge.checkpoint}
    if others:
        label = f"hollow: {' or '.join(sorted(others))} weights"
        marks.append(Line2D([], [], marker="o", markersize=8, markerfacecolor="#FFFFFF", label=label, **grey))
    if len(frontier.seeds) > 1:
        marks.append(Line2D([], [], marker="o", markersize=3, label="a seed", **grey))
    marks.append(Line2D([], [], color="#000000", linewidth=1, alpha=0.6, label="Pareto front of the means"))
    if target:
        label = f"target, {100 * target:g} %"
        marks.append(Line2D([], [], color="#000000", linewidth=0.7, linestyle=":", label=label))
    return marks
