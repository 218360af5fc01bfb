"""`train.eps` and `train.images`: what a training attacks within and trains on, and nothing else."""

from dataclasses import replace

import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compare, Threat
from robust_tickets.report.notes import settings_note
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.search import find_ticket
from robust_tickets.stages.train import PreparedTraining, train_net

DIGITS = SPECS["digits"]


def weights_and_history(recipe, machine):
    """What a dense training gives."""
    experiment = Experiment(recipe, machine=machine)
    _, result = train_net(experiment, 0, planning.plan(recipe, "dense", DIGITS), None)
    return torch.cat([values.flatten() for values in result.last.values()]), result.history


def mask_of(recipe, machine):
    """The mask of the ticket that a search finds."""
    ticket, _ = find_ticket(Experiment(recipe, machine=machine), 0)
    return torch.cat([entries.flatten() for _, entries in ticket.mask.items()])


def at(recipe, eps):
    return replace(recipe, threat=Threat(Eps(eps)))


def with_own(recipe, section, **fields):
    return replace(recipe, **{section: replace(getattr(recipe, section), **fields)})


def test_a_training_attacks_within_its_own_radius_and_validates_within_the_recipe_s(tiny_recipe, machine):
    usual, larger = at(tiny_recipe, "0.1"), at(tiny_recipe, "0.3")
    weights, history = weights_and_history(with_own(usual, "train", eps=Eps("0.3")), machine)
    expected, other_history = weights_and_history(larger, machine)
    assert torch.equal(weights, expected)
    assert not torch.equal(weights, weights_and_history(usual, machine)[0])
    clean, robust = (
        [[record[kind] for record in each] for each in (history, other_history)]
        for kind in ("val_clean", "val_robust")
    )
    assert clean[0] == clean[1]
    assert robust[0] > robust[1]


def test_a_search_attacks_within_its_own_radius(tiny_recipe, machine):
    expected = mask_of(at(tiny_recipe, "0.3"), machine)
    assert torch.equal(mask_of(with_own(at(tiny_recipe, "0.1"), "search", eps=Eps("0.3")), machine), expected)
    assert not torch.equal(mask_of(at(tiny_recipe, "0.1"), machine), expected)


def test_a_training_on_some_images_sees_no_others(tiny_recipe, tiny_data, machine):
    some = with_own(tiny_recipe, "train", images=64)
    plan = planning.plan(some, "dense", DIGITS)
    assert plan.per_epoch == 2
    weights, _ = weights_and_history(some, machine)
    plan = replace(plan, training=tiny_recipe.train)
    work = PreparedTraining.of(Experiment(some, machine=machine), 0, plan, None)
    dataset = replace(tiny_data, train=tiny_data.train.first(64))
    with work.ledger.measure():
        result = work.run(dataset)
    assert torch.equal(weights, torch.cat([values.flatten() for values in result.last.values()]))
    assert not torch.equal(weights, weights_and_history(tiny_recipe, machine)[0])


def test_an_arm_may_have_its_own(tiny_recipe):
    tables = ArmSettings({"half": {"images": 64, "eps": "0.05"}})
    recipe = replace(tiny_recipe, compare=Compare(("dense", "dense+half")), arms=tables)
    recipes.check(recipe)
    half, whole = (planning.plan(recipe, arm, DIGITS) for arm in ("dense+half", "dense"))
    assert (half.steps, half.training.images, half.training.eps) == (whole.steps / 2, 64, Eps("0.05"))
    assert whole.training == recipe.train


@pytest.mark.parametrize("section", ["search", "train"])
def test_more_images_than_there_are_are_refused(tiny_recipe, section):
    recipe = with_own(tiny_recipe, section, images=129)
    with pytest.raises(InputError, match=rf"{section}\.images is 129, but training has 128 images"):
        planning.check(recipe, DIGITS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eps": Eps("3")}, r"train\.eps 3 is out of range"),
        ({"eps": Eps("0.1"), "method": "natural"}, r"train\.eps 0\.1 does nothing to the method natural"),
    ],
)
def test_a_radius_that_is_too_large_or_does_nothing_is_refused(tiny_recipe, fields, message):
    with pytest.raises(InputError, match=message):
        recipes.check(with_own(tiny_recipe, "train", **fields))


def test_the_table_says_so(tiny_recipe, tmp_path):
    def note(recipe):
        return settings_note(RunDirectory.of(tmp_path, recipe))

    assert note(with_own(tiny_recipe, "train", eps=Eps("0.05"), images=64)) == (
        "Trained on 64 images, under attacks within Linf 0.05. "
        "Searched on all training images, under attacks within Linf 0.1."
    )
    assert note(with_own(tiny_recipe, "search", images=64)) == (
        "Trained on all training images. Searched on 64 images."
    )
    dense = replace(tiny_recipe, compare=Compare(("dense",)))
    assert note(with_own(dense, "search", images=64)) == ""
    assert note(tiny_recipe) == ""


def test_fewer_images_than_a_batch_are_refused_by_the_field_that_asks_for_them(tiny_recipe):
    tables = ArmSettings({"few": {"images": 3}})
    recipe = replace(tiny_recipe, compare=Compare(("dense", "dense+few")), arms=tables)
    with pytest.raises(InputError, match=r"arms\.few\.images is 3, fewer than a batch of 32"):
        planning.check(recipe, DIGITS)
