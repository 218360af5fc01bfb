"""Files with more than a state dict, or with other tensors: nothing is filled in or passed over."""

import pytest
import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training.published_weights import load_published

SPEC = ModelSpec("nets:Linear", 1.0, (1, 2, 2), 3, (0.0,), (1.0,))


class Linear(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(4, 3))


class WithNorm(nn.Module):
    """A layer of the user's own by the name that this package's normalisations have."""

    def __init__(self):
        super().__init__()
        self.normalise, self.net = nn.BatchNorm2d(1), Linear()

    def forward(self, x):
        return self.net(self.normalise(x))


def with_mask():
    net = Linear()
    net[0].register_buffer("mask", torch.zeros(2))
    return net


WEIGHTS = {"1.weight": torch.arange(12.0).reshape(3, 4) + 1, "1.bias": torch.ones(3)}
MASK = (torch.arange(12) % 2 == 0).reshape(3, 4)


def load(content, tmp_path, make=Linear, weights=None):
    torch.save(content, tmp_path / "weights.pt")
    lines = []
    spec, recipe = SPEC, Recipe()
    return load_published(
        tmp_path / "weights.pt", spec, recipe, make, weights=weights, log=lines.append
    ), lines


def test_a_layer_of_the_users_that_is_called_normalise_is_not_filled_in(tmp_path):
    prefixed = {f"net.{name}": tensor for name, tensor in WEIGHTS.items()}
    with pytest.raises(InputError, match=r"4 names: normalise\.weight is missing"):
        load(prefixed, tmp_path, WithNorm)
    state = WithNorm().state_dict() | prefixed
    state["normalise.running_mean"] += 2
    del state["normalise.num_batches_tracked"]
    assert load(state, tmp_path, WithNorm)[0].state["normalise.running_mean"].item() == 2


def test_the_number_of_names_is_grammatical(tmp_path):
    with pytest.raises(InputError, match=r"; 1 name: 1\.bias is missing"):
        load({"1.weight": WEIGHTS["1.weight"]}, tmp_path)


@pytest.mark.parametrize(
    "masks",
    [
        {"mask": {"1.weight": MASK}},
        {"mask": {"module.1.weight": MASK.float()}},
        {"mask": {"1": MASK}},
        {"mask": [MASK.int()]},
        {"mask": MASK},
        {"pruning": {"mask": {"a": {"1.weight_mask": MASK}}}},
    ],
)
def test_masks_beside_the_weights_are_said(masks, tmp_path):
    checkpoint, lines = load({"state_dict": WEIGHTS, **masks}, tmp_path)
    assert torch.equal(checkpoint.state["1.weight"], WEIGHTS["1.weight"])
    assert len(lines) == 1
    assert "mask)" in lines[0]
    assert "weights that they prune are not zero" in lines[0]


def test_masks_that_prune_nothing_more_are_not_said(tmp_path):
    pruned = {**WEIGHTS, "1.weight": WEIGHTS["1.weight"] * MASK}
    assert load({"net": pruned, "mask": {"1.weight": MASK}}, tmp_path)[1] == []
    assert load({"net": WEIGHTS, "mask": {"1.weight": torch.ones(3, 4)}}, tmp_path)[1] == []
    assert load({"net": WEIGHTS, "unmasked": {"a": MASK}, "mask_seed": torch.tensor(3)}, tmp_path)[1] == []
    parts = WEIGHTS | {"0.mask": torch.tensor([0, 1])}  # a buffer of the network's
    assert load({f"net.{name}": tensor for name, tensor in parts.items()}, tmp_path, with_mask)[1] == []
    orig = {"1.weight_orig": WEIGHTS["1.weight"], "1.weight_mask": MASK, "1.bias": WEIGHTS["1.bias"]}
    checkpoint, lines = load(orig, tmp_path)  # of torch.nn.utils.prune: applied
    assert torch.equal(checkpoint.state["1.weight"], WEIGHTS["1.weight"] * MASK)
    assert lines == []


@pytest.mark.parametrize("key", ["net", "unusual"])
def test_masks_with_a_tensor_for_each_weight_are_no_weights(key, tmp_path):
    masks = {name: torch.ones_like(tensor) for name, tensor in WEIGHTS.items()}
    checkpoint, lines = load({"masks": masks, key: WEIGHTS}, tmp_path)
    assert torch.equal(checkpoint.state["1.weight"], WEIGHTS["1.weight"])
    assert lines == []
    ones = load({"net": masks}, tmp_path)[0].state["1.weight"]  # behind another key they may be weights
    assert torch.equal(ones, masks["1.weight"])


@pytest.mark.filterwarnings("ignore")  # that such tensors are new, or old
def test_sparse_and_quantised_tensors_are_read_as_what_they_stand_for(tmp_path):
    pruned = WEIGHTS["1.weight"] * MASK
    quantised = torch.quantize_per_tensor(pruned, 0.5, 0, torch.qint8)
    for weight in (pruned.to_sparse(), pruned.to_sparse_csr(), quantised):
        for content in ({**WEIGHTS, "1.weight": weight}, {"a": [{"net": {**WEIGHTS, "1.weight": weight}}]}):
            assert torch.equal(load(content, tmp_path)[0].state["1.weight"], pruned)


def test_tensors_without_values_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"weights\.pt has tensors without values"):
        load({**WEIGHTS, "1.weight": torch.empty(3, 4, device="meta")}, tmp_path)


def test_other_parts_are_left_out_where_the_users_part_is_named(tmp_path):
    parts = {f"net.{name}": tensor for name, tensor in WEIGHTS.items()} | {"disc.0.weight": torch.ones(1, 9)}
    for content in (parts, {"state_dict": parts}):
        with pytest.raises(
            InputError, match=r"1 name besides the network's \(disc\.0\.weight\).*weights .*net"
        ):
            load(content, tmp_path)
        checkpoint, lines = load(content, tmp_path, weights="net")
        assert torch.equal(checkpoint.state["1.weight"], WEIGHTS["1.weight"])
        assert lines == [f"left out: 1 name besides {checkpoint.arm[11:-1]} (disc.0.weight)"]
