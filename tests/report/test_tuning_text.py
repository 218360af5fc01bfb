"""Laws on what a tuning says of its choice: how far ahead it is, and whether that is more than chance."""

import pandas as pd
import pytest

from robust_tickets.report.tuning import tuning_text


def text(*accuracies, images=400, seeds=(100,)):
    """Of trials with learning rates 1, 2, ... that reach these accuracies."""
    rows = [
        {"arm": "dense", "train.lr": lr, "share": 1.0, "seed": seed, "val_robust": accuracy}
        for lr, accuracy in enumerate(accuracies, 1)
        for seed in seeds
    ]
    best = 1 + max(range(len(accuracies)), key=lambda place: accuracies[place] or 0)
    return tuning_text(pd.DataFrame(rows), {"dense": {"train.lr": best}}, "robust", seeds, images, 10)


def test_a_lead_within_chance_is_said():
    # two standard deviations of the difference of two shares near one half, of 400 images: 7.07 points
    assert "ahead of" not in text(0.5, 0.42)
    assert "ahead of the next trial by no more than chance on 400 images (7.1 points)" in text(0.5, 0.44)
    assert "ahead of the next 2 trials by no more than chance" in text(0.45, 0.5, 0.44)


def test_more_seeds_tell_more_apart():
    assert "ahead of" not in text(0.5, 0.44, seeds=(100, 101))
    assert "on 800 images (5.0 points)" in text(0.5, 0.48, seeds=(100, 101))


@pytest.mark.parametrize(("best", "warned"), [(0.0, True), (0.13, True), (0.131, False), (None, True)])
def test_trials_that_learned_nothing_are_no_choice(best, warned):
    found = text(best, 0.0)  # one class for all of 400 images reaches 13 % with luck
    assert ("WARNING: no trial is better than chance (10.0%)" in found) == warned
