"""A network without its dead channels is the masked network: logits, statistics, gradients and updates."""

import copy

import pytest
import torch
from nets_with_channels import NETS, SHAPE, images, net_called
from torch import Tensor, nn
from torch.nn import functional as F
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.models.resize import resize_layers
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.pruning.scores import SCORES
from robust_tickets.tickets.compact_net import CompactNet, compact_net

LABELS = torch.arange(6) % 10


def channels_mask(net: nn.Module, ratio: float = 0.5) -> Mask:
    """A mask of whole channels, those of small magnitude."""
    groups, full = channel_groups(net, SHAPE), Mask.full(net)
    scores = channel_scores(groups, SCORES["magnitude"](prunable_weights(net), full), full)
    return channel_mask(groups, prune_channels(scores, all_channels(groups), ratio), full)


def weights_mask(net: nn.Module) -> Mask:
    """A mask of half the weights under which half the channels of every layer but the last are dead."""
    generator = torch.Generator().manual_seed(0)
    mask = {n: torch.rand(w.shape, generator=generator) < 0.5 for n, w in prunable_weights(net).items()}
    for group in channel_groups(net, SHAPE):
        for part in group.filters:
            mask[part.tensor][part.indices[: group.channels // 2].flatten()] = False
            mask[part.tensor][part.indices[group.channels // 2 :].flatten(), 0] = True
    return Mask(mask)


MASKS = {"channels": channels_mask, "weights": weights_mask}


@pytest.fixture(params=[(name, kind) for name in NETS for kind in MASKS], ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, Mask, CompactNet]:
    """A masked network, its mask, and the network without its dead channels."""
    name, kind = request.param
    net = net_called(name)
    mask = MASKS[kind](net)
    small = compact_net(net, mask, SHAPE)
    assert small.plan.removed_channels > 0
    assert (small.mask is None) == (kind == "channels")
    masking_for(net, mask, SHAPE).mask_parameters()
    if small.mask is not None:
        masking_for(small.net, small.mask, SHAPE).mask_parameters()
    for module in (*net.modules(), *small.net.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # which units drop depends on how many there are
    return net, mask, small


def close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-10 * max(1, one.abs().max()))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_logits_are_those_of_the_masked_network(pair: tuple[nn.Module, Mask, CompactNet], mode: str) -> None:
    net, _, small = pair
    for each in (net, small.net):
        each.train(mode == "train")
    assert close(net(images()), small.net(images()))


def test_gradients_statistics_and_updates_are_those_of_the_masked_network(
    pair: tuple[nn.Module, Mask, CompactNet],
) -> None:
    net, mask, small = pair
    maskings = [masking_for(net, mask, SHAPE)]
    maskings += [masking_for(small.net, small.mask, SHAPE)] if small.mask is not None else []
    pictures = [images().requires_grad_() for _ in range(2)]
    optimisers = [
        torch.optim.SGD(each.parameters(), 0.01, momentum=0.9, weight_decay=5e-4) for each in (net, small.net)
    ]
    for step in range(3):
        for each, optimiser, picture in zip((net, small.net), optimisers, pictures, strict=True):
            optimiser.zero_grad()
            F.cross_entropy(each.train()(picture), LABELS).backward()
        for masking in maskings:
            masking.mask_gradients()
        gradients = [{n: p.grad for n, p in each.named_parameters()} for each in (net, small.net)]
        narrow = small.plan.narrow(gradients[0])
        entries = small.plan.narrow(dict(mask.items()))
        for name, gradient in gradients[1].items():
            assert close(narrow[name], gradient * entries.get(name, 1)), (step, name)
        for optimiser in optimisers:
            optimiser.step()
        for masking in maskings:
            masking.mask_parameters()
        narrow = small.plan.narrow(net.state_dict())
        for name, value in small.net.state_dict().items():
            assert close(narrow[name], value), (step, name)
    assert close(pictures[0].grad, pictures[1].grad)


def test_the_whole_network_stays_as_it_is() -> None:
    net = net_called("resnet20")
    before = copy.deepcopy(net.state_dict())
    small = compact_net(net, channels_mask(net), SHAPE)
    assert same_state(net.state_dict(), before)
    with torch.no_grad():
        for parameter in small.net.parameters():
            parameter.zero_()
    assert same_state(net.state_dict(), before)


@pytest.mark.parametrize("name", NETS)
def test_a_full_mask_removes_nothing(name: str) -> None:
    net = net_called(name)
    small = compact_net(net, Mask.full(net), SHAPE)
    assert small.plan.removed_channels == 0
    assert small.mask is None
    assert same_state(small.net.state_dict(), net.state_dict())


class _Mixing(nn.Module):
    """Applies `between` to the feature map between its layers."""

    def __init__(self, between: str) -> None:
        super().__init__()
        self.between = between
        self.one, self.two = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.end = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        if self.between == "shuffle":
            n, c, h, w = x.shape
            x = x.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        elif self.between == "softmax":
            x = x.softmax(1)
        elif self.between == "sigmoid":
            x = x.sigmoid()
        elif self.between == "fixed":
            x = x.reshape(len(x), 4, 8, *x.shape[2:]).flatten(1, 2)
        return self.end(self.two(x).relu().mean((2, 3)))


@pytest.mark.parametrize("between", ["shuffle", "softmax", "sigmoid", "fixed"])
def test_a_layer_whose_channels_are_needed_is_named(between: str) -> None:
    net = _Mixing(between).double()
    mask = Mask.full(net)
    mask["one.weight"][:8] = False
    mask["two.weight"][:16] = False
    with pytest.raises(InputError, match=r"channels of one\.weight cannot be removed"):
        compact_net(net, mask, SHAPE)


def test_layers_of_another_kind_are_not_resized() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16))
    state = {name: tensor[:8] for name, tensor in net.state_dict().items()}
    with pytest.raises(InputError, match=r"1 \(GroupNorm\) cannot have a weight of \(8,\)"):
        resize_layers(net, state)
    words = "only the channels of convolutions, linear layers, BatchNorms and the network's own vectors can"
    with pytest.raises(InputError, match=words):
        resize_layers(
            nn.Sequential(nn.Linear(4, 3)), {"0.weight": torch.zeros(2, 4), "0.bias": torch.zeros(3)}
        )
    with pytest.raises(InputError, match=words):
        resize_layers(nn.Sequential(nn.Conv2d(3, 16, 3)), {"0.weight": torch.zeros(16, 3, 5, 5)})


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_memory_format_stays(layout: torch.memory_format) -> None:
    net = net_called("resnet20").to(memory_format=layout)  # type: ignore[call-overload]
    small = compact_net(net, channels_mask(net), SHAPE)
    weights = [weight for weight in small.net.state_dict().values() if weight.ndim == 4]
    assert small.plan.removed_channels
    assert weights
    assert all(weight.is_contiguous(memory_format=layout) for weight in weights)


class Casting(nn.Module):
    """A network whose forward computes in float32, whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 8, 3)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.one(images.float()).relu()
        return self.head(self.two(x).relu().mean((2, 3)))


def test_a_network_that_casts_to_float32_is_checked_in_float32() -> None:
    torch.manual_seed(0)
    net = Casting()
    entries = dict(Mask.full(net))
    entries["one.weight"][3:13] = False
    small = compact_net(net, Mask(entries), SHAPE)
    assert small.plan.removed_channels == 8
    images = torch.rand(4, *SHAPE)
    masking_for(net, Mask(entries), SHAPE).mask_parameters()
    net.one.bias.data[3:13] = 0
    masking_for(small.net, small.mask, SHAPE).mask_parameters()
    assert torch.allclose(net(images), small.net(images), atol=1e-6)
