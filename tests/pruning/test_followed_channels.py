"""Networks whose channels are followed although they are out of the ordinary, and what is said of others."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

from robust_tickets.base.errors import InputError
from robust_tickets.models.flops import forward_flops
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.pruning_step import pruning_step

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Two convolutions with something between them."""

    def __init__(self, first: int = 16) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, first, 3, 1, 1), nn.BatchNorm2d(first)
        self.second, self.head = nn.Conv2d(first, 16, 3, 1, 1), nn.Linear(16, 4)

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, images: Tensor) -> Tensor:
        x = self.between(self.norm(self.first(images)).relu())
        return self.head(self.second(x).relu().mean((2, 3)))


class WithNoise(Net):
    """Left out at random, unit by unit, by a function in its forward."""

    def between(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class WithDepth(Net):
    """Left out at random, image by image."""

    def between(self, x: Tensor) -> Tensor:
        return x * (torch.rand(len(x), 1, 1, 1) < 0.5) if self.training else x


class NormedByItself(Net):
    """Divided by the mean over all channels: what is removed is missed in train mode alone."""

    def between(self, x: Tensor) -> Tensor:
        return x / (1 + x.mean(1, keepdim=True)) if self.training else x


class NormedInEval(Net):
    """The same in eval mode alone."""

    def between(self, x: Tensor) -> Tensor:
        return x if self.training else x / (1 + x.mean(1, keepdim=True))


class NormedWithNoise(NormedByItself):
    """As before, in eval mode, and with noise in train mode."""

    def between(self, x: Tensor) -> Tensor:
        return x / (1 + x.mean(1, keepdim=True)) * (1 + self.training * torch.rand(()))


class Filtered(Net):
    """Its first parameter is complex."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 8, 5, dtype=torch.complex64))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.fft.irfft2(torch.fft.rfft2(images) * self.filter, s=(8, 8)))


class Shuffled(Net):
    """A shuffle in groups after the first convolution of a branch, as ShuffleNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 16, 1)
        self.second = nn.Conv2d(16, 16, 3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.cat((self.first(images), self.other(images)), 1)
        x = x.view(len(x), 2, 16, 8, 8).transpose(1, 2).reshape(len(x), 32, 8, 8)
        one, two = x.chunk(2, 1)
        return self.head((self.second(one) + two).mean((2, 3)))


def step(net: nn.Module, **fields: object) -> list[str]:
    """Check a channel search that prunes half of the channels; gives the layers that it narrows."""
    search = Search(granularity="channel", ratio=0.5, **fields)
    full = Mask.full(net)
    steps = pruning_step(net, search, SHAPE)
    steps.check(net, full, 1, compact=True)
    scores = {name: torch.rand(entries.shape) for name, entries in full.items()}
    mask = steps.prune(scores, full)
    assert steps.compact(net, mask) is not None
    return [name for name, entries in mask.items() if not bool(entries.flatten(1).any(1).all())]


@pytest.mark.parametrize("kind", [WithNoise, WithDepth, Filtered])
def test_channels_are_removed(kind: type[Net]) -> None:
    assert step(kind(), scope="layer") == ["first.weight", "second.weight"]


def test_noise_comes_from_no_generator_of_the_user() -> None:
    state = torch.get_rng_state()
    net = WithNoise()
    torch.set_rng_state(state)
    pruning_step(net, Search(granularity="channel"), SHAPE).check(net, Mask.full(net), 1, compact=True)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [NormedByItself, NormedInEval, NormedWithNoise])
def test_channels_that_would_be_missed_are_refused(kind: type[Net]) -> None:
    # 0.5 of first.weight alone, since nothing else is pruned
    with pytest.raises(InputError, match=r"channels of first.weight cannot be removed"):
        step(kind(), ignored_layers="second.weight")


@pytest.mark.parametrize("kind", ["spectral_norm", "weight_norm", "orthogonal"])
def test_computed_weights_are_named(kind: str) -> None:
    net = Net()
    getattr(parametrizations, kind)(net.second)
    with pytest.raises(InputError, match=r"first.weight cannot be pruned; second .*its weight is computed"):
        step(net)
    # what a computed weight alone makes needs no leave to stay
    with pytest.raises(InputError, match="no channels are left to prune"):
        step(net, ignored_layers="first.weight")


def test_a_computed_gamma_is_named() -> None:
    net = Net()
    register_parametrization(net.norm, "weight", nn.Softplus())
    with pytest.raises(InputError, match=r"first.weight cannot be pruned; norm .*its weight is computed"):
        step(net)


@pytest.mark.parametrize("kind", ["spectral_norm", "weight_norm"])
def test_channels_that_a_computed_weight_makes_stay(kind: str) -> None:
    net = Net()
    getattr(parametrizations, kind)(net.first)
    assert step(net) == ["second.weight"]


def test_channels_that_cannot_be_followed_are_said_in_words() -> None:
    from torchvision.models import shufflenet_v2_x0_5

    with pytest.raises(InputError) as error:
        channel_groups(shufflenet_v2_x0_5(num_classes=4), (3, 32, 32))
    assert "reshapes, shuffles or regroups them: prune weights" in str(error.value)
    assert not re.search(r"\w+Error", str(error.value))
    with pytest.raises(InputError, match=r"channels of \S+ cannot be pruned"):
        step(Shuffled())


@pytest.mark.parametrize("wrap", [lambda net: torch.compile(net, backend="eager"), nn.DataParallel])
def test_wrapped_networks_are_followed(wrap: object) -> None:
    torch.compiler.reset()
    net = wrap(Net())
    net(torch.zeros(1, *SHAPE))
    assert len(step(net, scope="layer")) == 2
    assert forward_flops(net, SHAPE) == forward_flops(Net(), SHAPE)
