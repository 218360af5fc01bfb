"""Pruning of weights, over all layers and layer by layer, against its definition and torch.nn.utils.prune."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.criteria import prune, prune_by_layer, prune_round
from robust_tickets.pruning.layers import LayerRoles, layer_roles, prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.training_fields import Search

SHAPES = {
    "fc.weight": (12, 9),
    "head.weight": (4, 12),
    "two.weight": (6, 5, 3, 3),
    "one.weight": (5, 1, 3, 3),
}
ROLES = LayerRoles("one.weight", "head.weight", frozenset({"fc.weight"}))
FULL = Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()})
SHARES = st.floats(0.0, 0.99)


def random_scores(distinct, seed):
    """Scores of few distinct values: a threshold would take all ties or none."""
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randint(distinct, s, generator=generator).float() for n, s in SHAPES.items()}


def without_lowest(scores, entries, n):
    """The entries without the n lowest of those left, ties by position, sorted in plain Python."""
    values, left = scores.flatten().tolist(), entries.flatten().tolist()
    order = sorted((i for i, entry in enumerate(left) if entry), key=lambda i: (values[i], i))
    for i in order[:n]:
        left[i] = False
    return torch.tensor(left).reshape(entries.shape)


@settings(deadline=None)
@given(st.tuples(*[SHARES] * len(SHAPES)), st.integers(1, 4), st.integers(1, 4), st.integers(0, 100))
def test_each_layer_loses_exactly_its_share_with_ties(shares, rounds, distinct, seed):
    ratios = dict(zip(SHAPES, shares, strict=True))
    mask = FULL
    for number in range(rounds):
        scores = random_scores(distinct, seed + number)
        counts = {name: int(mask[name].sum()) for name in mask}
        remove = {name: round(ratios[name] * counts[name]) for name in mask}
        empty = [name for name in mask if remove[name] == counts[name]]
        if empty:
            with pytest.raises(InputError, match=rf"leaves nothing of {empty[0]}: lower search\.ratio"):
                prune_by_layer(scores, mask, ratios)
            return
        sparser = prune_by_layer(scores, mask, ratios)
        assert list(sparser) == list(mask)
        for name in mask:
            assert torch.equal(sparser[name], without_lowest(scores[name], mask[name], remove[name])), name
        mask = sparser


@settings(deadline=None)
@given(
    st.floats(0.01, 0.9),
    st.none() | st.floats(0.0, 0.9),
    st.none() | st.floats(0.0, 0.9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_each_kind_of_layer_loses_its_own_share(ratio, fc, output, prune_first, prune_last, ignore_fc):
    assume(output is None or prune_last)
    search = Search(
        scope="layer",
        ratio=ratio,
        fc_ratio=fc,
        output_ratio=output,
        prune_first_conv=prune_first,
        prune_output=prune_last,
        ignored_layers="f?.weight" if ignore_fc else "",
    )
    hidden = ratio if fc is None else fc
    shares = {
        "one.weight": ratio if prune_first else 0.0,
        "two.weight": ratio,
        "fc.weight": 0.0 if ignore_fc else hidden,
        "head.weight": (hidden if output is None else output) if prune_last else 0.0,
    }
    mask = FULL
    for number in range(2):
        sparser = prune_round(search, random_scores(50, number), mask, ROLES)
        for name in mask:
            count = int(mask[name].sum())
            assert int(sparser[name].sum()) == count - round(shares[name] * count), name
        mask = sparser


class Backwards(nn.Module):
    """A network whose layers are registered in another order than it runs them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 4)
        self.two = nn.Conv2d(5, 6, 3)
        self.hidden = nn.Linear(24, 12)
        self.one = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x):
        x = self.two(self.norm(self.one(x)).relu()).relu()
        x = nn.functional.max_pool2d(x, 2)
        return self.head(self.hidden(x.flatten(1)).relu())


LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
CONVOLUTIONS = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 6), nn.Flatten())


@pytest.mark.parametrize(
    ("net", "first_conv", "output", "hidden"),
    [
        (Backwards(), "one.weight", "head.weight", {"hidden.weight"}),
        (LINEAR, None, "3.weight", {"1.weight"}),
        (CONVOLUTIONS, "0.weight", "2.weight", set()),
    ],
    ids=["registered in another order", "no convolutions", "the output is a convolution"],
)
def test_layers_have_the_roles_in_which_they_run(net, first_conv, output, hidden):
    assert layer_roles(net, (1, 8, 8)) == LayerRoles(first_conv, output, frozenset(hidden))


class Heads(nn.Module):
    """Two heads: the logits', and one that runs before or after it, and may be a part of the logits."""

    def __init__(self, other):
        super().__init__()
        self.other = other
        self.body, self.head, self.projection = nn.Linear(64, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x):
        h = self.body(x.flatten(1)).relu_()
        logits, projection = self.head(h), self.projection(h)
        if self.other == "detached":
            self.kept = projection.detach()
        if self.other == "runs on the logits":
            self.projection(logits.repeat(1, 3)[:, :8])
        if self.other == "functional":
            own = {name: 1.0 * p for name, p in self.head.named_parameters()}
            logits = torch.func.functional_call(self.head, own, (h,))
        return logits + projection if self.other == "added" else logits


