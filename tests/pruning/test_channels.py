"""Channels of one group are removed together, in blocks of eight."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets_with_channels import NETS, SHAPE, images, net_called
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.resize import resize_layers
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import Group, channel_groups
from robust_tickets.pruning.compaction import (
    LiveChannels,
    all_channels,
    channel_mask,
    live_channels,
    plan_compaction,
)
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES


def pruned(groups: list[Group], net: nn.Module, ratio: float = 0.5, round_to: int = 8) -> LiveChannels:
    """The channels that pruning by magnitude leaves."""
    full = Mask.full(net)
    weight_scores = SCORES["magnitude-over-layer-mean"](prunable_weights(net), full)
    scores = channel_scores(groups, weight_scores, full)
    return prune_channels(scores, all_channels(groups), ratio, round_to=round_to)


@pytest.mark.parametrize("name", NETS)
def test_every_hidden_channel_is_in_one_group(name: str) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    weights = prunable_weights(net)
    members = [part.tensor for group in groups for part in (*group.filters, *group.companions)]
    outputs = {"fc3.weight", "end.weight", "linear.weight", "fc.weight", "classifier.4.weight"}
    assert sorted(name for name in members if name in weights) == sorted(set(weights) - outputs)
    assert not any(group.obstacle for group in groups)


@pytest.mark.parametrize("name", NETS)
def test_compaction_is_the_surgery_of_torch_pruning(name: str) -> None:
    """Its in-place pruning, group by group, against our slices."""
    import torch_pruning

    net = net_called(name).eval()
    groups = channel_groups(net, SHAPE)
    live = pruned(groups, net)
    theirs = copy.deepcopy(net)
    for group, channels in zip(groups, live, strict=True):
        graph = torch_pruning.DependencyGraph().build_dependency(theirs, images(1), verbose=False)
        layer = theirs.get_submodule(group.name.removesuffix(".weight"))
        pruner = torch_pruning.prune_conv_out_channels
        if isinstance(layer, nn.Linear):
            pruner = torch_pruning.prune_linear_out_channels
        graph.get_pruning_group(layer, pruner, (~channels).nonzero()[:, 0].tolist()).prune()
    ours = copy.deepcopy(net)
    state = plan_compaction(groups, live, net.state_dict()).narrow(net.state_dict())
    resize_layers(ours, state)
    ours.load_state_dict(state)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {
        n: t.shape for n, t in theirs.state_dict().items()
    }
    assert torch.equal(ours(images()), theirs(images()))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("ratio", "block"), [(0.25, 8), (0.5, 8), (0.75, 8), (0.5, 16)])
def test_widths_are_whole_blocks_and_the_share_is_met_within_half_of_one(
    name: str, ratio: float, block: int
) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    live = pruned(groups, net, ratio, block)
    for channels in live:
        left = int(channels.sum())
        assert left == len(channels) or left % block == 0
        assert left >= min(block, len(channels))
    removable = sum(max(0, len(channels) - block) for channels in live)
    removed, target = sum(int((~channels).sum()) for channels in live), ratio * sum(map(len, live))
    assert abs(removed - min(target, removable)) <= block / 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.floats(0.1, 0.9), st.integers(0, 99))
def test_the_lowest_scores_of_a_group_are_removed(sizes: list[int], ratio: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randint(0, 9, (n,), generator=generator).double() for n in sizes]
    whole = tuple(torch.ones(n, dtype=torch.bool) for n in sizes)
    try:
        live = prune_channels(scores, whole, ratio)
    except InputError:
        assert ratio * sum(sizes) <= 4.5 or all(n <= 8 for n in sizes)
        return
    for values, channels in zip(scores, live, strict=True):
        if bool(channels.all()):
            continue
        assert values[channels].min() >= values[~channels].max()
        ties = values == values[channels].min()  # of equal ones the earlier go
        assert channels[ties].tolist() == sorted(channels[ties].tolist())


def test_blocks_go_by_their_mean_over_all_groups_or_by_group() -> None:
    low, high = torch.arange(16).double(), 100 + torch.arange(16).double()
    whole = tuple(torch.ones(16, dtype=torch.bool) for _ in range(2))
    together = prune_channels([high, low], whole, 0.25)
    assert [int(channels.sum()) for channels in together] == [16, 8]
    by_group = prune_channels([high, low], whole, 0.5, by_group=True)
    assert [int(channels.sum()) for channels in by_group] == [8, 8]
    one_group = prune_channels([high, low], whole, 0.5, ignored=[False, True])
    assert [int(channels.sum()) for channels in one_group] == [8, 16]


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="the training diverged"):
        prune_channels([torch.full((16,), torch.nan)], (torch.ones(16, dtype=torch.bool),), 0.5)


@pytest.mark.parametrize("name", NETS)
def test_a_mask_gives_its_live_channels_again_and_widening_their_places(name: str) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    live = pruned(groups, net)
    again = live_channels(groups, channel_mask(groups, live, Mask.full(net)))
    assert all(torch.equal(one, other) for one, other in zip(live, again, strict=True))
    plan = plan_compaction(groups, live, net.state_dict())
    small = {n: torch.full_like(t, 2) for n, t in plan.narrow(net.state_dict()).items()}
    whole = plan.widen(small, net.state_dict())
    narrow = plan.narrow(whole)
    assert all(torch.equal(narrow[n], t) for n, t in small.items())
    changed = sum(int((t != net.state_dict()[n]).sum()) for n, t in whole.items())
    assert changed <= sum(t.numel() for t in small.values())


def test_a_channel_that_only_dead_channels_read_is_dead() -> None:
    net = net_called("conv-4")
    groups = channel_groups(net, SHAPE)
    mask = dict(Mask.full(net).items())
    first, second, third = (groups[i].name for i in range(3))
    mask[third] = mask[third].clone()
    mask[third][:, :8] = False  # nothing reads the second's first eight
    live = live_channels(groups, Mask(mask))
    assert (~live[1]).nonzero()[:, 0].tolist() == list(range(8))
    mask[second] = mask[second].clone()
    mask[second][8:, :8] = False  # the first's first eight are read by those eight alone
    live = live_channels(groups, Mask(mask))
    assert (~live[0]).nonzero()[:, 0].tolist() == list(range(8))
    assert groups[0].name == first


def test_dead_channels_stay_to_fill_a_block() -> None:
    net = net_called("conv-4")
    groups = channel_groups(net, SHAPE)
    mask = dict(Mask.full(net).items())
    name = groups[2].name
    for dead, left in ((3, 32), (8, 24), (11, 24), (31, 8)):
        mask[name] = torch.ones_like(mask[name])
        mask[name][:dead] = False
        assert int(live_channels(groups, Mask(mask))[2].sum()) == left


class _Chain(nn.Module):
    """A convolution, the layers of the middle, and a head."""

    def __init__(self, **middle: nn.Module) -> None:
        super().__init__()
        self.one, self.end = nn.Conv2d(3, 16, 3), nn.Linear(16, 10)
        for name, layer in middle.items():
            self.add_module(name, layer)
        self.middle = tuple(middle)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        for name in self.middle:
            x = self.get_submodule(name)(x)
        return self.end(x.mean((2, 3)))


def _tied() -> nn.Module:
    two, three = nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)
    three.weight = two.weight
    return _Chain(two=two, three=three)


@pytest.mark.parametrize(
    ("net", "layer"),
    [
        (_Chain(two=nn.Conv2d(16, 16, 3, groups=4)), "two"),
        (_Chain(norm=nn.GroupNorm(4, 16)), "norm"),
        (_tied(), "two"),
    ],
    ids=["grouped", "norm", "tied"],
)
def test_an_obstacle_names_its_layer(net: nn.Module, layer: str) -> None:
    group = channel_groups(net, SHAPE)[0]
    assert group.obstacle.startswith(layer)
    empty = Mask({name: torch.zeros_like(entries) for name, entries in Mask.full(net).items()})
    assert bool(live_channels([group], empty)[0].all())
