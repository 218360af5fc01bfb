"""Networks whose deep copies compute with the original are refused before work; all others are left alone."""

import copy
import functools
import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.models.independent_copies import check_copies
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """A convolution, a BatchNorm and a linear layer; `change` gets the network as its init ends."""

    def __init__(self, change=lambda net: None) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 10)
        self.drop = nn.Dropout(0.5)
        self.own = [torch.rand(1), {"scale": torch.rand(1)}]
        self.frozen = nn.Parameter(torch.rand(1), requires_grad=False)
        self.plain = torch.rand(1)
        self.register_buffer("calls", torch.zeros(()))
        self.features = None
        change(self)

    def body(self, x: Tensor, power: float = 1.0) -> Tensor:
        return self.norm(self.conv(x)) * power

    def forward(self, x: Tensor) -> Tensor:
        features = self.body if self.features is None else self.features
        return self.last(features(x).flatten(1)) * self.own[0] * self.own[1]["scale"]


def forward_of_another(net: Net) -> None:
    other = Net()
    net.forward = other.forward


def hook_over_self(net: Net) -> None:
    net.norm.register_forward_hook(lambda module, inputs, output: output * net.frozen)


def in_a_list(net: Net) -> None:
    functions = [lambda x: net.norm(net.conv(x))]
    net.features = lambda x: functions[0](x)


def set_features(make):
    return lambda net: setattr(net, "features", make(net))


DEPENDENT = {
    "lambda": set_features(lambda net: lambda x: net.body(x)),
    "partial of a lambda": set_features(lambda net: functools.partial(lambda f, x: net.body(x), None)),
    "function over a frozen weight": set_features(lambda net: lambda x: net.conv(x) * net.frozen),
    "function over a norm alone": set_features(
        lambda net: lambda x: net.norm(x.repeat(1, 4, 1, 1)[..., :6, :6])
    ),
    "function over a dropout alone": set_features(
        lambda net: lambda x: net.drop(x.repeat(1, 4, 1, 1)[..., :6, :6])
    ),
    "function over a plain tensor": set_features(
        lambda net: lambda x: x.repeat(1, 4, 1, 1)[..., :6, :6] * net.plain
    ),
    "function over a buffer": set_features(
        lambda net: lambda x: x.repeat(1, 4, 1, 1)[..., :6, :6] * net.norm.running_var[0]
    ),
    "function that counts its calls": set_features(lambda net: lambda x: net.body(x) + 0 * net.calls.add_(1)),
    "without gradients": set_features(lambda net: torch.no_grad()(lambda x: net.body(x))),
    "hook": hook_over_self,
    "list": in_a_list,
}
INDEPENDENT = {
    "method": Net,
    "bound method": lambda: Net(set_features(lambda net: net.body)),
    "partial of a bound method": lambda: Net(
        set_features(lambda net: functools.partial(net.body, power=2.0))
    ),
    "forward of another network": lambda: Net(forward_of_another),
    "lambda over nothing": lambda: Net(set_features(lambda net: lambda x: x.repeat(1, 4, 1, 1)[..., :6, :6])),
    "weight norm": lambda: nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(64, 10))),
    "noise": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Noise()),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
    "counts": lambda: Counts(),
    "keeps its features": lambda: Keeps(),
    "a leaf of its own": lambda: Leaf(),
    "scripted": lambda: scripted(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())),
    "frozen": lambda: frozen(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())),
    "DataParallel": lambda: nn.DataParallel(Net()),
    "compiled": lambda: torch.compile(Net(), backend="eager"),
}


def scripted(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(net)


def frozen(net: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.freeze(scripted(net.eval()))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.last(x.flatten(1)) * self.calls


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.last(x.flatten(1))
        return self.kept


class Leaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.detach().requires_grad_().flatten(1))


@pytest.mark.parametrize("change", DEPENDENT.values(), ids=DEPENDENT)
def test_copies_that_compute_with_the_original_are_refused_and_it_is_left_as_it_was(change):
    net = Net(change).train()
    state, objects = copy.deepcopy(net.state_dict()), [id(t) for t in (*net.parameters(), *net.buffers())]
    with pytest.raises(InputError, match=r"mine cannot be copied.* keep no lambda"):
        check_copies(net, "mine", SHAPE)
    assert all(module.training for module in net.modules())
    assert objects == [id(t) for t in (*net.parameters(), *net.buffers())]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("make", INDEPENDENT.values(), ids=INDEPENDENT)
def test_networks_of_their_own_pass_and_are_left_as_they_were(make):
    net = make().train()
    generator = torch.get_rng_state()
    before = copy.deepcopy(net.state_dict())
    check_copies(net, "mine", SHAPE)
    assert all(getattr(module, "training", True) for module in net.modules())
    assert torch.equal(generator, torch.get_rng_state())
    for name, value in net.state_dict().items():
        assert is_lazy(value) or torch.equal(value, before[name])
    net(torch.rand(2, *SHAPE))


def test_a_copy_of_such_a_network_is_refused_too():
    net = copy.deepcopy(Net(DEPENDENT["lambda"]))
    with pytest.raises(InputError, match="cannot be copied"):
        check_copies(net, "mine", SHAPE)


def test_they_are_refused_before_training_and_evaluation():
    spec = ModelSpec("my_nets:net", 1.0, SHAPE, 10, (0.5,), (0.2,))
    with pytest.raises(InputError, match="my_nets:net cannot be copied"):
        build_user_net(lambda: Net(DEPENDENT["lambda"]), spec, seed=0)
    with pytest.raises(InputError, match="Net cannot be copied"):
        rt.evaluate(Net(DEPENDENT["lambda"]), {"name": "digits"}, attacks="clean", limit=10)


class RandomPlace(Net):
    """Images at a random place, drawn by NumPy and Python, in eval mode too."""

    def body(self, x: Tensor, power: float = 1.0) -> Tensor:
        shift = (int(np.random.randint(8)), random.randrange(8))
        return super().body(torch.roll(x + np.random.rand() * 5, shift, (2, 3)))


@pytest.mark.parametrize("_attempt", range(4))
def test_draws_of_numpy_and_python_are_the_same_in_each_pass_and_leave_their_generators(_attempt):
    states = random.getstate(), np.random.get_state()[1].tolist()
    check_copies(RandomPlace(), "net", SHAPE)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    random.random(), np.random.rand()
    with pytest.raises(InputError, match="cannot be copied"):
        check_copies(RandomPlace(hook_over_self), "net", SHAPE)
