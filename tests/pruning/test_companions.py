"""Nothing is taken for dead that is not: companions behind permutations, padding and the like."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.companions import check_channels, prove_companions
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.tickets.compact_net import compact_net

SHAPE = (2, 6, 6)


def flip(x: Tensor) -> Tensor:
    return x.flip(1)


def permute(x: Tensor) -> Tensor:
    return x[:, [5, 2, 7, 0, 1, 3, 6, 4]]


def roll(x: Tensor) -> Tensor:
    return x.roll(3, 1)


def shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def same(x: Tensor) -> Tensor:
    return x


def maxout(x: Tensor) -> Tensor:
    return torch.maximum(x[:, :4], x[:, 4:])


def twice(x: Tensor) -> Tensor:
    return torch.cat([x, x], 1)


def pad(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 0, 0, 4, 4))


def pixels(x: Tensor) -> Tensor:
    return F.pixel_shuffle(x, 2)


def unpixels(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2)


def saturating(x: Tensor) -> Tensor:
    return F.relu6(9 * x).flip(1)


MIXES = {
    same: 8,
    flip: 8,
    permute: 8,
    roll: 8,
    shuffle: 8,
    maxout: 4,
    twice: 16,
    pad: 16,
    pixels: 2,
    unpixels: 32,
    saturating: 8,
}


class Mixing(nn.Module):
    """A convolution, something that moves its channels, a BatchNorm that keeps its input, and a head."""

    def __init__(self, mix, cast=False):
        super().__init__()
        channels = MIXES[mix]
        self.mix, self.cast = mix, cast
        self.one = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.two = nn.Conv2d(channels, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        images = images.float() if self.cast else images
        self.seen = self.mix(self.one(images))
        return self.head(self.two(self.norm(self.seen).relu()).relu().mean((2, 3)))


def dead_filters(net: nn.Module, indices: list[int]) -> Mask:
    entries = dict(Mask.full(net))
    entries["one.weight"][indices] = False
    return Mask(entries)


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("mix", MIXES)
def test_gammas_of_live_channels_are_trained(mix, cast):
    torch.manual_seed(0)
    net = Mixing(mix, cast)
    nn.init.ones_(net.norm.bias)
    masking_for(net, dead_filters(net, [0, 1, 3]), SHAPE).mask_parameters()
    net(torch.rand(5, *SHAPE))
    ranges = net.seen.transpose(0, 1).flatten(1)
    constant = ranges.amax(1) == ranges.amin(1)
    silenced = net.norm.weight == 0
    assert torch.equal(silenced, net.norm.bias == 0)
    assert not bool((silenced & ~constant).any())
    if mix is same:
        assert torch.equal(silenced, constant)
        assert int(silenced.sum()) == 3


def test_a_mix_is_said_once_and_only_where_there_is_one():
    for mix, count in ((same, 0), (shuffle, 1)):
        net = Mixing(mix)
        masking = masking_for(net, dead_filters(net, [0, 1, 3]), SHAPE)
        assert len(masking.warnings) == count
    assert "between one.weight and norm" in masking.warnings[0]


@pytest.mark.parametrize("mix", [flip, permute, roll, shuffle, pad, saturating])
def test_no_channels_are_removed_before_a_mix(mix):
    """Also where the wrong channels would be held at zero in both networks."""
    net = Mixing(mix)
    mask = dead_filters(net, [0])
    groups = channel_groups(net, SHAPE)
    if not any(group.obstacle for group in groups if group.name == "one.weight"):
        with pytest.raises(InputError, match=r"channels of one.weight cannot be pruned.*before norm|two"):
            check_channels(net, groups, SHAPE)
    small = compact_net(net, mask, SHAPE)
    assert small.plan.removed_channels == 0  # below a multiple of eight


def test_channels_that_stay_where_they_are_can_be_pruned():
    net = Mixing(same)
    check_channels(net, channel_groups(net, SHAPE), SHAPE)


class Upstream(nn.Module):
    """A wrong companion before another: the second sees zeros only because of the first."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.each = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.each_norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        x = self.norm(self.one(images).flip(1)).relu()
        return self.head(self.each_norm(self.each(x)).relu().mean((2, 3)))


def test_what_a_wrong_companion_hides_is_seen():
    net = Upstream()
    companions = prove_companions(net, channel_groups(net, SHAPE), dead_filters(net, [0, 1, 3]), SHAPE)
    assert not {"norm.weight", "norm.bias", "each_norm.weight", "each.bias"} & set(companions.masks)


class Padded(nn.Module):
    """A residual block whose shortcut is padded with zeros (He et al. 2016)."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.two = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.end = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        x = self.one(images)
        x = F.pad(x, (0, 0, 0, 0, 4, 4)) + self.two(self.norm(x).relu())
        return self.head(self.end(x).relu().mean((2, 3)))


def test_places_outside_a_tensor_are_an_obstacle_or_a_mix():
    net = Padded()
    groups = channel_groups(net, SHAPE)
    if not any(group.obstacle for group in groups):
        with pytest.raises(InputError, match="cannot be pruned"):
            check_channels(net, groups, SHAPE)
    entries = dict(Mask.full(net))
    entries["one.weight"][:5] = False
    entries["two.weight"][:9] = False
    masking_for(net, Mask(entries), SHAPE).mask_parameters()
    assert bool(net.end.weight[9:].all())  # the padded input reaches 4 to 11, and 9 on have filters of two


class Joined(nn.Module):
    """Two convolutions, one of them flipped, before one BatchNorm that is called once more behind it."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        x = self.norm(torch.cat([self.two(images), self.one(images).flip(1)], 1)).relu()
        return self.head(self.norm(self.shared(x)).relu().mean((2, 3)))


def test_concatenation_and_a_shared_batchnorm_silence_nothing():
    net = Joined()
    masking_for(net, dead_filters(net, [0, 1]), SHAPE).mask_parameters()
    assert bool(net.norm.weight.all())
