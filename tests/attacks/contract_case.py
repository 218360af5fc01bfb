"""An attack of each kind, and a network with all that an attack must leave alone."""

import torch
from torch import Tensor, nn

from attacks import APGD, FGSM, PGD, APGDTargeted, Ensemble, Square, ThreatModel, TorchAttack

CLASSES = 4
THREAT = ThreatModel("Linf", 0.1)
L2 = ThreatModel("L2", 0.6)
ATTACKS = {
    "fgsm": FGSM(THREAT),
    "pgd": PGD(THREAT, steps=3),
    "pgd with restarts": PGD(THREAT, steps=2, restarts=2),
    "fgm in L2": FGSM(L2),
    "pgd in L2": PGD(L2, steps=3, restarts=2),
    "apgd": APGD(THREAT, steps=3, restarts=2),
    "apgd in L2": APGD(L2, steps=3, loss="dlr"),
    "targeted apgd": APGDTargeted(THREAT, steps=2, targets=2),
    "square": Square(THREAT, queries=4, restarts=2),
    "square in L2": Square(L2, queries=4),
    "ensemble": Ensemble([FGSM(THREAT), Square(THREAT, queries=3), APGD(THREAT, steps=2)]),
    "fgsm of torchattacks": TorchAttack(THREAT, "FGSM"),
    "pgd of torchattacks": TorchAttack(THREAT, "PGD", steps=3),
}
BLACK_BOXES = ("square", "square in L2")
WITHOUT_START = ("fgsm of torchattacks", "pgd of torchattacks")


class Net(nn.Module):
    """Two convolutions with BatchNorm, one of them frozen; can be made to raise at its n-th pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)
        self.dropout, self.linear = nn.Dropout(0.5), nn.Linear(6, CLASSES)
        self.raise_at = -1
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images)).relu()
        if self.passes == self.raise_at:
            raise RuntimeError("the net broke down")
        self.passes += 1
        x = self.bn2(self.conv2(x)).relu()
        return self.linear(self.dropout(x.mean((2, 3))))


def contract_batch() -> tuple[Tensor, Tensor]:
    """Five random images with labels of all classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 0])


def contract_net(batch: tuple[Tensor, Tensor]) -> Net:
    """A network in training, with real statistics and gradients; bn2 in eval mode, some parameters frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Net()
        for _ in range(3):
            net.zero_grad(set_to_none=True)
            net(batch[0]).square().sum().backward()
    net.bn2.eval()
    for frozen in (net.conv1.weight, net.bn2.bias):
        frozen.requires_grad_(False)
    net.conv2.bias.grad = None
    net.passes = 0
    return net
