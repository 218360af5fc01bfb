"""Pruning layer by layer: exact counts, each layer its own share."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.criteria import prune_by_layer, prune_round
from robust_tickets.pruning.layer_roles import LayerRoles, layer_roles
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Search

SHAPES = {
    "fc.weight": (12, 9),
    "head.weight": (4, 12),
    "two.weight": (6, 5, 3, 3),
    "one.weight": (5, 1, 3, 3),
}
ROLES = LayerRoles("one.weight", "head.weight", frozenset({"fc.weight"}))
SHARES = st.floats(0.0, 0.99)


def full():
    return Mask({name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()})


def scores_of(distinct, seed):
    """Scores of few distinct values: a threshold would take all ties or none."""
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randint(distinct, s, generator=generator).float() for n, s in SHAPES.items()}


def lowest(scores, kept, n):
    """The mask without the n lowest of those kept, ties by position: sorted by hand."""
    flat, left = scores.flatten().tolist(), kept.flatten().tolist()
    order = sorted((place for place, keep in enumerate(left) if keep), key=lambda place: (flat[place], place))
    for place in order[:n]:
        left[place] = False
    return torch.tensor(left).reshape(kept.shape)


@settings(deadline=None)
@given(st.tuples(*[SHARES] * len(SHAPES)), st.integers(1, 4), st.integers(1, 4), st.integers(0, 100))
def test_each_layer_loses_exactly_its_share_with_ties(shares, rounds, distinct, seed):
    ratios = dict(zip(SHAPES, shares, strict=True))
    mask = full()
    for number in range(rounds):
        scores = scores_of(distinct, seed + number)
        kept = {name: int(mask[name].sum()) for name in mask}
        gone = {name: round(ratios[name] * kept[name]) for name in mask}
        empty = [name for name in mask if gone[name] == kept[name]]
        if empty:
            with pytest.raises(InputError, match=rf"leaves nothing of {empty[0]}: lower search\.ratio"):
                prune_by_layer(scores, mask, ratios)
            return
        cut = prune_by_layer(scores, mask, ratios)
        assert list(cut) == list(mask)
        for name in mask:
            assert torch.equal(cut[name], lowest(scores[name], mask[name], gone[name])), name
        mask = cut


@settings(deadline=None)
@given(
    st.floats(0.01, 0.9),
    st.none() | st.floats(0.0, 0.9),
    st.none() | st.floats(0.0, 0.9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_the_shares_go_to_the_layers_that_they_are_for(ratio, fc, output, first_conv, last, spare_fc):
    assume(output is None or last)
    search = Search(
        scope="layer",
        ratio=ratio,
        fc_ratio=fc,
        output_ratio=output,
        prune_first_conv=first_conv,
        prune_output=last,
        ignored_layers="f?.weight" if spare_fc else "",
    )
    hidden = ratio if fc is None else fc
    share = {
        "one.weight": ratio if first_conv else 0.0,
        "two.weight": ratio,
        "fc.weight": 0.0 if spare_fc else hidden,
        "head.weight": (hidden if output is None else output) if last else 0.0,
    }
    mask = full()
    for number in range(2):
        cut = prune_round(search, scores_of(50, number), mask, ROLES)
        for name in mask:
            kept = int(mask[name].sum())
            assert int(cut[name].sum()) == kept - round(share[name] * kept), name
        mask = cut


class Backwards(nn.Module):
    """A net whose layers are registered in another order than it runs them."""

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


def test_layers_in_another_order_get_the_shares_of_what_they_do():
    net = Backwards()
    mask = Mask.full(net)
    search = Search(scope="layer", ratio=0.5, fc_ratio=0.25, output_ratio=0.125, prune_first_conv=False)
    cut = prune_round(search, SCORES["magnitude"](prunable(net), mask), mask, layer_roles(net, (1, 8, 8)))
    kept = {name: int(keep.sum()) / keep.numel() for name, keep in cut.items()}
    assert kept == {"head.weight": 0.875, "two.weight": 0.5, "hidden.weight": 0.75, "one.weight": 1.0}


def test_a_net_without_convolutions_has_hidden_layers_and_an_output():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    mask = Mask.full(net)
    search = Search(scope="layer", ratio=0.9, fc_ratio=0.2, output_ratio=0.1)
    cut = prune_round(search, SCORES["magnitude"](prunable(net), mask), mask, layer_roles(net, (1, 8, 8)))
    assert int((~cut["1.weight"]).sum()) == 256
    assert int((~cut["3.weight"]).sum()) == 20


def test_an_output_layer_that_is_a_convolution_is_the_output():
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 6), nn.Flatten())
    mask = Mask.full(net)
    search = Search(scope="layer", ratio=0.5, output_ratio=0.25)
    cut = prune_round(search, SCORES["magnitude"](prunable(net), mask), mask, layer_roles(net, (1, 8, 8)))
    assert int((~cut["0.weight"]).sum()) == 36
    assert int((~cut["2.weight"]).sum()) == 720


@pytest.mark.parametrize("scores", SCORES)
def test_layer_wise_pruning_is_torch_prune_over_several_rounds(scores):
    """Within a layer, a factor on all scores changes nothing, so both scores do what L1Unstructured does."""
    torch.manual_seed(0)
    net = Backwards()
    theirs = Backwards()
    theirs.load_state_dict(net.state_dict())
    search = Search(scope="layer", ratio=0.37, fc_ratio=0.21, output_ratio=0.13)
    shares = {"one": 0.37, "two": 0.37, "hidden": 0.21, "head": 0.13}
    which = layer_roles(net, (1, 8, 8))
    mask = Mask.full(net)
    for _ in range(3):
        mask = prune_round(search, SCORES[scores](prunable(net), mask), mask, which)
        for name, share in shares.items():
            torch_prune.l1_unstructured(theirs.get_submodule(name), "weight", amount=share)
            assert torch.equal(mask[f"{name}.weight"], theirs.get_submodule(name).weight_mask.bool()), name


def test_a_weight_that_is_not_finite_is_refused_in_a_spared_layer_too():
    scores = scores_of(5, 0)
    scores["fc.weight"][0, 0] = torch.inf
    search = Search(scope="layer", ratio=0.5, ignored_layers="fc.weight")
    with pytest.raises(InputError, match=r"not finite.*lower search\.lr"):
        prune_round(search, scores, full(), ROLES)


@pytest.mark.parametrize(
    ("changes", "layer"),
    [
        ({"ratio": 0.9, "fc_ratio": 0.1}, "two.weight"),
        ({"ratio": 0.1, "fc_ratio": 0.999, "output_ratio": 0.1}, "fc.weight"),
        ({"ratio": 0.1, "output_ratio": 0.99}, "head.weight"),
    ],
)
def test_a_share_that_empties_a_layer_names_it_and_what_to_lower(changes, layer):
    mask = {**full(), "two.weight": torch.zeros(6, 5, 3, 3, dtype=torch.bool)}
    mask["two.weight"][0, 0, 0, :2] = True
    with pytest.raises(
        InputError,
        match=rf"nothing of {layer}: lower search\.ratio, search\.fc_ratio or search\.output_ratio",
    ):
        prune_round(Search(scope="layer", **changes), scores_of(5, 0), Mask(mask), ROLES)
