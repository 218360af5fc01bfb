"""Finders: SNIP against its definition, random masks against their densities, what a search goes on from."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.models import registry
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.densities import DENSITIES, layer_counts, random_mask
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Model
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.tickets.search import find_ticket
from robust_tickets.tickets.snip import snip
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.state import copy_state


def search(recipe, data, **changes):
    recipe = replace(recipe, search=replace(recipe.search, **{"rounds": 1, "ratio": 0.7, **changes}))
    net = registry.build(model_spec(recipe, data.spec), seed=0)
    plan = planning.search_plan(recipe, data.spec)
    how = Experiment(recipe).fit(recipe.search, plan.round_steps, 0)
    ledger = Ledger("search")
    with ledger.measure():
        found = find_ticket(net, data, recipe.search, how, Session(ledger))
    return net, found, how, ledger, recipe


class Toy(nn.Module):
    """A convolution, a BatchNorm and a linear layer, in float64."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).mean((2, 3)))


def test_snip_is_how_the_loss_moves_with_a_factor_on_each_weight():
    """|dL/dc| at c = 1 by central differences, c a factor on one connection (Lee et al. 2019, equation 5)."""
    torch.manual_seed(0)
    net = Toy().double()
    images, labels = torch.rand(5, 1, 4, 4).double(), torch.tensor([0, 1, 2, 3, 0])
    before = copy_state(net)
    found = snip(net, lambda twin: F.cross_entropy(twin(images), labels))
    assert all(torch.equal(value, before[name]) for name, value in copy_state(net).items())
    assert found.keys() == prunable_weights(net).keys()
    step = 1e-6
    for name, weight in prunable_weights(net).items():
        for place in range(weight.numel()):
            losses = []
            for factor in (1 + step, 1 - step):
                net.load_state_dict(before)
                with torch.no_grad():
                    weight.view(-1)[place] *= factor
                    losses.append(float(F.cross_entropy(net.train()(images), labels)))
            expected = abs(losses[0] - losses[1]) / (2 * step)
            assert float(found[name].view(-1)[place]) == pytest.approx(expected, abs=1e-8, rel=1e-5)


def test_snip_keeps_the_weights_of_highest_sensitivity_and_costs_one_batch(tiny_recipe, tiny_data):
    net, found, how, ledger, recipe = search(
        tiny_recipe, tiny_data, pruning_method="snip", method="natural", criterion="magnitude"
    )
    from robust_tickets.data.batches import batches

    images, labels, _ = next(
        batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=1, channels_last=how.compute.channels_last)
    )
    scores = snip(net, lambda twin: F.cross_entropy(twin(images), labels))
    assert found.mask == prune(scores, Mask.full(net), 0.7)
    assert all(torch.equal(found.init[name], value) for name, value in copy_state(net).items())
    assert found.history == []
    assert found.rounds == 1
    assert ledger.charged_passes == planning.search_passes(recipe, tiny_data.spec).total == 2 * 32


def test_snip_on_attacked_images_is_another_and_is_charged_the_attack(tiny_recipe, tiny_data):
    _, natural, *_ = search(tiny_recipe, tiny_data, pruning_method="snip", method="natural")
    _, found, _, ledger, recipe = search(tiny_recipe, tiny_data, pruning_method="snip", method="fgsm")
    assert found.mask != natural.mask
    assert ledger.charged_passes == planning.search_passes(recipe, tiny_data.spec).total == 4 * 32


def test_snip_draws_what_a_training_of_the_seed_would(tiny_recipe, tiny_data):
    """Dropout and augmentation are those of the seed's first step, so that the same search is the same."""
    recipe = replace(tiny_recipe, model=Model("conv-2", width=0.2, dropout=0.5))
    settings = {"pruning_method": "snip", "method": "natural"}
    one, again = (search(recipe, tiny_data, **settings)[1].mask for _ in range(2))
    assert one == again
    plain = search(recipe, tiny_data, **settings, augment=False)[1].mask
    assert plain != one


