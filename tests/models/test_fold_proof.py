"""Networks that look at their own layers are not folded, and those that fold rightly are."""

import pytest
import torch
from narrow_nets import SPECS, images_of, randomise
from test_fold import FOLDED, gap
from torch import Tensor, nn

from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.models.registry import build
from robust_tickets.stages.unsupported import unsupported_parts

SHAPE = (3, 4, 4)


class Layers(nn.Module):
    """Two convolutions with BatchNorms and a head, which classes below run in ways of their own."""

    def __init__(self) -> None:
        super().__init__()
        conv, again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.layers = nn.ModuleList([conv, nn.BatchNorm2d(4), again, nn.BatchNorm2d(4)])
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.last(x.relu().mean((2, 3)))


class KindOfLayer(Layers):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.BatchNorm2d):
                x = x.relu()
        return self.last(x.mean((2, 3)))


class HasAttribute(Layers):
    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            if hasattr(layer, "running_mean"):
                x = x.tanh()
        return self.last(x.mean((2, 3)))


class ScaleByName(Layers):
    def forward(self, x: Tensor) -> Tensor:
        scale = dict(self.named_parameters()).get("layers.3.weight", torch.ones(4).to(x))
        for layer in self.layers:
            x = layer(x)
        return self.last((x * scale.abs().reshape(-1, 1, 1)).relu().mean((2, 3)))


class SwitchesToTrainMode(Layers):
    def forward(self, x: Tensor) -> Tensor:
        self.layers[1].training = True
        return super().forward(x)


class KeepsTrainMode(Layers):
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.layers[3].training = True
        return self


class NewHead(KindOfLayer):
    """Its logits are all zero at first, whatever comes before."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


def changed(net: nn.Module) -> nn.Module:
    """The network with other numbers in all layers, as training leaves it."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(len(name)))
                tensor.add_(noise - (0 if "var" in name else 0.5))
    return net


@pytest.mark.parametrize("kind", [KindOfLayer, HasAttribute, ScaleByName, NewHead])
def test_a_network_that_looks_at_its_own_layers_is_not_folded(kind):
    net = kind()
    assert len(foldable_batchnorms(net)) == 2
    assert foldable_batchnorms(net, SHAPE) == {}
    view = fold(net, SHAPE)
    assert gap(changed(net), view, images_of(SHAPE).float()) < 1e-5
    (line,) = unsupported_parts(kind(), SHAPE)
    assert line.startswith(
        "not folded for the attack: 2 of 2 BatchNorms, since the network gives other logits"
    )


@pytest.mark.parametrize(("kind", "other"), [(KeepsTrainMode, "layers.0"), (SwitchesToTrainMode, "layers.2")])
def test_a_batchnorm_that_stays_in_train_mode_is_not_folded(kind, other):
    net = kind()
    assert list(foldable_batchnorms(net)) == [other]
    view = fold(changed(net), SHAPE)
    assert gap(net, view, images_of(SHAPE).float()) < 1e-5


@pytest.mark.parametrize("build_net", [Layers, *FOLDED.values()])
def test_others_are_folded_in_float32(build_net):
    net = randomise(build_net(), SHAPE).float()
    assert foldable_batchnorms(net, SHAPE) == foldable_batchnorms(net) != {}


@pytest.mark.parametrize("name", SPECS)
def test_the_registry_s_networks_are_folded_as_before(name):
    net = build(SPECS[name], seed=0)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    assert foldable_batchnorms(net, SPECS[name].shape) == foldable_batchnorms(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


class OwnFloat32(Layers):
    """Its code makes float32 tensors, which no float64 convolution takes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(x, dtype=torch.float32) + x.float())


class Fails(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, torch.fx.Proxy):
            raise ValueError("never")
        return super().forward(x)


class Random(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.rand_like(x))


@pytest.mark.parametrize("kind", [OwnFloat32, Fails, Random])
def test_networks_that_prove_nothing_are_folded(kind):
    assert len(foldable_batchnorms(kind(), SHAPE)) == 2
