"""Each study decides its claims from the figures of the arms that it names."""

import pandas as pd
import pytest

from robust_tickets.recipe.fields import Evaluate
from robust_tickets.recipe.studies import load_study
from robust_tickets.studies.verdicts import decide


def rows_of(figures, column="early_robust"):
    """Rows from (setting, arm) -> a figure a seed."""
    return pd.DataFrame(
        [
            {"setting": setting, "arm": arm, "seed": seed, column: figure}
            for (setting, arm), values in figures.items()
            for seed, figure in enumerate(values)
        ]
    )


UP, DOWN, MIDDLE = (0.41, 0.42, 0.43), (0.31, 0.30, 0.32), (0.35, 0.36, 0.37)


@pytest.mark.parametrize(
    ("name", "figures", "settings", "statuses"),
    [
        ("lr", {("0.1", "ticket"): DOWN, ("0.01", "ticket"): UP}, ["0.1", "0.01"], ["holds"]),
        ("lr", {("0.1", "ticket"): UP, ("0.01", "ticket"): DOWN}, ["0.1", "0.01"], ["does not hold"]),
        (
            "ratio",
            {
                (r, a): v
                for r, t in (("0.6", UP), ("0.98", DOWN))
                for a, v in (("ticket", t), ("dense", MIDDLE))
            },
            ["0.6", "0.98"],
            ["holds"],  # beyond 90 % nothing is claimed
        ),
        (
            "width",
            {
                ("1", "ticket"): UP,
                ("1", "ticket-reinit"): DOWN,
                ("0.1", "ticket"): MIDDLE,
                ("0.1", "ticket-reinit"): DOWN,
            },
            ["1", "0.1"],
            ["holds"],
        ),
        (
            "mask-source",
            {("natural", "ticket"): DOWN, ("fgsm", "ticket"): UP, ("pgd", "ticket"): MIDDLE},
            ["natural", "fgsm", "pgd"],
            ["holds"],
        ),
        ("search-length", {("1", "ticket"): UP, ("9", "ticket"): DOWN}, ["1", "9"], ["does not hold"]),
        ("rounds", {("1", "ticket"): UP, ("4", "ticket"): (0.411, 0.419, 0.43)}, ["1", "4"], ["holds"]),
        (
            "controls",
            {("x", "ticket"): MIDDLE, ("x", "random"): DOWN, ("x", "dense-best"): UP, ("x", "dense"): UP},
            ["x"],
            ["does not hold"],
        ),
        (
            "controls",  # dense on another schedule is no control
            {("x", "ticket"): MIDDLE, ("x", "dense"): UP, ("x", "dense-short"): DOWN},
            ["x"],
            ["holds"],
        ),
        (
            "controls",  # nor is an arm that has the ticket's cost on another schedule
            {
                ("x", "ticket"): MIDDLE,
                ("x", "dense"): DOWN,
                ("x", "dense-equal-cost"): UP,
                ("x", "dense-staged"): UP,
            },
            ["x"],
            ["holds"],
        ),
        (
            "ratio",
            {("0.6", "ticket"): MIDDLE, ("0.6", "dense"): DOWN, ("0.6", "dense-short"): UP},
            ["0.6"],
            ["does not hold"],
        ),
        (
            "transfer",
            {("threat.eps=1", "ticket-from"): UP, ("threat.eps=1", "ticket-reinit"): DOWN},
            ["threat.eps=1"],
            ["holds"],
        ),
    ],
)
def test_each_study_compares_the_figures_that_it_names(name, figures, settings, statuses):
    claims = decide(load_study(name), settings, rows_of(figures), Evaluate())
    assert [claim.status for claim in claims] == statuses


@pytest.mark.parametrize(("metric", "column"), [("robust", "test_pgd20"), ("clean", "test_clean")])
def test_the_schedule_has_two_claims_for_the_last_and_the_best_epoch(metric, column):
    arms = {("2", "ticket"): MIDDLE, ("2", "dense-short"): DOWN, ("2", "dense-equal-cost"): UP}
    rows = rows_of(arms, column)
    rows[f"{column}_last"] = rows_of({**arms, ("2", "dense-equal-cost"): MIDDLE}, column)[column]
    claims = decide(load_study("schedule"), ["2"], rows, Evaluate(select_by=metric))
    assert [claim.status for claim in claims] == ["holds", "holds", "undecided", "does not hold"]
    assert [claim.text.rsplit(", ", 1)[1] for claim in claims] == ["last epoch", "best epoch"] * 2


@pytest.mark.parametrize(
    ("judged", "columns"),
    [(("last",), ["test_aa_last"]), (("last", "best", "average"), ["test_aa_last", "test_aa"])],
)
def test_autoattack_decides_where_the_recipe_asks_for_it(judged, columns):
    arms = {("2", "ticket"): UP, ("2", "dense-short"): DOWN, ("2", "dense-equal-cost"): DOWN}
    rows = rows_of(arms, columns[0])
    for column in columns[1:]:
        rows[column] = rows[columns[0]]
    for column in ("test_pgd20", "test_pgd20_last"):  # says the contrary
        rows[column] = -rows[columns[0]]
    evaluate = Evaluate(aa_images=100, aa_checkpoints=judged)
    claims = decide(load_study("schedule"), ["2"], rows, evaluate)
    assert [claim.status for claim in claims] == ["holds"] * 2 * len(columns)
    assert [claim.status for claim in decide(load_study("schedule"), ["2"], rows, Evaluate())] == [
        "does not hold"
    ] * 4


def test_seeds_that_lack_an_arm_are_left_out_of_its_contrast():
    rows = rows_of({("0.1", "ticket"): DOWN, ("0.01", "ticket"): UP[:2]})
    (claim,) = decide(load_study("lr"), ["0.1", "0.01"], rows, Evaluate())
    assert len(claim.contrasts[0].differences) == 2


def test_a_contrast_of_contrasts_is_the_difference_of_two_differences():
    rows = rows_of(
        {
            ("1", "ticket"): UP,
            ("1", "ticket-reinit"): DOWN,
            ("0.1", "ticket"): MIDDLE,
            ("0.1", "ticket-reinit"): DOWN,
        }
    )
    (claim,) = decide(load_study("width"), ["1", "0.1"], rows, Evaluate())
    expected = [(u - d) - (m - d) for u, d, m in zip(UP, DOWN, MIDDLE, strict=True)]
    assert claim.contrasts[0].differences == pytest.approx(expected, abs=1e-12)


def test_claims_name_the_settings_that_they_are_about():
    rows = rows_of({(r, a): UP for r in ("0.6", "0.8", "0.98") for a in ("ticket", "dense")})
    (claim,) = decide(load_study("ratio"), ["0.6", "0.8", "0.98"], rows, Evaluate())
    assert claim.text == "Tickets have an early advantage over dense at 60 and 80 % pruned"
    rows = rows_of({("1", "ticket"): UP, ("4", "ticket"): UP})
    (claim,) = decide(load_study("rounds"), ["1", "4"], rows, Evaluate())
    assert claim.text == "Rounds make no difference at equal density (within 1 point)"
