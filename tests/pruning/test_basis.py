"""Bases of weights: orthonormal, as scipy and numpy have them; a mask of coefficients is their training."""

import numpy as np
import pytest
import torch
from scipy import fft
from torch import nn
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import basis_generator
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.basis import check_own_weights, dct_matrix, make_basis, random_matrix
from robust_tickets.pruning.basis_masking import BasisMasking
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for

KINDS = [("dct", "spatial"), ("dct", "all"), ("random", "spatial"), ("random", "all"), ("svd", "spatial")]


class Toy(nn.Module):
    """A convolution, a BatchNorm, another convolution and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.head = nn.Conv2d(6, 5, 3), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(torch.tanh(self.two(self.norm(self.one(x)))).mean((2, 3)))


def half(basis, net):
    """The mask of the larger half of each layer's candidates."""
    entries = {}
    for name, weight in prunable_weights(net).items():
        scores = basis.coefficients(name, weight.detach()).abs().flatten()
        candidates = basis.candidates(name, weight.shape).flatten()
        order = scores.masked_fill(~candidates, -1).argsort(descending=True)
        kept = torch.zeros(weight.numel(), dtype=torch.bool)
        kept[order[: int(candidates.sum()) // 2]] = True
        entries[name] = basis.chosen(name, kept.reshape(weight.shape))
    return Mask(entries, basis)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64])
def test_matrices_are_orthonormal(n):
    for matrix in (dct_matrix(n), random_matrix(n, basis_generator(0))):
        torch.testing.assert_close(matrix @ matrix.t(), torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_cosine_transform_is_scipy_s():
    weights = {"conv": torch.rand(6, 5, 3, 3).double(), "fc": torch.rand(7, 4).double()}
    spatial, every = (make_basis("dct", axes, weights, 0) for axes in ("spatial", "all"))
    for name, axes in (("conv", (2, 3)), ("fc", ())):
        expected = fft.dctn(weights[name].numpy(), axes=axes, norm="ortho")
        np.testing.assert_allclose(spatial.coefficients(name, weights[name]), expected, atol=1e-12)
    for name, weight in weights.items():
        expected = fft.dctn(weight.numpy(), norm="ortho")
        np.testing.assert_allclose(every.coefficients(name, weight), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "axes"), KINDS)
def test_coefficients_give_the_weight_again_and_have_its_norm(kind, axes):
    weights = {"conv": torch.rand(6, 5, 3, 2).double(), "fc": torch.rand(3, 8).double()}
    basis = make_basis(kind, axes, weights, 3)
    for name, weight in weights.items():
        coefficients = basis.coefficients(name, weight)
        assert coefficients.shape == weight.shape
        torch.testing.assert_close(basis.weight(name, coefficients), weight)
        torch.testing.assert_close(coefficients.norm(), weight.norm())
    other = make_basis(kind, axes, weights, 4)
    assert basis == make_basis(kind, axes, weights, 3)
    assert (basis == other) == (kind != "random")


@pytest.mark.parametrize(("kind", "axes"), KINDS)
def test_the_projection_is_one_and_drops_the_energy_of_the_pruned_coefficients(kind, axes):
    net = Toy().double()
    basis = make_basis(kind, axes, prunable_weights(net), 0)
    mask = half(basis, net)
    for name, weight in prunable_weights(net).items():
        once = basis.project(name, weight, mask[name])
        torch.testing.assert_close(basis.project(name, once, mask[name]), once)
        dropped = basis.coefficients(name, weight)[~mask[name]]
        torch.testing.assert_close((weight - once).norm(), dropped.norm())
        assert bool((once[~mask.support[name]].abs() < 1e-12).all())


