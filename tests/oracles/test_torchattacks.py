"""Our attacks against torchattacks': the same images in float64, the same losses in float32."""

import pytest
import torch
import torchattacks
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import FGSM, PGD, ThreatModel
from robust_tickets.models import ModelSpec, build, fold

SPECS = {
    "lenet-300-100": ModelSpec("lenet-300-100", 0.1, (1, 8, 8), 5, (0.3,), (0.4,)),
    "resnet20": ModelSpec("resnet20", 0.5, (3, 8, 8), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
    "vgg16": ModelSpec("vgg16", 0.125, (3, 32, 32), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
}
EPS, STEP = 8 / 255, 2 / 255
THREAT = ThreatModel("Linf", EPS)
N = 4


def batch(name: str, dtype: torch.dtype, n: int = N) -> tuple[Tensor, Tensor]:
    """Images that differ in colour, with noise that reaches the edges of the box."""
    generator = torch.Generator().manual_seed(n)
    channels, *sides = SPECS[name].shape
    colour = torch.rand(n, channels, 1, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, channels, *sides, generator=generator, dtype=torch.float64)
    return (colour + noise / 5).clamp(0, 1).to(dtype), torch.randint(5, (n,), generator=generator)


def lively(name: str, dtype: torch.dtype) -> nn.Module:
    """A net in eval mode whose BatchNorms have seen images and whose logits are of order 1."""
    net = build(SPECS[name], seed=0).double()
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            module.weight.data *= 2
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of all that is seen
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
    images, _ = batch(name, torch.float64, n=32)
    with torch.no_grad():
        net.train()(images)
        module.bias -= net.eval()(images).mean(0)  # the last layer's: no class wins everywhere
    return net.to(dtype).eval()


@pytest.fixture(scope="module", params=SPECS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def net(name) -> nn.Module:
    return lively(name, torch.float64)


@pytest.fixture(scope="module", params=["net", "folded"])
def ours(request, net) -> nn.Module:
    """What our attack is run on; the oracle always attacks the net itself."""
    return net if request.param == "net" else fold(net)


def assert_same(adversarial: Tensor, oracle: Tensor, images: Tensor) -> None:
    """Equal to 1e-12, and not because nothing moved."""
    assert float((oracle - images).abs().mean()) > EPS / 8
    torch.testing.assert_close(adversarial, oracle, rtol=0, atol=1e-12)


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
