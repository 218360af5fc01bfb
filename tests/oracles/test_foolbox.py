"""Our attacks against foolbox's: the same images in float64, the same losses in float32."""

import warnings

import eagerpy as ep
import pytest
import torch
from oracle_nets import EPS, STEP, THREAT, N, assert_same, batch, lively
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import FGSM, PGD, ThreatModel
from robust_tickets.models.fold import fold

with warnings.catch_warnings():
    # foolbox 3.3.4 takes gaussian_filter from where SciPy no longer wants it
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfFastGradientAttack, LinfProjectedGradientDescentAttack


class FromStart(LinfProjectedGradientDescentAttack):
    """Their PGD from our start."""

    start: Tensor

    def get_random_start(self, x0: ep.Tensor, epsilon: float) -> ep.Tensor:
        return ep.astensor(self.start)


def their_pgd(net: nn.Module, images: Tensor, labels: Tensor, *, steps: int, size: float) -> Tensor:
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=size, steps=steps, random_start=False)
    return attack.run(PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPS)


def their_fgsm(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    attack = LinfFastGradientAttack(random_start=False)
    return attack.run(PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPS)


def test_fgsm_is_theirs_in_float64(name, net, ours):
    images, labels = batch(name, torch.float64)
    assert_same(FGSM(THREAT)(ours, images, labels), their_fgsm(net, images, labels), images)


@pytest.mark.parametrize(("steps", "size"), [(1, EPS), (2, STEP), (10, 1.5 * STEP)])
def test_pgd_from_the_image_is_theirs_in_float64(steps, size, name, net, ours):
    images, labels = batch(name, torch.float64)
    attack = PGD(THREAT, steps=steps, step_size=size, random_start=False)
    oracle = their_pgd(net, images, labels, steps=steps, size=size)
    assert_same(attack(ours, images, labels), oracle, images)


def test_pgd_from_a_random_start_is_theirs_in_float64(name, net, ours):
    images, labels = batch(name, torch.float64)
    theirs = FromStart(abs_stepsize=STEP, steps=7, random_start=True)
    theirs.start = THREAT.random_start(images, torch.arange(N), seed=4)
    model = PyTorchModel(net, bounds=(0, 1), device="cpu")
    oracle = theirs.run(model, images, labels, epsilon=EPS)
    attack = PGD(THREAT, steps=7, step_size=STEP)
    assert_same(attack(ours, images, labels, seed=4), oracle, images)
    assert_same(attack.run(ours, images, labels, start=theirs.start).images, oracle, images)


def test_bounds_and_eps_beyond_the_unit_box_are_theirs_too():
    torch_net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double().eval()
    generator = torch.Generator().manual_seed(2)
    images = 4 * torch.rand(N, 3, 2, 2, generator=generator, dtype=torch.float64) - 2
    labels = torch.arange(N)
    theirs = LinfProjectedGradientDescentAttack(abs_stepsize=0.4, steps=5, random_start=False)
    oracle = theirs.run(PyTorchModel(torch_net, bounds=(-2, 2), device="cpu"), images, labels, epsilon=1.5)
    attack = PGD(ThreatModel("Linf", 1.5, (-2.0, 2.0)), steps=5, step_size=0.4, random_start=False)
    assert_same(attack(torch_net, images, labels), oracle, images)
    assert float(oracle.max()) == 2


def test_verdicts_are_theirs_in_float64(name, net, ours):
    """Foolbox counts the last image alone, we every iterate: of one step these are the image and the last."""
    images, _ = batch(name, torch.float64)
    with torch.no_grad():
        labels = net(images).argmax(1)
    model = PyTorchModel(net, bounds=(0, 1), device="cpu")
    verdicts = []
    for eps in (EPS / 40, EPS, 10 * EPS):
        _, _, success = LinfFastGradientAttack(random_start=False)(model, images, labels, epsilons=eps)
        assert torch.equal(FGSM(ThreatModel("Linf", eps)).run(ours, images, labels).broken, success)
        verdicts += success.tolist()
    assert len(set(verdicts)) == 2


@pytest.mark.parametrize("folded", [False, True], ids=["net", "folded"])
def test_one_step_moves_nearly_every_pixel_as_theirs_in_float32(folded, name):
    net, (images, labels) = lively(name, torch.float32), batch(name, torch.float32)
    adversarial = FGSM(THREAT)(fold(net) if folded else net, images, labels)
    oracle = their_fgsm(net, images, labels)
    assert ((adversarial - oracle).abs() < 1e-6).double().mean() > 0.999


@pytest.mark.parametrize("folded", [False, True], ids=["net", "folded"])
def test_final_losses_are_theirs_within_a_thousandth_in_float32(folded, name):
    net, (images, labels) = lively(name, torch.float32), batch(name, torch.float32)
    attack = PGD(THREAT, steps=10, step_size=STEP, random_start=False)
    adversarial = attack(fold(net) if folded else net, images, labels)
    oracle = their_pgd(net, images, labels, steps=10, size=STEP)
    with torch.no_grad():
        clean, theirs, own = (float(F.cross_entropy(net(x), labels)) for x in (images, oracle, adversarial))
    assert theirs > 1.05 * clean  # the law is not about the clean loss
    assert own == pytest.approx(theirs, rel=1e-3)
