"""Networks and images on which our attacks and the oracles' are compared."""

import torch
from narrow_nets import SPECS, randomise
from torch import Tensor, nn

from robust_tickets.attacks import ThreatModel
from robust_tickets.models.registry import build

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
    """A network in eval mode whose BatchNorms have seen images and whose logits are of order 1."""
    net = build(SPECS[name], seed=0)
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for linear in linears:
            linear.weight *= 2
        randomise(net, SPECS[name].shape).eval()
        linears[-1].bias -= net(batch(name, torch.float64, n=32)[0]).mean(0)  # no class wins everywhere
    return net.to(dtype)


def assert_same(adversarial: Tensor, oracle: Tensor, images: Tensor) -> None:
    """Equal to 1e-12, and not because nothing moved."""
    assert float((oracle - images).abs().mean()) > EPS / 8
    torch.testing.assert_close(adversarial, oracle, rtol=0, atol=1e-12)