@pytest.mark.parametrize("kind", ["svd", "svd-block"])
def test_the_largest_singular_values_are_numpy_s_truncated_decomposition(kind):
    weight = torch.randn(9, 4, 3, 3).double()
    basis = make_basis(kind, "spatial", {"w": weight}, 0)
    candidates = basis.candidates("w", weight.shape)
    coefficients = basis.coefficients("w", weight)
    left, values, right = np.linalg.svd(weight.numpy().reshape(9, -1), full_matrices=False)
    np.testing.assert_allclose(coefficients[candidates].abs(), values, atol=1e-12)
    assert bool((coefficients[~candidates].abs() < 1e-12).all())
    kept = torch.zeros_like(candidates)
    kept.reshape(9, -1)[range(3), range(3)] = True
    expected = (left[:, :3] * values[:3]) @ right[:3]
    mask = basis.chosen("w", kept)
    assert int(mask.sum()) == (9 if kind == "svd-block" else 3)
    np.testing.assert_allclose(basis.project("w", weight, mask).reshape(9, -1), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "axes"), [*KINDS, ("svd-block", "spatial")])
def test_sgd_under_a_mask_is_the_training_of_the_kept_coefficients(kind, axes):
    """With momentum and weight decay, in float64, against coefficients that are parameters themselves."""
    net, twin = Toy().double(), Toy().double()
    basis = make_basis(kind, axes, prunable_weights(net), 0)
    mask = half(basis, net)
    images, labels = torch.rand(8, 1, 6, 6).double(), torch.arange(8) % 4
    masking = masking_for(net, mask, (1, 6, 6))
    assert isinstance(masking, BasisMasking)
    masking.mask_parameters()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2, nesterov=True)

    pruned = prunable_weights(twin)
    coefficients = {
        name: (basis.coefficients(name, weight.detach()) * mask[name]).requires_grad_()
        for name, weight in pruned.items()
    }
    others = [p for name, p in twin.named_parameters() if name not in pruned]
    theirs = torch.optim.SGD(
        [*coefficients.values(), *others], lr=0.1, momentum=0.9, weight_decay=1e-2, nesterov=True
    )
    for _ in range(20):
        optimiser.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        masking.mask_gradients()
        for name, weight in prunable_weights(net).items():  # so that momentum holds nothing of the rest
            torch.testing.assert_close(basis.project(name, weight.grad, mask[name]), weight.grad)
        optimiser.step()
        masking.mask_parameters()
        theirs.zero_grad()
        weights = {n: basis.weight(n, c * mask[n]) for n, c in coefficients.items()}
        F.cross_entropy(torch.func.functional_call(twin, weights, (images,)), labels).backward()
        theirs.step()
    moved = 0.0
    for name, weight in prunable_weights(net).items():
        expected = basis.weight(name, coefficients[name].detach() * mask[name])
        torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-10)
        moved = max(moved, float((expected - pruned[name].detach()).abs().max()))
    assert moved > 0.05
    masking.check()


def test_a_weight_that_something_else_changes_is_noticed():
    net = Toy()
    basis = make_basis("dct", "spatial", prunable_weights(net), 0)
    masking = masking_for(net, half(basis, net), (1, 6, 6))
    masking.mask_parameters()
    masking.check()
    with torch.no_grad():
        net.two.weight += 0.01 * torch.rand_like(net.two.weight)
    with pytest.raises(InputError, match=r"two.weight has left the span of its coefficients"):
        masking.check()


def test_a_whole_layer_is_left_alone_bit_for_bit():
    net = Toy()
    before = copy_state(net)
    basis = make_basis("random", "all", prunable_weights(net), 0)
    masking = masking_for(net, Mask(dict(Mask.full(net).items()), basis), (1, 6, 6))
    masking.mask_parameters()
    assert all(torch.equal(value, before[name]) for name, value in copy_state(net).items())


def test_a_shared_weight_is_refused_by_name():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    with pytest.raises(InputError, match=r"0\.weight is shared by 0 and 2, and a basis is of one layer"):
        check_own_weights(net, prunable_weights(net))


def test_masks_are_equal_in_the_same_basis_alone_and_keep_it():
    net = Toy()
    basis = make_basis("dct", "spatial", prunable_weights(net), 0)
    mask = half(basis, net)
    assert mask != Mask(dict(mask.items()))
    assert mask == Mask(dict(mask.items()), make_basis("dct", "spatial", prunable_weights(net), 0))
    names = list(mask)
    assert mask.with_entries(names, torch.cat([mask[name].flatten() for name in names])) == mask
    assert not mask.has_dead_channels
    with pytest.raises(InputError, match=r"coefficients of the basis dct, and a sparse file needs one"):
        mask.check_canonical("a sparse file")
