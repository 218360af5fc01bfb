"""Our attacks against torchattacks': the same images in float64, the same losses in float32."""

import pytest
import torch
import torchattacks
from oracle_nets import EPS, STEP, THREAT, N, assert_same, batch, lively
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import FGSM, PGD, RunOptions, Square, ThreatModel
from robust_tickets.models.fold import fold


def test_fgsm_is_theirs_in_float64(name, net, ours):
    images, labels = batch(name, torch.float64)
    oracle = torchattacks.FGSM(net, eps=EPS)(images, labels)
    assert_same(FGSM(THREAT)(ours, images, labels), oracle, images)


@pytest.mark.parametrize(("steps", "size"), [(1, EPS), (2, STEP), (10, 1.5 * STEP)])
def test_pgd_from_the_image_is_theirs_in_float64(steps, size, name, net, ours):
    images, labels = batch(name, torch.float64)
    oracle = torchattacks.PGD(net, eps=EPS, alpha=size, steps=steps, random_start=False)(images, labels)
    attack = PGD(THREAT, steps=steps, step_size=size, random_start=False)
    assert_same(attack(ours, images, labels), oracle, images)


def test_pgd_from_their_random_start_is_theirs_in_float64(name, net, ours):
    images, labels = batch(name, torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        start = (images + torch.empty_like(images).uniform_(-EPS, EPS)).clamp(0, 1)
        torch.manual_seed(3)  # they draw the same numbers once more
        oracle = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=7, random_start=True)(images, labels)
    attack = PGD(THREAT, steps=7, step_size=STEP)
    assert_same(attack.run(ours, images, labels, start=start).images, oracle, images)


def test_pgd_from_our_random_start_is_theirs_in_float64(name, net, ours, monkeypatch):
    images, labels = batch(name, torch.float64)
    start = THREAT.random_start(images, torch.arange(N), seed=4)
    with monkeypatch.context() as patch:  # their one draw of noise is ours
        patch.setattr(Tensor, "uniform_", lambda noise, low, high: noise.copy_(start - images))
        oracle = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=7, random_start=True)(images, labels)
    assert_same(PGD(THREAT, steps=7, step_size=STEP)(ours, images, labels, seed=4), oracle, images)


@pytest.mark.parametrize("folded", [False, True], ids=["net", "folded"])
def test_one_step_moves_nearly_every_pixel_as_theirs_in_float32(folded, name):
    net, (images, labels) = lively(name, torch.float32), batch(name, torch.float32)
    oracle = torchattacks.FGSM(net, eps=EPS)(images, labels)
    adversarial = FGSM(THREAT)(fold(net) if folded else net, images, labels)
    assert ((adversarial - oracle).abs() < 1e-6).double().mean() > 0.999


@pytest.mark.parametrize("folded", [False, True], ids=["net", "folded"])
def test_final_losses_are_theirs_within_a_thousandth_in_float32(folded, name):
    net, (images, labels) = lively(name, torch.float32), batch(name, torch.float32)
    oracle = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=10, random_start=False)(images, labels)
    attack = PGD(THREAT, steps=10, step_size=STEP, random_start=False)
    adversarial = attack(fold(net) if folded else net, images, labels)
    with torch.no_grad():
        clean, theirs, own = (float(F.cross_entropy(net(x), labels)) for x in (images, oracle, adversarial))
    assert theirs > 1.05 * clean  # the law is not about the clean loss
    assert own == pytest.approx(theirs, rel=1e-3)


def test_pgd_with_momentum_is_their_mi_fgsm_in_float64(name, net, ours):
    images, labels = batch(name, torch.float64)
    oracle = torchattacks.MIFGSM(net, eps=EPS, alpha=STEP, steps=6, decay=0.9)(images, labels)
    attack = PGD(THREAT, steps=6, step_size=STEP, random_start=False, momentum=0.9)
    assert_same(attack(ours, images, labels), oracle, images)


@pytest.mark.parametrize("threat", [ThreatModel("Linf", 0.02), ThreatModel("L2", 0.2)], ids=["Linf", "L2"])
def test_square_is_as_strong_as_theirs(threat):
    """Another implementation, which draws one window for the whole batch: about as many of 100 images."""
    images = torch.rand(100, 3, 10, 10, generator=torch.Generator().manual_seed(5))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()
        net = nn.Sequential(*layers, nn.Linear(8 * 6 * 6, 6)).eval()
        net[-1].bias -= net(images).mean(0)  # else one class wins everywhere
        labels = net(images).argmax(1)
        oracle = torchattacks.Square(
            net, norm=threat.norm, eps=threat.eps, n_queries=300, resc_schedule=False
        )
        theirs = float((net(oracle(images, labels)).argmax(1) != labels).double().mean())
    result = Square(threat, queries=301).run(net, images, labels, options=RunOptions(stop_when_broken=True))
    assert 0.2 < theirs < 0.8
    assert float(result.broken.double().mean()) == pytest.approx(theirs, abs=0.1)
