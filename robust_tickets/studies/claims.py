"""What each study claims, and which figures say so."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pandas as pd

from robust_tickets.report.claims import SAME, Claim, Contrast, contrast

Rows: TypeAlias = pd.DataFrame
"""A row a setting, arm and seed, with the columns of `report.boosting` (fractions)."""


def _figures(rows: Rows, setting: str, arm: str, column: str) -> pd.Series:
    found = rows[(rows.setting == setting) & (rows.arm == arm)]
    return found.set_index("seed")[column]


def _paired(label: str, one: pd.Series, other: pd.Series, *more: pd.Series, same: bool = False) -> Contrast:
    """The contrast over the seeds that all have; of two more, one minus other is held against theirs."""
    table = pd.concat([one, other, *more], axis=1, join="inner").dropna()
    left = table.iloc[:, 0] - (table.iloc[:, 2] if more else 0)
    right = table.iloc[:, 1] - (table.iloc[:, 3] if more else 0)
    return contrast(label, list(left), list(right), "same" if same else "more")


def _early(metric: str) -> str:
    return f"early_{metric}"


def _lr(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    low, high = (sorted(settings, key=float)[end] for end in (0, -1))
    label = f"ticket of search lr {low} minus that of {high}"
    found = _paired(label, *(_figures(rows, lr, "ticket", _early(metric)) for lr in (low, high)))
    return [Claim("A small learning rate in the search finds the ticket that converges faster", (found,))]


def _ratio(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    plateau = [ratio for ratio in settings if 0.5 <= float(ratio) < 0.9] or list(settings)
    found = [
        _paired(
            f"{100 * float(ratio):g} % pruned, ticket minus dense",
            _figures(rows, ratio, "ticket", _early(metric)),
            _figures(rows, ratio, "dense", _early(metric)),
        )
        for ratio in plateau
    ]
    return [Claim("Tickets converge faster than dense wherever half to nine tenths are pruned", tuple(found))]


def _width(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    low, high = (sorted(settings, key=float)[end] for end in (0, -1))
    arms = [(high, "ticket"), (low, "ticket"), (high, "ticket-reinit"), (low, "ticket-reinit")]
    found = _paired(
        f"ticket minus ticket-reinit at width {high}, minus the same at {low}",
        *(_figures(rows, width, arm, _early(metric)) for width, arm in arms),
    )
    return [
        Claim("The init is worth more to the ticket of a wide net than to that of a narrow one", (found,))
    ]


def _mask_source(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    base, *others = settings
    found = [
        _paired(
            f"ticket of a search by {other} minus that by {base}",
            _figures(rows, other, "ticket", _early(metric)),
            _figures(rows, base, "ticket", _early(metric)),
        )
        for other in others
    ]
    return [Claim(f"Tickets found by {' and '.join(others)} converge faster than by {base}", tuple(found))]


def _search_length(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    low, high = (sorted(settings, key=float)[end] for end in (0, -1))
    label = f"ticket of a search of {high} epochs minus that of {low}"
    found = _paired(label, *(_figures(rows, n, "ticket", _early(metric)) for n in (high, low)))
    return [Claim("A longer search finds the ticket that converges faster", (found,))]


def _rounds(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    base, *others = sorted(settings, key=float)
    found = [
        _paired(
            f"ticket of {other} rounds minus that of {base}",
            _figures(rows, other, "ticket", _early(metric)),
            _figures(rows, base, "ticket", _early(metric)),
            same=True,
        )
        for other in others
    ]
    points = f"{100 * SAME:g} point"
    return [Claim(f"Rounds make no difference of more than {points} at equal density", tuple(found))]


def _controls(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    ticket = _figures(rows, "", "ticket", _early(metric))
    others = [arm for arm in rows.arm.drop_duplicates() if arm not in ("ticket", "dense-best")]
    found = [
        _paired(f"ticket minus {arm}", ticket, _figures(rows, "", arm, _early(metric))) for arm in others
    ]
    return [Claim("The ticket converges faster than every control", tuple(found))]


def _schedule(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    column = "test_pgd20" if metric == "robust" else "test_clean"

    def against(arm: str) -> tuple[Contrast, ...]:
        return tuple(
            _paired(
                f"{epochs} epochs, ticket minus {arm}",
                _figures(rows, epochs, "ticket", column),
                _figures(rows, epochs, arm, column),
            )
            for epochs in settings
        )

    return [
        Claim(
            "On the same schedule, the search not counted, the ticket ends above dense",
            against("dense-short"),
        ),
        Claim("At equal cost, the search counted, the ticket ends above dense", against("dense-equal-cost")),
    ]


def _transfer(rows: Rows, settings: Sequence[str], metric: str) -> list[Claim]:
    found = [
        _paired(
            f"ticket found with {change} minus ticket-reinit",
            _figures(rows, change, "ticket-from", _early(metric)),
            _figures(rows, change, "ticket-reinit", _early(metric)),
        )
        for change in settings
    ]
    return [
        Claim("A ticket found elsewhere converges faster than the own mask with a new init", tuple(found))
    ]


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
