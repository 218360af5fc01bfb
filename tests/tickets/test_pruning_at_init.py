"""Pruning at initialisation; fields and controls that make no sense with a pruning method."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.data.batches import batches
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.methods import METHODS, WRAPPERS, make_method
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, make_pruning_method, pruning_method_class
from robust_tickets.recipe.training_fields import Search
from robust_tickets.stages import costs
from robust_tickets.tickets.methods.random import RandomSettings
from robust_tickets.tickets.methods.snip import sensitivity
from robust_tickets.tickets.transforms import TRANSFORMS

SNIP = {"pruning_method": "snip", "rounds": 1, "ratio": 0.7}


class Toy(nn.Module):
    """A convolution, a BatchNorm and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).mean((2, 3)))


def test_snip_is_the_slope_of_the_loss_along_a_factor_on_each_weight():
    """|dL/dc| at c = 1 by central differences, c a factor on one connection (Lee et al. 2019, equation 5)."""
    torch.manual_seed(0)
    net = Toy().double()
    images, labels = torch.rand(5, 1, 4, 4).double(), torch.tensor([0, 1, 2, 3, 0])
    before = copy_state(net)
    scores = sensitivity(net, lambda twin: F.cross_entropy(twin(images), labels))
    assert all(torch.equal(value, before[name]) for name, value in copy_state(net).items())
    assert scores.keys() == prunable_weights(net).keys()
    step = 1e-6
    for name, weight in prunable_weights(net).items():
        for index in range(weight.numel()):
            losses = []
            for factor in (1 + step, 1 - step):
                net.load_state_dict(before)
                with torch.no_grad():
                    weight.view(-1)[index] *= factor
                    losses.append(float(F.cross_entropy(net.train()(images), labels)))
            expected = abs(losses[0] - losses[1]) / (2 * step)
            assert float(scores[name].view(-1)[index]) == pytest.approx(expected, abs=1e-8, rel=1e-5)


def test_snip_keeps_the_weights_of_highest_sensitivity_and_costs_one_batch(tiny_recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(tiny_recipe, method="natural", **SNIP)
    net = search.net()
    result = search.run(net, ledger)
    channels_last = search.recipe.compute.channels_last
    stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=1, channels_last=channels_last)
    images, labels, *_ = next(stream)
    scores = sensitivity(net, lambda twin: F.cross_entropy(twin(images), labels))
    assert result.mask == prune(scores, Mask.full(net), 0.7)
    assert all(torch.equal(result.init[name], value) for name, value in copy_state(net).items())
    assert (result.history, result.rounds) == ([], 1)
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total == 2 * 32


def test_snip_on_attacked_images_is_another_and_is_charged_the_attack(tiny_recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(tiny_recipe, method="fgsm", **SNIP)
    assert search.run(ledger=ledger).mask != search_of(tiny_recipe, method="natural", **SNIP).run().mask
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total == 4 * 32


def test_snip_sees_the_batch_and_the_dropout_of_a_training_of_the_seed(tiny_recipe, search_of):
    recipe = replace(tiny_recipe, model=Model("conv-2", width=0.2, dropout=0.5))
    search = search_of(recipe, method="natural", **SNIP)
    mask = search.run().mask
    assert mask == search.run().mask
    assert mask != search_of(recipe, method="natural", augment=False, **SNIP).run().mask


def test_random_pruning_costs_nothing_and_removes_its_share(tiny_recipe, tiny_data, search_of):
    ledger = Ledger("search")
    search = search_of(tiny_recipe, pruning_method="random", rounds=1, ratio=0.7, ignored_layers="fc2*")
    mask = search.run(ledger=ledger).mask
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total == 0
    assert bool(mask["fc2.weight"].all())
    prunable = mask.size - mask["fc2.weight"].numel()
    assert mask.size - mask.count == round(0.7 * prunable)


@pytest.mark.parametrize("name", PRUNING_METHODS)
def test_each_method_names_fields_and_transforms_that_exist(name):
    cls = pruning_method_class(name)
    assert cls.unused.keys() <= {field.name for field in fields(Search)} | WRAPPERS.keys()
    assert make_pruning_method(Search(pruning_method=name)).redundant_transforms <= TRANSFORMS.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"pruning_method": "snip", "rounds": 2},
            "search.rounds does nothing with .* snip, which trains nothing",
        ),
        ({"pruning_method": "snip", "criterion": "magnitude"}, "search.criterion .* a score of its own"),
        ({"pruning_method": "random", "scope": "layer"}, r"search.scope .* have search.random.densities"),
        ({"random": RandomSettings("er")}, "search.random is for search.pruning_method random"),
        (
            {"pruning_method": "random", "granularity": "channel"},
            "random channels are a narrower network.*dense-narrow-flops",
        ),
    ],
)
def test_fields_that_do_nothing_with_a_method_are_refused(changes, words, tiny_recipe):
    search = replace(tiny_recipe.search, **{"rounds": 1, **changes})
    with pytest.raises(InputError, match=words):
        recipes.check(replace(tiny_recipe, search=search))


@pytest.mark.parametrize("method", METHODS)
def test_snip_sees_the_images_and_the_loss_of_any_training_method(method, tiny_recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(tiny_recipe, method=method, **SNIP)
    assert search.run(ledger=ledger).mask.density == pytest.approx(0.3, abs=0.01)
    planned = costs.search_passes(search.recipe, tiny_data.spec).total
    if make_method(search.recipe.search).costs_at_most:
        assert 0 < ledger.charged_passes <= planned
    else:
        assert ledger.charged_passes == planned