@pytest.mark.parametrize(
    ("other", "output"),
    [
        ("detached", "head"),
        ("runs on the logits", "head"),
        ("functional", "head"),
        ("added", "projection"),
        ("no gradient", "head"),
    ],
)
def test_the_output_layer_is_the_last_on_the_way_to_the_logits(other, output):
    net = Heads(other).requires_grad_(other != "no gradient")
    roles = layer_roles(net, (1, 8, 8))
    assert roles.output == f"{output}.weight"
    assert roles.linear == set(prunable_weights(net)) - {roles.output}


@pytest.mark.parametrize("criterion", SCORES)
def test_layerwise_pruning_is_torch_prune_over_several_rounds(criterion):
    """Within a layer a factor on all scores changes nothing, so that both criteria are L1Unstructured's."""
    torch.manual_seed(0)
    net, theirs = Backwards(), Backwards()
    theirs.load_state_dict(net.state_dict())
    search = Search(scope="layer", ratio=0.37, fc_ratio=0.21, output_ratio=0.13)
    shares = {"one": 0.37, "two": 0.37, "hidden": 0.21, "head": 0.13}
    roles, mask = layer_roles(net, (1, 8, 8)), Mask.full(net)
    for _ in range(3):
        mask = prune_round(search, SCORES[criterion](prunable_weights(net), mask), mask, roles)
        for name, share in shares.items():
            torch_prune.l1_unstructured(theirs.get_submodule(name), "weight", amount=share)
            assert torch.equal(mask[f"{name}.weight"], theirs.get_submodule(name).weight_mask.bool()), name


def test_a_weight_that_is_not_finite_is_refused_in_an_ignored_layer_too():
    scores = random_scores(5, 0)
    scores["fc.weight"][0, 0] = torch.inf
    search = Search(scope="layer", ratio=0.5, ignored_layers="fc.weight")
    with pytest.raises(InputError, match=r"not finite.*lower search\.lr"):
        prune_round(search, scores, FULL, ROLES)


def test_a_share_that_empties_a_layer_names_what_to_lower():
    words = r"nothing of fc\.weight: lower search\.ratio, search\.fc_ratio or search\.output_ratio"
    with pytest.raises(InputError, match=words):
        prune_round(Search(scope="layer", ratio=0.1, fc_ratio=0.999), random_scores(5, 0), FULL, ROLES)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def pruned(net, ratio, criterion="magnitude"):
    full = Mask.full(net)
    return prune(SCORES[criterion](prunable_weights(net), full), full, ratio)


@settings(deadline=None)
@given(st.integers(0, 3), st.floats(0.01, 0.9), st.integers(1, 3), st.integers(0, 100))
def test_removes_the_exact_count_with_ties(distinct, ratio, rounds, seed):
    """Scores with few distinct values: a threshold would take all ties or none."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (40, 5), "b": (30,), "c": (7, 11)}
    scores = {n: torch.randint(distinct + 1, s, generator=generator).float() for n, s in shapes.items()}
    mask = Mask({n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()})
    for _ in range(rounds):
        try:
            sparser = prune(scores, mask, ratio)
        except InputError:  # a whole layer of low scores would go: refused, which is another law
            return
        assert mask.count - sparser.count == round(ratio * mask.count)
        assert all((sparser[n] <= mask[n]).all() for n in mask), "a mask only shrinks"
        removed = torch.cat([scores[n][mask[n] & ~sparser[n]] for n in mask])
        left = torch.cat([scores[n][sparser[n]] for n in mask])
        if len(removed):
            assert removed.max() <= left.min()
        mask = sparser


def test_ties_are_broken_by_position():
    mask = Mask({"a": torch.ones(4, dtype=torch.bool), "b": torch.ones(4, dtype=torch.bool)})
    scores = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0]), "b": torch.tensor([0.0, 0.0, 1.0, 1.0])}
    sparser = prune(scores, mask, 0.5)
    # five zeros, four of which go: the first four
    assert sparser["a"].tolist() == [True, False, False, False]
    assert sparser["b"].tolist() == [False, True, True, True]


def test_global_magnitude_is_torch_prune():
    ours, theirs = small_net(), small_net()
    mask = pruned(ours, 0.7)
    torch_prune.global_unstructured(
        [(theirs[0], "weight"), (theirs[3], "weight")], torch_prune.L1Unstructured, amount=0.7
    )
    assert torch.equal(mask["0.weight"], theirs[0].weight_mask.bool())
    assert torch.equal(mask["3.weight"], theirs[3].weight_mask.bool())


def test_magnitude_over_layer_mean_is_the_released_formula():
    net = small_net()
    scores = SCORES["magnitude-over-layer-mean"](prunable_weights(net), Mask.full(net))
    for name, weight in prunable_weights(net).items():
        torch.testing.assert_close(scores[name], weight.detach().abs() / weight.detach().abs().mean())


@pytest.mark.parametrize("criterion", SCORES)
def test_scores_leave_the_network_alone(criterion):
    net = small_net()
    before = copy.deepcopy(net.state_dict())
    pruned(net, 0.5, criterion)
    assert same_state(net.state_dict(), before)


def test_a_layer_that_would_be_empty_is_named():
    net = small_net()
    with torch.no_grad():
        net[0].weight *= 1e-6
    with pytest.raises(InputError, match=r"nothing of 0\.weight: lower search\.ratio"):
        pruned(net, 0.5)
