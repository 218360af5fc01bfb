"""How far the mask of a search still moves from epoch to epoch."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.pictures.picture import Picture, set_title
from robust_tickets.report.pictures.searches import searches, seed_colour
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory

_KEY = "mask_distances"


def mask_distances(run: RunDirectory, seed: int) -> list[list[tuple[int, list[float]]]]:
    """The records of each round: the epoch of the search, and the distances to the masks before it.

    The distances are to the masks one, two, three and four epochs ago, as far as the round has had them.
    """
    file = run.search(seed).metrics
    history = files.read_jsonl(file) if file.is_file() else []
    numbered = [(epoch, record) for epoch, record in enumerate(history, 1)]
    rounds = groupby(numbered, key=lambda pair: pair[1].get("round", 1))
    return [[(epoch, list(record.get(_KEY, []))) for epoch, record in part] for _, part in rounds]


@styled
def mask_figure(run: RunDirectory) -> Any:
    """A line a seed and round: to the mask of one epoch ago, and to the farthest of the last four."""
    figure = new_figure(9, 3.9)
    ax = figure.subplots()
    ends: set[int] = set()
    for number, seed in enumerate(searches(run)):
        rounds = mask_distances(run, seed)
        ends |= {part[-1][0] for part in rounds[:-1]}
        for place, part in enumerate(rounds):
            own = [(epoch, distances) for epoch, distances in part if distances]
            look = seed_colour(number)
            name = f"seed {seed}" if place == 0 else None
            _draw(ax, own, lambda distances: distances[0], "-", look, name and f"{name}, one epoch ago")
            _draw(ax, own, max, (0, (3, 2)), look, name and f"{name}, farthest of the last four")
    for end in ends:
        ax.axvline(end + 0.5, color="#000000", linewidth=0.7, linestyle=":")
    if ends:
        ax.plot([], [], color="#000000", linewidth=0.7, linestyle=":", label="a round ends")
    threshold = run.recipe.search.stop_distance
    if threshold:
        ax.axhline(threshold, color="#000000", linewidth=0.9, label=f"a round may end below {threshold:g}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("epoch of the search")
    ax.set_ylabel("Jaccard distance of masks")
    legend_below(figure, ax.get_legend_handles_labels()[0], columns=2)
    set_title(figure, run, "How far the mask still moves during the search")
    return figure


def _draw(
    ax: Any,
    records: Sequence[tuple[int, list[float]]],
    distance: Any,
    dash: Any,
    look: dict[str, str],
    label: str | None,
) -> None:
    """Draw a line of a round; label: for its legend, None: it has one already."""
    xs, ys = [epoch for epoch, _ in records], [distance(distances) for _, distances in records]
    ax.plot(xs, ys, linestyle=dash, markersize=4, linewidth=1.4, **look, label=label)


def _missing(run: RunDirectory) -> str:
    seeds = searches(run)
    if not seeds:
        return "No arm has a ticket."
    if not any(distances for seed in seeds for part in mask_distances(run, seed) for _, distances in part):
        return (
            "The searches have no distances between masks: their rounds have fewer than two epochs, or their "
            "pruning method finds its mask at once."
        )
    return ""


MASK_DISTANCE = Picture(
    "mask-distance",
    "Mask distance over the search",
    lambda run: (
        "Zero where pruning now would keep the same weights as one epoch ago, one where none of them."
    ),
    mask_figure,
    _missing,
)
