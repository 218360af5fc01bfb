"""Networks that keep tensors with a graph, as their last features, are copied without the graphs."""

import warnings

import pytest
import torch
from own_case import RECIPE, own_images
from torch import Tensor, nn

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import fold
from robust_tickets.models.independent_copies import check_copies

SHAPE = (1, 8, 8)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.Linear(36, 3)

    def keep(self, features: Tensor) -> None:
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.conv(x)).relu()
        self.keep(features)
        return self.last(features.flatten(1))


class InDict(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, list[Tensor]] = {"last": []}

    def keep(self, features: Tensor) -> None:
        self.kept["last"].append(features)


class InBuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", None, persistent=False)

    def keep(self, features: Tensor) -> None:
        self.kept = features.mean()


class ByHook(Net):
    """Collects features in a list by a hook, and does not compute with them."""

    def __init__(self) -> None:
        super().__init__()
        features: list[Tensor] = []
        self.collected = features
        self.norm.register_forward_hook(lambda module, inputs, output: features.append(output))

    def keep(self, features: Tensor) -> None:
        pass


class OfItself(Net):
    """Its head computes with what it has kept in the same pass."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return self.last(self.features.square().flatten(1))


class Once(Net):
    """A weight computed once, when the network is built."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3))
        self.weights = self.scale.exp()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weights


KINDS = [Net, InDict, InBuffer, ByHook, OfItself]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_views_compute_the_same_after_a_pass_with_a_graph(kind):
    torch.manual_seed(0)
    net, images = kind(), torch.rand(4, *SHAPE)
    net(images)
    check_copies(net, "net", SHAPE)
    twin, view = copy_net(net), fold(net, SHAPE)
    expected = net.eval()(images)
    torch.testing.assert_close(twin.eval()(images), expected)
    torch.testing.assert_close(view(images), expected, rtol=0, atol=1e-5)
    assert all(own is not copied for own, copied in zip(net.parameters(), twin.parameters(), strict=True))
    expected.sum().backward()
    assert net.conv.weight.grad is not None


class HookOverItself(Net):
    """Its head computes with what a hook has put into the network's own dict."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        self.norm.register_forward_hook(lambda module, inputs, output: self.kept.update(last=output))

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        return self.last(self.kept["last"].flatten(1))


@pytest.mark.parametrize(
    ("kind", "place"), [(Once, r" \(weights\)"), (HookOverItself, r" \(kept\['last'\]\)")]
)
def test_a_copy_that_would_compute_with_the_original_s_tensors_is_refused(kind, place):
    net = kind()
    with torch.no_grad():
        net(torch.rand(2, *SHAPE))
    with pytest.raises(InputError, match=f"computes with a tensor that the original has computed{place}: "):
        check_copies(net, "net", SHAPE)


@pytest.mark.parametrize("kind", [Net, ByHook])
def test_a_search_and_a_training_of_a_network_that_keeps_features(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", robust_tickets.base.errors.RobustnessWarning)
        ticket = robust_tickets.find_ticket(kind, own_images(), RECIPE)
        trained = robust_tickets.train(kind, own_images(), ticket, RECIPE)
    assert torch.equal(trained.net.conv.weight != 0, ticket.mask["conv.weight"].bool())
    robust_tickets.evaluate(trained.net, own_images(), RECIPE, attacks=("clean",))
