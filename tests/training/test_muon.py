"""Muon: its directions against singular values, its steps against PyTorch's, and what it leaves to SGD."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import half_mask, train

from robust_tickets.base.errors import InputError
from robust_tickets.models import registry
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_schedules import search_rate
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.muon import Muon, hidden_weights, orthogonalised
from robust_tickets.training.optimisers import make_optimiser, set_learning_rate


def iterated(sizes):
    """The five steps on singular values alone."""
    sizes = sizes / sizes.norm()
    for _ in range(5):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    return sizes


def by_singular_values(matrix):
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u @ torch.diag(iterated(s)) @ v


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 3), (4, 9), (9, 4), (1, 5), (5, 1)])
def test_each_singular_value_goes_through_the_polynomial(shape):
    matrix = random(*shape)
    torch.testing.assert_close(
        orthogonalised(matrix[None])[0], by_singular_values(matrix), rtol=1e-9, atol=1e-12
    )


def test_matrices_are_orthogonalised_one_by_one():
    matrices = random(3, 4, 9)
    one_by_one = torch.stack([by_singular_values(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonalised(matrices), one_by_one, rtol=1e-9, atol=1e-12)


def test_in_float32_no_singular_value_strays():
    """A gradient has singular values of all sizes, and float32 loses the smallest beside the largest."""
    u, _ = torch.linalg.qr(random(64, 64))
    v, _ = torch.linalg.qr(random(64, 64, seed=1))
    sizes = torch.logspace(0, -9, 64, dtype=torch.float64)
    new = torch.linalg.svdvals(orthogonalised((u @ torch.diag(sizes) @ v).float()[None])[0])
    expected = iterated(sizes).sort(descending=True).values
    torch.testing.assert_close(new.double(), expected, rtol=0, atol=0.005)


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(1, 4, 9)), torch.zeros(1, 4, 9))


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_steps_on_matrices_are_those_of_pytorch(shape):
    """PyTorch orthogonalises in bfloat16, so that directions agree to its rounding."""
    ours, theirs = (nn.Parameter(random(*shape, dtype=torch.float32)) for _ in range(2))
    begin = ours.detach().clone()
    settings = {"momentum": 0.9, "weight_decay": 0.1}
    own = Muon([ours], {ours: 1}, lr=0.02, other_lr=0.1, **settings)
    other = torch.optim.Muon([theirs], lr=0.02, **settings)
    for step in range(5):
        for weight, optimiser in ((ours, own), (theirs, other)):
            weight.grad = random(*shape, seed=step + 1, dtype=torch.float32)
            optimiser.step()
    assert (ours - theirs).norm() < 0.02 * (ours - begin).norm()


def test_all_else_has_the_bits_of_sgd():
    kinds = [nn.Parameter(random(*shape, dtype=torch.float32)) for shape in [(6,), (3, 6)]]
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in kinds]
    matrix = nn.Parameter(random(6, 4, dtype=torch.float32))
    muon = Muon([matrix, *kinds], {matrix: 1}, lr=0.02, other_lr=0.1, momentum=0.9, weight_decay=1e-2)
    sgd = torch.optim.SGD(copies, lr=0.1, momentum=0.9, weight_decay=1e-2)
    for step in range(3):
        for optimiser, parameters in ((muon, [matrix, *kinds]), (sgd, copies)):
            for parameter in parameters:
                parameter.grad = random(*parameter.shape, seed=step, dtype=torch.float32)
            set_learning_rate(optimiser, 0.05)
            optimiser.step()
    for parameter, copy in zip(kinds, copies, strict=True):
        assert torch.equal(parameter, copy)


def test_each_group_of_a_convolution_is_a_matrix_of_its_own():
    whole = nn.Parameter(random(6, 2, 3, 3, dtype=torch.float64))
    halves = [nn.Parameter(part.detach().clone()) for part in whole.chunk(2)]
    gradient = random(6, 2, 3, 3, seed=1)
    whole.grad = gradient
    for half, part in zip(halves, gradient.chunk(2), strict=True):
        half.grad = part.clone()
    for optimiser in (
        Muon([whole], {whole: 2}, lr=0.02, other_lr=0.1),
        Muon(halves, dict.fromkeys(halves, 1), lr=0.02, other_lr=0.1),
    ):
        optimiser.step()
    torch.testing.assert_close(whole, torch.cat(list(halves)), rtol=1e-12, atol=1e-12)


def test_one_schedule_gives_both_rates():
    weight, bias = nn.Parameter(random(4, 4)), nn.Parameter(random(4))
    optimiser = Muon([weight, bias], {weight: 1}, lr=0.02, other_lr=0.1)
    set_learning_rate(optimiser, 0.05)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.01, 0.05])


@pytest.mark.parametrize("name", ["conv-2", "resnet20", "vgg16-fc"])
def test_it_takes_the_weights_of_hidden_layers(name):
    spec = registry.ModelSpec(name, 0.25, (3, 32, 32), 10, (0.5,) * 3, (0.25,) * 3)
    net = registry.build(spec, seed=0)
    optimiser = make_optimiser(net, spec.shape, Training(optimiser="muon"))
    matrices, others = ({id(p) for p in group["params"]} for group in optimiser.param_groups)
    names = {name for name, p in net.named_parameters() if id(p) in matrices}
    weights = {name for name, p in net.named_parameters() if p.ndim > 1}
    assert len(weights - names) == 1  # of the output layer
    assert net.get_parameter(next(iter(weights - names))).shape[0] == spec.classes
    assert len(matrices) + len(others) == len(list(net.parameters()))


def test_pruned_weights_stay_zero_and_are_forgotten(conv_net, tiny_data, config, monkeypatch):
    from robust_tickets.training import loop

    optimisers, real = [], loop.make_optimiser
    monkeypatch.setattr(loop, "make_optimiser", lambda *a: optimisers.append(real(*a)) or optimisers[-1])
    mask = half_mask(conv_net)
    train(conv_net, mask, tiny_data, replace(config, settings=replace(config.settings, optimiser="muon")))
    for name, keep in mask.items():
        weight = conv_net.get_parameter(name)
        (buffer,) = optimisers[0].state[weight].values()
        for tensor in (weight, buffer):
            assert torch.all(tensor[~keep] == 0.0), name
            assert torch.any(tensor[keep] != 0.0), name


def test_a_weight_that_two_layers_share_is_taken_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    net = nn.Sequential(first, second, nn.Linear(4, 2))
    assert hidden_weights(net, "2.weight") == {first.weight: 1}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"muon_lr": 0.01}}, r"train\.muon_lr does nothing to the optimiser sgd"),
        (
            {"search": {"muon_lr": 0.01, "optimiser": "adam"}},
            r"search\.muon_lr does nothing to the optimiser",
        ),
        (
            {"search": {"pruning_method": "edge_popup", "optimiser": "muon"}},
            r"search\.optimiser muon orthogonalises the steps of weights",
        ),
        (
            {"search": {"basis": "dct", "optimiser": "muon"}},
            r"search\.optimiser muon does not go with search\.basis dct",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        recipes.from_table(table)


@pytest.mark.parametrize(("optimiser", "rate"), [("muon", 0.01), ("sgd", 0.04)])
def test_dense_at_the_rates_of_the_search_has_both_where_both_have_muon(optimiser, rate):
    search = {"optimiser": optimiser, "lr": 0.05} | ({"muon_lr": 0.01} if optimiser == "muon" else {})
    recipe = recipes.from_table({"search": search, "train": {"optimiser": "muon", "muon_lr": 0.04}})
    training = search_rate(recipe)
    assert (training.lr, training.muon_lr) == (0.05, rate)
