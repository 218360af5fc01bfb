"""Layers that a network also holds in plain lists."""

import torch
from torch import Tensor, nn

from robust_tickets.attacks import eval_mode
from robust_tickets.models.fold import fold
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

SPEC = ModelSpec("my_nets:net", 1.0, (1, 6, 6), 3, (0.5,), (0.2,))


class InAList(nn.Module):
    """A network that calls its own layers by a list."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.layers = [self.conv, self.bn, nn.ReLU(), nn.Flatten()]
        self.out = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.layers:
            images = layer(images)
        return self.out(images)


def test_layers_in_a_list_are_folded_and_keep_their_statistics() -> None:
    net, images = build_user_net(InAList, SPEC, seed=0), torch.rand(4, 1, 6, 6)
    net.bn.running_mean.fill_(0.3)
    before, view = net.bn.running_mean.clone(), fold(net)
    with eval_mode(net):
        torch.testing.assert_close(view(images), net(images))
    assert torch.equal(net.bn.running_mean, before)


class NeverEval(InAList):
    def train(self, mode: bool = True) -> "NeverEval":
        super().train(True)
        return self


def test_statistics_of_a_batchnorm_in_train_mode_are_put_back() -> None:
    net = NeverEval()
    before = net.bn.running_mean.clone()
    with eval_mode(net), torch.no_grad():
        net(torch.rand(4, 1, 6, 6))
    assert torch.equal(net.bn.running_mean, before)
