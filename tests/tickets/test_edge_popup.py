"""Edge-popup: scores are trained and weights are not, held against the paper's own form of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from training_case import EveryState, same_state

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.data.batches import batches
from robust_tickets.models.weights import copy_state, load_weights
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages import costs
from robust_tickets.tickets.methods.edge_popup import EdgePopupSettings
from robust_tickets.tickets.score_training import WeightScores, drawn_scores, largest
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.wrappers.awp import AWPSettings

POPUP = {"pruning_method": "edge_popup", "rounds": 1, "ratio": 0.7}
STEPS = 10


@pytest.fixture
def recipe(tiny_recipe):
    """A search with BatchNorm, momentum and a rate that changes with every step."""
    search = replace(
        tiny_recipe.search, method="natural", schedule="cosine", warmup=0.25, iterations=STEPS, **POPUP
    )
    model = Model("resnet20", width=0.5, init="signed-constant")
    return replace(tiny_recipe, model=model, search=search)


class Subnet(torch.autograd.Function):
    """1 for the share of the largest scores, by sorting; its gradient passes straight through."""

    @staticmethod
    def forward(ctx, scores, count):
        order = torch.sort(scores.flatten(), stable=True).indices
        mask = torch.ones(scores.numel())
        mask[order[: scores.numel() - count]] = 0
        return mask.reshape(scores.shape)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


@pytest.mark.parametrize("lr", [0.0, 0.3], ids=["the search's rate", "a rate of its own"])
def test_it_is_the_papers_straight_through_training_of_scores(recipe, tiny_data, search_of, lr):
    own = replace(recipe.search, edge_popup=EdgePopupSettings(lr))
    search = search_of(replace(recipe, search=own))
    result, net = search.run(), search.net()
    state, weights = copy_state(net), prunable_weights(net)
    scores = {name: nn.Parameter(s) for name, s in drawn_scores(weights, 0).items()}
    counts = {name: w.numel() - round(0.7 * w.numel()) for name, w in weights.items()}
    settings = replace(recipe.search, lr=lr or recipe.search.lr)
    optimiser = torch.optim.SGD(scores.values(), lr=1, momentum=0.9, weight_decay=settings.weight_decay)
    net.train()
    for step in range(STEPS):
        stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=step // 4 + 1, channels_last=True)
        images, labels, *_ = list(stream)[step % 4]
        optimiser.param_groups[0]["lr"] = learning_rate(settings, step, STEPS)
        popped = {name: state[name] * Subnet.apply(s.abs(), counts[name]) for name, s in scores.items()}
        optimiser.zero_grad()
        F.cross_entropy(functional_call(net, popped, (images,)), labels).backward()
        optimiser.step()
    expected = {name: Subnet.apply(s.abs(), counts[name]).bool() for name, s in scores.items()}
    # ten steps of float32 along two paths: scores differ by rounding, which may swap two of nearly equal ones
    different = sum(int((entries != result.mask[name]).sum()) for name, entries in expected.items())
    assert different <= 2
    assert different < sum(
        int((entries != largest(drawn_scores(weights, 0)[name], counts[name])).sum())
        for name, entries in expected.items()
    )
    statistics = {name for name in state if "running" in name}
    assert statistics
    for name in statistics:
        torch.testing.assert_close(result.init[name], net.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["natural", "pgd"])
def test_weights_stay_as_they_were_drawn(method, recipe, search_of):
    search = search_of(recipe, method=method, ignored_layers="layer1*")
    net = search.net()
    before = copy_state(net)
    result = search.run(net)
    left = {name for name, value in result.init.items() if not torch.equal(value, before[name])}
    assert left
    assert all("running" in name or "num_batches" in name for name in left)
    for name, entries in result.mask.items():
        whole = name.startswith("layer1")
        assert int(entries.sum()) == entries.numel() - (0 if whole else round(0.7 * entries.numel()))
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_network_is_left_as_the_sub_network_of_the_ticket(recipe, tiny_data, search_of):
    search = search_of(recipe)
    net, plain = search.net(), search.net()
    result = search.run(net)
    pruned = {n: v * result.mask[n] if n in result.mask else v for n, v in result.init.items()}
    load_weights(plain, pruned, "ticket")
    images = tiny_data.val.images[:8].float() / 255
    assert torch.equal(net.eval()(images), plain.eval()(images))
    assert result.history[-1]["val_clean"] == pytest.approx(
        float((plain(tiny_data.val.images.float() / 255).argmax(1) == tiny_data.val.labels).float().mean())
    )


def test_all_weights_kept_are_the_random_network(recipe, search_of):
    search = search_of(recipe, iterations=4)
    net = search.net()
    before = copy_state(net)
    counts = {name: w.numel() for name, w in prunable_weights(net).items()}
    training = WeightScores(net, drawn_scores(prunable_weights(net), 0), counts, 0)
    assert training.mask == Mask.full(net)
    assert same_state(copy_state(net), before)


def test_the_gradient_of_a_score_s_size_is_the_weight_times_the_gradient_of_the_pruned_weight():
    torch.manual_seed(0)
    net = nn.Linear(5, 3).double()
    scores = {"weight": torch.randn(3, 5)}
    training = WeightScores(net, scores, {"weight": 6}, 0)
    drawn = training.init["weight"]
    optimiser = training.optimiser(Training(lr=0.5, momentum=0, weight_decay=0))
    images = torch.rand(4, 5).double()
    before = training.mask["weight"]
    net(images).square().sum().backward()
    scores = scores["weight"].double().requires_grad_()
    masked = drawn * (before + scores.abs() - scores.abs().detach())
    F.linear(images, masked, net.bias).square().sum().backward()
    optimiser.step()
    moved = scores.detach() - 0.5 * scores.grad
    assert torch.equal(training.mask["weight"], largest(moved, 6))
    torch.testing.assert_close(net.weight, drawn * largest(moved, 6), rtol=0, atol=0)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 8])
def test_the_largest_are_exactly_so_many_and_of_equal_ones_the_later(count):
    scores = torch.tensor([[1.0, -2, 0, 2], [2, -1, 0.5, 0]])
    order = [4, 3, 1, 5, 0, 6, 7, 2]
    expected = torch.zeros(8, dtype=torch.bool)
    expected[order[:count]] = True
    assert torch.equal(largest(scores, count), expected.reshape(2, 4))
    assert torch.equal(largest(-scores, count), expected.reshape(2, 4))  # the sign is no part of it


def test_it_costs_what_a_training_of_all_weights_does(recipe, tiny_data, search_of):
    ledger, search = Ledger("search"), search_of(recipe, method="pgd")
    result = search.run(ledger=ledger)
    dense = costs.training_passes(search.recipe.search, STEPS, 10, 4)
    assert ledger.charged_passes == costs.search_passes(search.recipe, tiny_data.spec).total == dense.total
    assert [record["round"] for record in result.history] == [1, 1, 1]
    assert [len(record["mask_distances"]) for record in result.history] == [0, 1, 2]


def test_a_search_that_was_stopped_ends_with_the_same_bits(recipe, search_of):
    search, every = search_of(recipe, method="fgsm"), EveryState()
    whole = search.run(session={"checkpointer": every})
    for step in (1, 5, 8):
        saved = next(state for state in every.states if state["step"] == step)
        net = search.net()
        again = search.run(net, session={"saved": saved})
        assert again.mask == whole.mask
        assert same_state(again.init, whole.init)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 2}, "search.rounds does nothing with .* edge_popup, which has one round"),
        ({"scope": "layer"}, "search.scope .* keeps the same share of each layer"),
        ({"criterion": "magnitude"}, "search.criterion .* learns its scores"),
        ({"after": "lr-rewind"}, "search.after .* whose weights are not trained"),
        ({"awp": AWPSettings(0.01)}, "search.awp .* whose weights are not trained"),
        ({"granularity": "channel"}, "a score for each weight, and search.granularity channel"),
        ({"method": "fgsm", "overfitting": "restore-best"}, "goes back to weights, and .* trains scores"),
    ],
)
def test_fields_that_do_nothing_are_refused(changes, words, recipe):
    with pytest.raises(InputError, match=words):
        recipes.check(replace(recipe, search=replace(recipe.search, **changes)))


def test_a_layer_that_would_be_empty_is_refused_before_a_step(recipe, search_of):
    search = search_of(recipe, ratio=0.9999)
    ledger = Ledger("search")
    with pytest.raises(InputError, match=r"leaves nothing of conv1.weight: lower search\.ratio"):
        search.run(ledger=ledger)
    assert ledger.charged_passes == 0
