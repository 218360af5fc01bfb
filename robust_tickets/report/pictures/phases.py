"""Where the cost of each arm goes: its seconds and FLOPs by phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from robust_tickets.base.ledger import PHASES
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.candidates import Cost
from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.pictures.picture import Picture, set_title
from robust_tickets.report.read import ArmResult, results
from robust_tickets.report.units import unit
from robust_tickets.runs.directory import RunDirectory

_BEFORE = "search or first stage"


@dataclass(frozen=True)
class _Part:
    """A part of a bar: its phases in the ledger, its colour, and its hatching, for print in grey."""

    label: str
    phases: tuple[str, ...]
    colour: str
    hatch: str = ""


_PARTS = (
    _Part(_BEFORE, (), "#E8C77E", "//"),
    _Part("attack", ("attack",), "#D55E00"),
    _Part("update", ("update",), "#0072B2", ".."),
    _Part("data", ("data",), "#56B4E9", "\\\\"),
    _Part("average of the weights", ("average",), "#CC79A7", "xx"),
    _Part("compilation, pruning, checkpoints, other", ("prune", "checkpoint", "compile", "other"), "#666666"),
    _Part("not charged: loading and validation", ("load", "validate"), "#FFFFFF", "--"),
)
assert {phase for part in _PARTS for phase in part.phases} == set(PHASES)


@styled
def phases_figure(run: RunDirectory) -> Any:
    """A bar an arm, of means over seeds, beside a point for each seed's charged total."""
    arms = _arms(run)
    figure = new_figure(9, 1.9 + 0.32 * len(arms))
    axes = figure.subplots(1, 2, sharey=True)
    costs: tuple[Cost, ...] = ("seconds", "flops")
    handles: dict[str, Any] = {}
    for ax, cost in zip(axes, costs, strict=True):
        sums = {arm: [_sizes(result, cost) for result in seeds] for arm, seeds in arms.items()}
        scale, name = unit(cost, max(sum(_means(seeds).values()) for seeds in sums.values()))
        for place, (arm, seeds) in enumerate(sums.items()):
            left = 0.0
            for part in _PARTS:
                size = _means(seeds)[part.label] / scale
                if size:
                    bar = ax.barh(place, size, left=left, height=0.66, **_look(part), label=part.label)
                    handles.setdefault(part.label, bar)
                left += size
            totals = [result.charged(cost) / scale for result in arms[arm]]
            if len(totals) > 1:
                dots = ax.plot(totals, [place] * len(totals), "o", color="#000000", markersize=3, zorder=3)
                dots[0].set_label("charged, by seed")
                handles.setdefault("charged, by seed", dots[0])
        ax.set_xlabel(name)
        ax.set_xlim(left=0)
    axes[0].set_yticks(range(len(arms)), list(arms))
    axes[0].invert_yaxis()
    order = [*(part.label for part in _PARTS), "charged, by seed"]
    legend_below(figure, [handles[label] for label in order if label in handles], columns=3)
    set_title(figure, run, "Where the cost of a training goes")
    return figure


def _look(part: _Part) -> dict[str, str]:
    """Colours of a part, as matplotlib's `Axes.barh` has them."""
    dark = part.colour in ("#D55E00", "#0072B2", "#666666")
    return {
        "facecolor": part.colour,
        "hatch": part.hatch,
        "edgecolor": "#FFFFFF" if dark else "#555555",
        "linewidth": "0.5",
    }


def _sizes(result: ArmResult, cost: Cost) -> dict[str, float]:
    """What each part of an arm's bar took."""
    by_phase: Mapping[str, float] = result.ledger[cost]
    sizes = {part.label: sum(by_phase.get(phase, 0.0) for phase in part.phases) for part in _PARTS}
    sizes[_BEFORE] = result.before[f"charged_{cost}"] if result.before else 0.0
    return sizes


def _means(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {part.label: mean(sizes[part.label] for sizes in seeds) for part in _PARTS}


def _arms(run: RunDirectory) -> dict[str, list[ArmResult]]:
    """The results of the arms that have a training of their own."""
    return {arm: seeds for arm, seeds in results(run).items() if ARMS[arm].is_trained}


def _missing(run: RunDirectory) -> str:
    for arm, seeds in _arms(run).items():
        if not all(isinstance(seed.ledger.get(key), dict) for seed in seeds for key in ("seconds", "flops")):
            return f"The ledgers of `{arm}` do not have seconds and FLOPs by phase."
    return ""


PHASES_PICTURE = Picture(
    "phases",
    "Where the cost goes",
    lambda run: (
        "Means over seeds of what each phase of a training took, with the search or first stage as one part."
    ),
    phases_figure,
    _missing,
)
