"""Our L2 attacks against torchattacks' and foolbox's: the same images in float64."""

import warnings

import eagerpy as ep
import pytest
import torch
import torchattacks
from oracle_nets import N, assert_same, batch
from torch import Tensor, nn

from attacks import FGSM, PGD, ThreatModel

with warnings.catch_warnings():
    # foolbox 3.3.4 takes gaussian_filter from where SciPy no longer wants it
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox import PyTorchModel
    from foolbox.attacks import L2FastGradientAttack, L2ProjectedGradientDescentAttack

EPS, STEP = 0.5, 0.125
THREAT = ThreatModel("L2", EPS)


class FromStart(L2ProjectedGradientDescentAttack):
    """Foolbox's PGD from our start."""

    start: Tensor

    def get_random_start(self, x0: ep.Tensor, epsilon: float) -> ep.Tensor:
        return ep.astensor(self.start)


def torchattacks_pgd(net: nn.Module, **settings: object) -> torchattacks.PGDL2:
    """Theirs adds 1e-10 to the gradient's length, against zeros; our gradients here are none."""
    return torchattacks.PGDL2(net, eps=EPS, eps_for_division=0, **settings)


@pytest.mark.parametrize(("steps", "size"), [(1, EPS), (10, STEP)])
def test_pgd_from_the_image_is_torchattacks(steps, size, name, net, ours):
    images, labels = batch(name, torch.float64)
    oracle = torchattacks_pgd(net, alpha=size, steps=steps, random_start=False)(images, labels)
    attack = PGD(THREAT, steps=steps, step_size=size, random_start=False)
    assert_same(attack(ours, images, labels), oracle, images)


def test_pgd_from_their_random_start_is_torchattacks(name, net, ours):
    images, labels = batch(name, torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        noise = torch.randn_like(images)
        lengths = noise.flatten(1).norm(dim=1).reshape(N, 1, 1, 1)
        start = (images + noise * (torch.rand_like(lengths) / lengths * EPS)).clamp(0, 1)
        torch.manual_seed(3)  # they draw the same numbers once more
        oracle = torchattacks_pgd(net, alpha=STEP, steps=7, random_start=True)(images, labels)
    attack = PGD(THREAT, steps=7)
    assert_same(attack.run(ours, images, labels, start=start).images, oracle, images)


def test_pgd_from_our_random_start_is_foolbox_s(name, net, ours):
    images, labels = batch(name, torch.float64)
    theirs = FromStart(abs_stepsize=STEP, steps=7, random_start=True)
    theirs.start = THREAT.random_start(images, torch.arange(N), seed=4)
    oracle = theirs.run(PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPS)
    assert_same(PGD(THREAT, steps=7)(ours, images, labels, seed=4), oracle, images)


def test_fgm_is_foolbox_s(name, net, ours):
    images, labels = batch(name, torch.float64)
    attack = L2FastGradientAttack(random_start=False)
    oracle = attack.run(PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPS)
    assert_same(FGSM(THREAT)(ours, images, labels), oracle, images)


def test_bounds_and_eps_beyond_the_unit_box_are_foolbox_s_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double().eval()
    generator = torch.Generator().manual_seed(2)
    images = 4 * torch.rand(N, 3, 2, 2, generator=generator, dtype=torch.float64) - 2
    labels = torch.arange(N)
    theirs = L2ProjectedGradientDescentAttack(abs_stepsize=1.5, steps=5, random_start=False)
    oracle = theirs.run(PyTorchModel(net, bounds=(-2, 2), device="cpu"), images, labels, epsilon=4.0)
    attack = PGD(ThreatModel("L2", 4.0, (-2.0, 2.0)), steps=5, step_size=1.5, random_start=False)
    assert_same(attack(net, images, labels), oracle, images)
    assert float(oracle.max()) == 2
