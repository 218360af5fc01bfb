"""NuAT against a plain transcription of the paper's algorithm, in float64, and its nuclear norm."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from method_case import EPS, SHAPE, Counter, SmallNet, batch_of, gradient_of, method_of
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.models.fold import fold
from robust_tickets.training.methods.base import Networks, Step
from robust_tickets.training.methods.nuat import NuATSettings, nuclear_norm


@pytest.fixture
def net():
    net = SmallNet()
    net.dropout.p = 0.0
    with torch.no_grad():
        net(torch.rand(50, *SHAPE, dtype=torch.float64))
    return net


def by_eigenvalues(matrix):
    """The nuclear norm of a matrix with more rows than columns, without a singular value decomposition."""
    return torch.linalg.eigvalsh(matrix.T @ matrix).clamp(min=1e-300).sqrt().sum()


@pytest.mark.parametrize(("number", "joint"), [(20, False), (21, True)])
def test_the_attack_climbs_the_nuclear_norm_in_every_second_step(number, joint, net):
    """Sriramanan et al. 2021, algorithm 1, from Bernoulli noise of half of eps."""
    batch = replace(batch_of(), step=Step(number, 40, classes=5))
    signs = torch.sign(uniform(SHAPE, batch.ids, seed=batch.seed) - 0.5)
    start = (batch.images + 0.5 * EPS * signs).clamp(0, 1)
    clean = net.eval()(batch.images).detach()

    def loss(logits):
        own = F.cross_entropy(logits, batch.labels)
        return own + joint * 30.0 * number / 40 * by_eigenvalues(logits - clean) / 6

    expected = (start + EPS * gradient_of(net, start, loss).sign()).clamp(
        batch.images - EPS, batch.images + EPS
    )
    images = method_of("nuat", weight=30.0).perturb(Networks(net, fold(net)), batch)
    torch.testing.assert_close(images, expected.clamp(0, 1), rtol=0, atol=1e-12)
    other = method_of("nuat", weight=1e-9).perturb(Networks(net, fold(net)), batch)
    assert torch.equal(images, other) is not joint


def test_the_loss_is_the_papers_and_its_weight_rises(net):
    batch = replace(batch_of(), step=Step(10, 40, classes=5))
    adversarial = (batch.images + 0.05 * torch.sign(batch.images - 0.5)).clamp(0, 1)
    twin = SmallNet()
    twin.dropout.p = 0.0
    twin.load_state_dict(net.state_dict())
    loss = method_of("nuat").loss(Networks(net.train(), fold(net)), batch, adversarial)
    clean, other = twin.train()(batch.images), twin.train()(adversarial)
    change = by_eigenvalues(clean - other)
    expected = F.cross_entropy(clean, batch.labels) + 4.0 * 10 / 40 * change / 6
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    ours = torch.autograd.grad(loss, list(net.parameters()))
    theirs = torch.autograd.grad(expected, list(twin.parameters()))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


def test_clean_logits_are_charged_where_the_attack_needs_them(net):
    for number, units in ((0, 8), (1, 9)):
        method, batch = method_of("nuat"), replace(batch_of(), step=Step(number, 40, classes=5))
        attack = Counter(fold(net))
        method.perturb(Networks(net, fold(net), attack), batch)
        cost = method.passes(6, batch.step)
        assert attack.samples == [cost.attack.forward, cost.attack.input_backward]
        assert cost.whole.cost == 6 * units


MATRICES = {
    "any": torch.tensor(np.random.default_rng(0).normal(size=(7, 5))),
    "zero": torch.zeros(7, 5).double(),
    "equal singular values": torch.eye(7, 5).double(),
    "rank one": torch.outer(torch.arange(1.0, 8), torch.arange(1.0, 6)).double(),
    "one row": torch.ones(1, 5).double(),
    "float32, tiny": 1e-30 * torch.ones(7, 5),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_nuclear_norm_and_its_gradient_are_finite(name):
    matrix = MATRICES[name].clone().requires_grad_(True)
    norm = nuclear_norm(matrix)
    (gradient,) = torch.autograd.grad(norm, matrix)
    values = np.linalg.svd(matrix.detach().numpy(), compute_uv=False)
    assert norm.item() == pytest.approx(values.sum(), rel=1e-5)
    # a subgradient: no singular value above 1, and its product with the matrix is the norm
    assert float(torch.linalg.matrix_norm(gradient.double(), 2)) <= 1 + 1e-5
    assert (gradient * matrix).sum().item() == pytest.approx(norm.item(), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_norm_that_is_not_finite_is_nan_and_no_error(value):
    matrix = torch.ones(4, 3)
    matrix[1, 2] = value
    assert bool(nuclear_norm(matrix).isnan())


def test_the_defaults_are_the_papers():
    assert NuATSettings() == NuATSettings(weight=4.0, start=0.5)


@pytest.mark.parametrize(("begin", "count"), [(3, 48), (2, 47), (0, 5)])
def test_half_of_a_schedule_needs_clean_logits(begin, count):
    method = method_of("nuat")
    each = [method.passes(2, Step(number, count, 5)).attack.forward for number in range(begin, count)]
    assert method.schedule_passes(2, begin, count, 5).attack.forward == sum(each)