def test_a_random_mask_costs_nothing_and_differs_by_seed(tiny_recipe, tiny_data):
    _, found, _, ledger, recipe = search(tiny_recipe, tiny_data, pruning_method="random")
    assert ledger.charged_passes == planning.search_passes(recipe, tiny_data.spec).total == 0
    assert found.mask.count == found.mask.size - round(0.7 * found.mask.size)
    full = Mask.full(registry.build(model_spec(recipe, tiny_data.spec), seed=0))
    masks = [random_mask(full, 0.7, "erk", seed, frozenset()) for seed in (0, 0, 1)]
    assert masks[0] == masks[1] == found.mask != masks[2]


def test_ignored_layers_of_a_random_mask_stay_whole(tiny_recipe, tiny_data):
    _, found, *_ = search(
        tiny_recipe, tiny_data, pruning_method="random", ignored_layers="fc2*", densities="uniform"
    )
    shares = {name: float(kept.double().mean()) for name, kept in found.mask.items()}
    assert shares == {
        "fc1.weight": pytest.approx(0.3, abs=1e-2),
        "fc2.weight": 1,
        "fc3.weight": pytest.approx(0.3, abs=1e-2),
    }


SHAPES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.one_of(
        st.tuples(st.integers(4, 64), st.integers(4, 64)),
        st.tuples(st.integers(4, 64), st.integers(4, 64), st.just(3), st.just(3)),
    ),
    min_size=1,
)


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(shapes=SHAPES, kind=st.sampled_from(sorted(DENSITIES)), density=st.floats(0.2, 1))
def test_counts_add_up_and_densities_have_the_published_ratio(shapes, kind, density):
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    kept = round(density * sum(sizes.values()))
    counts = layer_counts(shapes, kept, kind)
    assert sum(counts.values()) == kept
    assert all(1 <= counts[name] <= size for name, size in sizes.items())
    published = {
        "uniform": lambda s: 1,
        "er": lambda s: 1 / s[0] + 1 / s[1],
        "erk": lambda s: (s[0] + s[1] + sum(s[2:])) / math.prod(s),
    }[kind]
    partly = [name for name in shapes if counts[name] < sizes[name]]
    # one factor for all layers that are not whole, to the rounding of a count; whole ones would want more
    factors = [counts[name] / sizes[name] / published(shapes[name]) for name in partly]
    slack = {name: 1.001 / sizes[name] / published(shapes[name]) for name in shapes}
    for one, first in zip(partly, factors, strict=True):
        for other, second in zip(partly, factors, strict=True):
            assert abs(first - second) <= slack[one] + slack[other]
        for name in shapes.keys() - set(partly):
            assert first + slack[one] + slack[name] >= 1 / published(shapes[name])


def test_a_layer_that_would_get_nothing_is_named():
    with pytest.raises(InputError, match=r"densities uniform leave nothing of b: .* lower search.ratio"):
        layer_counts({"a": (100, 100), "b": (3, 3)}, 100, "uniform")


def test_fine_tuning_goes_on_from_the_trained_weights(tiny_recipe, tiny_data):
    """Two rounds by hand: train, cut, train on from there, cut; the ticket begins where that ended."""
    _, found, how, *_ = search(tiny_recipe, tiny_data, after="fine-tune", rounds=2, ratio=0.4)
    net = registry.build(model_spec(tiny_recipe, tiny_data.spec), seed=0)
    mask = Mask.full(net)
    for _ in range(2):
        fit(net, mask, tiny_data, how, Session(Ledger("train")))
        mask = prune(SCORES[tiny_recipe.search.criterion](prunable_weights(net), mask), mask, 0.4)
    assert found.mask == mask
    assert all(torch.equal(found.init[name], value) for name, value in copy_state(net).items())


def test_a_search_on_a_part_of_the_images_sees_no_others(tiny_recipe, tiny_data):
    _, found, how, ledger, recipe = search(tiny_recipe, tiny_data, images=64)
    part = replace(tiny_data, train=tiny_data.train.first(64))
    _, again, *_ = search(tiny_recipe, part, iterations=4)
    assert found.mask == again.mask
    assert how.steps == 2 * 2
    assert ledger.charged_passes == planning.search_passes(recipe, tiny_data.spec).total
    assert ledger.charged_passes == 2 * 64 * 4  # two epochs of FGSM: attack 2, update 2


def test_more_images_than_training_has_are_refused(tiny_recipe, tiny_data):
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, images=129))
    with pytest.raises(InputError, match=r"search.images is 129, but training has 128 images"):
        planning.search_plan(recipe, tiny_data.spec)
