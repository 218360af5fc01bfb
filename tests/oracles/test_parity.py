"""FGSM, PGD and Square equal those of torchattacks and foolbox: images in float64, losses in float32.

Ours attack the network or the folded one, the oracles the network.
"""

import warnings

import eagerpy as ep
import pytest
import torch
import torchattacks
from oracle_nets import EPS, STEP, THREAT, N, assert_same, batch, lively
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.attacks import FGSM, PGD, RunOptions, Square, ThreatModel
from robust_tickets.models.fold import fold

with warnings.catch_warnings():
    # foolbox 3.3.4 takes gaussian_filter from where SciPy no longer wants it
    warnings.filterwarnings("ignore", message="Please import `gaussian_filter`", category=DeprecationWarning)
    from foolbox import PyTorchModel
    from foolbox.attacks import (
        L2FastGradientAttack,
        L2ProjectedGradientDescentAttack,
        LinfFastGradientAttack,
        LinfProjectedGradientDescentAttack,
    )

THREATS = {"Linf": THREAT, "L2": ThreatModel("L2", 0.5)}
STEPS = {"Linf": STEP, "L2": 0.125}


def torchattacks_pgd(net: nn.Module, threat: ThreatModel, *, steps: int, size: float, random: bool = False):
    if threat.norm == "Linf":
        return torchattacks.PGD(net, eps=threat.eps, alpha=size, steps=steps, random_start=random)
    # theirs adds 1e-10 to the gradient's length, against zeros; our gradients here are none
    settings = {"alpha": size, "steps": steps, "random_start": random, "eps_for_division": 0}
    return torchattacks.PGDL2(net, eps=threat.eps, **settings)


def foolbox_pgd(net: nn.Module, threat: ThreatModel, *, steps: int, size: float, start: Tensor | None = None):
    kind = {"Linf": LinfProjectedGradientDescentAttack, "L2": L2ProjectedGradientDescentAttack}[threat.norm]

    class FromStart(kind):
        """Their PGD from our start."""

        def get_random_start(self, x0: ep.Tensor, epsilon: float) -> ep.Tensor:
            return ep.astensor(start)

    attack = FromStart(abs_stepsize=size, steps=steps, random_start=start is not None)
    model = PyTorchModel(net, bounds=threat.bounds, device="cpu")
    return lambda images, labels: attack.run(model, images, labels, epsilon=threat.eps)


def foolbox_fgsm(net: nn.Module, threat: ThreatModel):
    attack = {"Linf": LinfFastGradientAttack, "L2": L2FastGradientAttack}[threat.norm](random_start=False)
    model = PyTorchModel(net, bounds=(0, 1), device="cpu")
    return lambda images, labels: attack.run(model, images, labels, epsilon=threat.eps)


FGSMS = {
    "torchattacks": ("Linf", lambda net, threat: torchattacks.FGSM(net, eps=threat.eps)),
    "foolbox": ("Linf", foolbox_fgsm),
    "foolbox in L2": ("L2", foolbox_fgsm),
}
PGDS = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd}


@pytest.mark.parametrize("oracle", FGSMS)
def test_fgsm_is_theirs_in_float64(oracle, name, net, ours):
    (norm, build), (images, labels) = FGSMS[oracle], batch(name, torch.float64)
    threat = THREATS[norm]
    assert_same(FGSM(threat)(ours, images, labels), build(net, threat)(images, labels), images)


@pytest.mark.parametrize(("steps", "rel_step"), [(1, 1), (2, 0.5), (10, 0.375)])
@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("oracle", PGDS)
def test_pgd_from_the_image_is_theirs_in_float64(oracle, norm, steps, rel_step, name, net, ours):
    (images, labels), threat = batch(name, torch.float64), THREATS[norm]
    size = rel_step * threat.eps
    theirs = PGDS[oracle](net, threat, steps=steps, size=size)(images, labels)
    attack = PGD(threat, steps=steps, step_size=size, random_start=False)
    assert_same(attack(ours, images, labels), theirs, images)


@pytest.mark.parametrize("norm", THREATS)
def test_pgd_from_the_random_start_of_torchattacks_is_theirs_in_float64(norm, name, net, ours):
    (images, labels), threat = batch(name, torch.float64), THREATS[norm]
    theirs = torchattacks_pgd(net, threat, steps=7, size=STEPS[norm], random=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if norm == "Linf":
            noise = torch.empty_like(images).uniform_(-EPS, EPS)
        else:
            noise = torch.randn_like(images)
            lengths = noise.flatten(1).norm(dim=1).reshape(N, 1, 1, 1)
            noise *= torch.rand_like(lengths) / lengths * threat.eps
        torch.manual_seed(3)  # they draw the same numbers once more
        oracle = theirs(images, labels)
    result = PGD(threat, steps=7).run(ours, images, labels, start=(images + noise).clamp(0, 1))
    assert_same(result.images, oracle, images)


@pytest.mark.parametrize("norm", THREATS)
def test_pgd_from_our_random_start_is_foolbox_s_in_float64(norm, name, net, ours):
    (images, labels), threat = batch(name, torch.float64), THREATS[norm]
    start = threat.random_start(images, torch.arange(N), seed=4)
    oracle = foolbox_pgd(net, threat, steps=7, size=STEPS[norm], start=start)(images, labels)
    assert_same(PGD(threat, steps=7)(ours, images, labels, seed=4), oracle, images)


@pytest.mark.parametrize(("norm", "eps", "size"), [("Linf", 1.5, 0.4), ("L2", 4.0, 1.5)])
def test_bounds_and_eps_beyond_the_unit_box_are_foolbox_s_too(norm, eps, size):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).double().eval()
    generator = torch.Generator().manual_seed(2)
    images = 4 * torch.rand(N, 3, 2, 2, generator=generator, dtype=torch.float64) - 2
    labels, threat = torch.arange(N), ThreatModel(norm, eps, (-2.0, 2.0))
    oracle = foolbox_pgd(net, threat, steps=5, size=size)(images, labels)
    attack = PGD(threat, steps=5, step_size=size, random_start=False)
    assert_same(attack(net, images, labels), oracle, images)
    assert float(oracle.max()) == 2


def test_verdicts_are_foolbox_s_in_float64(name, net, ours):
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
@pytest.mark.parametrize("oracle", PGDS)
def test_pixels_and_losses_are_nearly_theirs_in_float32(oracle, folded, name):
    net, (images, labels) = lively(name, torch.float32), batch(name, torch.float32)
    ours = fold(net) if folded else net
    step = FGSMS[oracle][1](net, THREAT)(images, labels)
    assert ((FGSM(THREAT)(ours, images, labels) - step).abs() < 1e-6).double().mean() > 0.999
    climb = PGDS[oracle](net, THREAT, steps=10, size=STEP)(images, labels)
    adversarial = PGD(THREAT, steps=10, step_size=STEP, random_start=False)(ours, images, labels)
    with torch.no_grad():
        clean, theirs, own = (float(F.cross_entropy(net(x), labels)) for x in (images, climb, adversarial))
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
