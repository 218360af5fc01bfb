"""A network that ends in a softmax or sigmoid is told, and one that gives logits is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import robust_tickets as rt
from robust_tickets.base.errors import RobustnessWarning
from robust_tickets.models.probabilities import probability_warnings
from robust_tickets.models.registry import ModelSpec, build

SHAPE = (1, 8, 8)


def ending_in(*last: nn.Module, classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, classes), *last)


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = ending_in()

    def forward(self, x):
        return F.softmax(self.net(x), 1)


@pytest.mark.parametrize(
    "net",
    [
        ending_in(nn.Softmax(1)),
        ending_in(nn.Sigmoid()),
        ending_in(nn.Softmax(1), classes=2),
        ending_in(nn.Sequential(nn.Softmax(1))),
        Functional(),
        ending_in(nn.Softmax(1)).bfloat16(),
    ],
)
def test_probabilities_are_told_and_the_network_is_left_as_it_was(net):
    state = torch.get_rng_state()
    (line,) = probability_warnings(net.train(), SHAPE)
    assert "look like probabilities" in line
    assert all(module.training for module in net.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("last", [(), (nn.LogSoftmax(1),), (nn.ReLU(),), (nn.Tanh(),)])
def test_logits_are_not(last, classes):
    assert probability_warnings(ending_in(*last, classes=classes), SHAPE) == []


def test_constant_outputs_and_the_registry_s_are_not():
    zero = ending_in()
    for parameter in zero.parameters():
        nn.init.zeros_(parameter)
    assert probability_warnings(zero, SHAPE) == []
    spec = ModelSpec("resnet20", 0.25, (3, 8, 8), 10, (0.5,) * 3, (0.2,) * 3)
    assert probability_warnings(build(spec, seed=0), (3, 8, 8)) == []


def test_training_and_evaluation_warn():
    fields = {"data": {"name": "digits"}, "compute": {"threads": 1}}
    net = ending_in(nn.Softmax(1))
    with pytest.warns(RobustnessWarning, match="look like probabilities"):
        rt.evaluate(net, attacks="clean", limit=40, **fields)
    train = {"epochs": 1, "ticket_epochs": 1, "batch": 256, "pgd": {"steps": 1}}
    with pytest.warns(RobustnessWarning, match="look like probabilities"):
        rt.train(net, train=train, evaluate={"val_steps": 1}, **fields)
