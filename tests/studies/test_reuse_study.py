"""Study reuse: one search, several trainings, and dense with its share of the search."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Evaluate, StudySettings
from robust_tickets.recipe.studies import load_study
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.studies.grid import make_cells

DIGITS = SPECS["digits"]


@pytest.fixture
def base(tiny_recipe):
    """A search by FGSM and a training as long for dense as for tickets."""
    return replace(tiny_recipe, train=replace(tiny_recipe.train, ticket_epochs=tiny_recipe.train.epochs))


def cells(base, *changes):
    settings = replace(StudySettings(), reuse=changes)
    return make_cells(load_study("reuse"), replace(base, study=settings))


def test_only_the_training_differs(base):
    own, other, radius = cells(base, "own", "train.method=trades train.lr=0.02", "threat.eps=4/255")
    assert own.recipe.train == base.train
    assert (other.recipe.train.method, other.recipe.train.lr) == ("trades", 0.02)
    assert own.recipe.search == other.recipe.search == base.search
    assert radius.recipe.threat.eps == Eps("4/255")
    # the search's attack keeps the radius that it has in the others
    assert radius.recipe.search == replace(base.search, eps=base.threat.eps)
    assert {cell.recipe.compare.reuses for cell in (own, other, radius)} == {3}


def test_a_radius_that_the_search_has_of_its_own_stays(base):
    base = replace(base, search=replace(base.search, eps=Eps("2/255")))
    for cell in cells(base, "own", "threat.eps=4/255"):
        assert cell.recipe.search == base.search


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["own"], "has one setting"),
        (["train.lr=0.2 train.lr=0.3"], r"changes train\.lr twice"),
        (["data.name=svhn"], r"is no change of train or threat\.eps"),
        (["search.lr=0.5"], r"is no change of train or threat\.eps"),
        (["threat.norm=L2"], r"is no change of train or threat\.eps"),
        (["train.lr=0.2 oops"], r"is no change of train or threat\.eps"),
        (["train.learning_rate=1.0"], "unknown field"),
        (["train.method=pgd"], "changes nothing: call it own"),
        (["own", "own"], "names a setting twice"),
        (["own", "train.ticket_epochs=1"], "as long as dense's in some trainings"),
    ],
)
def test_other_settings_are_refused(base, changes, message):
    with pytest.raises(InputError, match=message):
        cells(base, *changes)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("granularity", "channel", "random masks are of single weights"),
        ("stop_distance", 0.1, "stop_distance"),
    ],
)
def test_searches_without_a_known_cost_are_refused(base, field, value, message):
    with pytest.raises(InputError, match=message):
        cells(replace(base, search=replace(base.search, **{field: value})), "own", "train.lr=0.3")


@pytest.mark.parametrize("reuses", [2, 5])
def test_dense_is_trained_for_its_share_of_the_search_to_the_step(base, reuses):
    compare = replace(base.compare, arms=("dense", "dense-amortised"), reuses=reuses)
    recipe = replace(base, compare=compare)
    own, full = (planning.plan(recipe, arm, DIGITS) for arm in ("dense-amortised", "dense"))
    of_step = costs.training_passes(base.train, 1, 10, full.per_epoch).cost
    share = costs.search_cost(recipe, DIGITS) / reuses
    assert own.steps - full.steps == -(-share // of_step)


def test_the_remark_tests_means_over_trainings_and_counts_those_that_pay():
    generator = np.random.default_rng(0)
    arms = ("dense", "dense-amortised", "ticket", "random")
    rows = pd.DataFrame(
        [
            {
                "setting": setting,
                "seed": seed,
                "arm": arm,
                "test_pgd20_last": generator.normal(0.3 + 0.05 * (arm == "ticket"), 1e-5),
                "flops": 100.0 if arm == "dense" else cost,
                "search_flops": 50.0 * (arm == "ticket"),
            }
            for setting, cost in (("own", 100.0), ("train.lr=0.3", 80.0))
            for seed in range(4)
            for arm in arms
        ]
    )
    text = load_study("reuse").remark(rows, Evaluate())
    assert "corrected for 3 (Holm): ticket minus dense: +5.0 points" in text
    assert text.count(": shown to be more") == 3
    assert text.endswith(
        "own: no number (+5.0 points against dense); train.lr=0.3: 3 trainings (+5.0 points against dense)."
    )
