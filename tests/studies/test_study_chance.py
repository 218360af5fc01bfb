"""A study names the arms that are no better than one class for all images."""

import pandas as pd
import pytest

from robust_tickets.recipe.fields import Evaluate
from robust_tickets.report.read import ArmResult
from robust_tickets.studies.chance import ONE_CLASS, chance_paragraph, one_class_accuracy


def rows(column, figures):
    return pd.DataFrame(
        [
            {"setting": setting, "arm": arm, "seed": seed, column: value, ONE_CLASS: 0.12}
            for (setting, arm), values in figures.items()
            for seed, value in enumerate(values)
        ]
    )


def test_the_mean_over_seeds_decides():
    figures = {
        ("2", "dense"): (0.10, 0.13, 0.11),
        ("2", "ticket"): (0.11, 0.15, 0.11),
        ("4", "dense"): (0.3, 0.3, 0.3),
    }
    text = chance_paragraph(rows("test_pgd20_last", figures), Evaluate())
    assert "`dense` at 2: no more robust (PGD-20) than one class for all images, which reaches 12.0 %" in text
    assert "`ticket`" not in text
    above = dict.fromkeys(figures, (0.13,))
    assert chance_paragraph(rows("test_pgd20_last", above), Evaluate()) == ""


def test_clean_accuracy_decides_where_it_selects():
    table = rows("test_clean_last", {("2", "dense"): (0.12,), ("2", "ticket"): (0.1,)})
    text = chance_paragraph(table, Evaluate(select_by="clean"))
    assert "`dense` at 2, `ticket` at 2: no more accurate than one class" in text


@pytest.mark.parametrize(
    ("evaluate", "images"),
    [
        (Evaluate(images=0), 400),
        (Evaluate(images=100), 100),
        (Evaluate(images=100, aa_images=25, aa_checkpoints=("last",)), 25),
        (Evaluate(images=100, aa_images=25, aa_checkpoints=("best",)), 25),
        (Evaluate(images=100, aa_images=25, select_by="clean"), 100),
    ],
)
def test_luck_hangs_on_the_images_that_decide(evaluate, images):
    result = ArmResult("dense", 0, {"test_images": 400, "most_common_class": 0.1}, {}, None, [], {})
    assert one_class_accuracy(result, evaluate) == pytest.approx(0.1 + 2 * 0.3 / images**0.5)
