"""What each study claims, and which figures say so."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import pandas as pd

from robust_tickets.report.boosting import end_column
from robust_tickets.report.claims import SAME, Claim, Contrast, contrast

Rows: TypeAlias = pd.DataFrame
"""A row a setting, arm and seed, with the columns of `report.boosting` (fractions)."""

Place = tuple[str, str]
"""A setting and an arm."""

Pair = tuple[str, Place, Place]
"""What a contrast is called, and the two places of which the second is subtracted from the first."""


def _figures(rows: Rows, place: Place, column: str) -> "pd.Series[float]":
    found = rows[(rows.setting == place[0]) & (rows.arm == place[1])]
    return found.set_index("seed")[column]


def _paired(
    rows: Rows, column: str, pairs: Iterable[Pair], claimed: Literal["more", "same"] = "more"
) -> tuple[Contrast, ...]:
    """A contrast a pair, each over the seeds that both have."""
    found = []
    for label, one, other in pairs:
        both = pd.concat(
            [_figures(rows, place, column) for place in (one, other)], axis=1, join="inner"
        ).dropna()
        found.append(contrast(label, list(both.iloc[:, 0]), list(both.iloc[:, 1]), claimed))
    return tuple(found)


def _ends(settings: Sequence[str]) -> tuple[str, str]:
    """The smallest and the largest of settings that are numbers."""
    return min(settings, key=float), max(settings, key=float)


def _dense(rows: Rows) -> str:
    """The dense arm that is on the ticket's schedule."""
    return "dense-short" if "dense-short" in set(rows.arm) else "dense"


_PLATEAU = (0.5, 0.9)
"""Fractions pruned between which Li et al. 2020 (section 3.3) see tickets boost."""


def _lr(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    low, high = _ends(settings)
    pair = (f"ticket of search lr {low} minus that of {high}", (low, "ticket"), (high, "ticket"))
    text = "A small learning rate in the search finds the ticket that converges faster"
    return [Claim(text, _paired(rows, f"early_{metric}", [pair]))]


def _ratio(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    """Of the settings within the plateau that Li et al. 2020 report, or else of all."""
    plateau = [ratio for ratio in settings if _PLATEAU[0] <= float(ratio) <= _PLATEAU[1]]
    dense = _dense(rows)
    pairs = [
        (f"{100 * float(ratio):g} % pruned, ticket minus {dense}", (ratio, "ticket"), (ratio, dense))
        for ratio in plateau or settings
    ]
    where = "half to nine tenths are pruned" if plateau else "it was tried"
    text = f"Tickets converge faster than dense wherever {where}"
    return [Claim(text, _paired(rows, f"early_{metric}", pairs))]


def _width(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    """A contrast of contrasts: what the init is worth at the largest width, less that at the smallest."""
    column = f"early_{metric}"
    low, high = _ends(settings)
    arms = ("ticket", "ticket-reinit")
    table = pd.concat(
        [_figures(rows, (width, arm), column) for width in (high, low) for arm in arms], axis=1, join="inner"
    ).dropna()
    wide, narrow = (table.iloc[:, i] - table.iloc[:, i + 1] for i in (0, 2))
    label = f"ticket minus ticket-reinit at width {high}, minus the same at {low}"
    text = "The init is worth more to the ticket of a wide net than to that of a narrow one"
    return [Claim(text, (contrast(label, list(wide), list(narrow)),))]


def _mask_source(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    base, *others = settings
    pairs = [
        (f"ticket of a search by {other} minus that by {base}", (other, "ticket"), (base, "ticket"))
        for other in others
    ]
    text = f"Tickets found by {' and '.join(others)} converge faster than by {base}"
    return [Claim(text, _paired(rows, f"early_{metric}", pairs))]


def _search_length(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    low, high = _ends(settings)
    pair = (f"ticket of a search of {high} epochs minus that of {low}", (high, "ticket"), (low, "ticket"))
    text = "A longer search finds the ticket that converges faster"
    return [Claim(text, _paired(rows, f"early_{metric}", [pair]))]


def _rounds(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    base, *others = sorted(settings, key=float)
    pairs = [
        (f"ticket of {other} rounds minus that of {base}", (other, "ticket"), (base, "ticket"))
        for other in others
    ]
    text = f"Rounds make no difference of more than {100 * SAME:g} point at equal density"
    return [Claim(text, _paired(rows, f"early_{metric}", pairs, "same"))]


def _controls(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    """Against all arms that are trained on its schedule: dense-best is dense until it is stopped, and what is
    trained for the ticket's cost has a length of its own.
    """
    aside = {"ticket", "dense-best", "dense-equal-cost", "dense-staged"} | ({"dense"} - {_dense(rows)})
    others = [arm for arm in rows.arm.drop_duplicates() if arm not in aside]
    (setting,) = settings
    pairs = [(f"ticket minus {arm}", (setting, "ticket"), (setting, arm)) for arm in others]
    return [Claim("The ticket converges faster than every control", _paired(rows, f"early_{metric}", pairs))]


def _schedule(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    column = end_column(metric)

    def against(arm: str) -> tuple[Contrast, ...]:
        pairs = [
            (f"{epochs} epoch{'s' * (epochs != '1')}, ticket minus {arm}", (epochs, "ticket"), (epochs, arm))
            for epochs in settings
        ]
        return _paired(rows, column, pairs)

    return [
        Claim(
            "On the same schedule, the search not counted, the ticket ends above dense",
            against("dense-short"),
        ),
        Claim("At equal cost, the search counted, the ticket ends above dense", against("dense-equal-cost")),
    ]


def _transfer(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    pairs = [
        (
            f"ticket found with {change} minus ticket-reinit",
            (change, "ticket-from"),
            (change, "ticket-reinit"),
        )
        for change in settings
    ]
    text = "A ticket found elsewhere converges faster than the own mask with a new init"
    return [Claim(text, _paired(rows, f"early_{metric}", pairs))]


CLAIMS: dict[str, Callable[[Rows, Sequence[str], str], list[Claim]]] = {
    "lr": _lr,
    "ratio": _ratio,
    "width": _width,
    "mask-source": _mask_source,
    "search-length": _search_length,
    "rounds": _rounds,
    "controls": _controls,
    "schedule": _schedule,
    "transfer": _transfer,
}
"""The claims of each study, from its rows, its settings in order, and the accuracy (robust or clean) that
decides. Where no other is named the figure is the mean height of the early validation curve."""
