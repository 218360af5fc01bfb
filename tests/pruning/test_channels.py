"""Channels that belong together go together, in blocks of eight."""

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
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES


def halves(groups: list[Group], net: nn.Module, ratio: float = 0.5, round_to: int = 8) -> LiveChannels:
    """What a cut by magnitude leaves."""
    full = Mask.full(net)
    scores = SCORES["magnitude-over-layer-mean"](prunable(net), full)
    found = channel_scores(groups, scores, full)
    return prune_channels(found, all_channels(groups), ratio, round_to=round_to)


@pytest.mark.parametrize("name", NETS)
def test_every_hidden_channel_is_in_one_group(name: str) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    weights = prunable(net)
    of_layers = {n: w.shape[0] for n, w in weights.items() if n not in ("linear.weight", "fc.weight")}
    made = [
        part.tensor for group in groups for part in (*group.filters, *group.along) if part.tensor in weights
    ]
    outputs = {"fc3.weight", "end.weight", "linear.weight", "fc.weight"}
    assert sorted(made) == sorted(set(of_layers) - outputs)
    assert not any(group.obstacle for group in groups)


@pytest.mark.parametrize("name", NETS)
def test_torch_prunings_own_surgery_gives_the_same_net(name: str) -> None:
    """Its in-place pruning, group by group, against our slices."""
    import torch_pruning

    net = net_called(name).eval()
    groups = channel_groups(net, SHAPE)
    lives = halves(groups, net)
    theirs = copy.deepcopy(net)
    for group, living in zip(groups, lives, strict=True):
        graph = torch_pruning.DependencyGraph().build_dependency(theirs, images(1), verbose=False)
        layer = theirs.get_submodule(group.name.removesuffix(".weight"))
        pruner = torch_pruning.prune_conv_out_channels
        if isinstance(layer, nn.Linear):
            pruner = torch_pruning.prune_linear_out_channels
        graph.get_pruning_group(layer, pruner, (~living).nonzero()[:, 0].tolist()).prune()
    ours = copy.deepcopy(net)
    state = plan_compaction(groups, lives, net.state_dict()).small(net.state_dict())
    resize_layers(ours, state)
    ours.load_state_dict(state)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {
        n: t.shape for n, t in theirs.state_dict().items()
    }
    assert torch.equal(ours(images()), theirs(images()))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("ratio", "block"), [(0.25, 8), (0.5, 8), (0.75, 8), (0.5, 16)])
def test_widths_are_whole_blocks_and_the_share_is_met_within_one(name: str, ratio: float, block: int) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    lives = halves(groups, net, ratio, block)
    for living in lives:
        left = int(living.sum())
        assert left == len(living) or left % block == 0
        assert left >= min(block, len(living))
    removable = sum(max(0, len(living) - block) for living in lives)
    gone, wanted = sum(int((~living).sum()) for living in lives), ratio * sum(map(len, lives))
    assert abs(gone - min(wanted, removable)) <= block / 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.floats(0.1, 0.9), st.integers(0, 99))
def test_the_lowest_scores_of_a_group_go(sizes: list[int], ratio: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randint(0, 9, (n,), generator=generator).double() for n in sizes]
    whole = tuple(torch.ones(n, dtype=torch.bool) for n in sizes)
    try:
        lives = prune_channels(scores, whole, ratio)
    except InputError:
        assert ratio * sum(sizes) <= 4.5 or all(n <= 8 for n in sizes)
        return
    for found, living in zip(scores, lives, strict=True):
        if bool(living.all()):
            continue
        assert found[living].min() >= found[~living].max()
        ties = found == found[living].min()  # of equal ones the earlier go
        assert living[ties].tolist() == sorted(living[ties].tolist())


def test_blocks_go_by_their_mean_over_all_groups_or_by_group() -> None:
    low, high = torch.arange(16).double(), 100 + torch.arange(16).double()
    whole = tuple(torch.ones(16, dtype=torch.bool) for _ in range(2))
    together = prune_channels([high, low], whole, 0.25)
    assert [int(living.sum()) for living in together] == [16, 8]
    by_group = prune_channels([high, low], whole, 0.5, by_group=True)
    assert [int(living.sum()) for living in by_group] == [8, 8]
    spared = prune_channels([high, low], whole, 0.5, spare=[False, True])
    assert [int(living.sum()) for living in spared] == [8, 16]


def test_what_is_not_finite_is_not_pruned() -> None:
    with pytest.raises(InputError, match="the training diverged"):
        prune_channels([torch.full((16,), torch.nan)], (torch.ones(16, dtype=torch.bool),), 0.5)


@pytest.mark.parametrize("name", NETS)
def test_the_mask_of_channels_says_which_they_are(name: str) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    lives = halves(groups, net)
    found = live_channels(groups, channel_mask(groups, lives, Mask.full(net)))
    assert all(torch.equal(one, other) for one, other in zip(lives, found, strict=True))


@pytest.mark.parametrize("name", NETS)
def test_what_is_put_back_lies_where_it_came_from(name: str) -> None:
    net = net_called(name)
    groups = channel_groups(net, SHAPE)
    plan = plan_compaction(groups, halves(groups, net), net.state_dict())
    small = {n: torch.full_like(t, 2) for n, t in plan.small(net.state_dict()).items()}
    whole = plan.whole(small, net.state_dict())
    again = plan.small(whole)
    assert all(torch.equal(again[n], t) for n, t in small.items())
    untouched = {n: t == net.state_dict()[n] for n, t in whole.items()}
    assert sum(int((~same).sum()) for same in untouched.values()) <= sum(t.numel() for t in small.values())


def test_what_only_dead_channels_read_is_dead_too() -> None:
    net = net_called("conv-4")
    groups = channel_groups(net, SHAPE)
    kept = dict(Mask.full(net).items())
    first, second, third = (groups[i].name for i in range(3))
    kept[third] = kept[third].clone()
    kept[third][:, :8] = False  # nothing reads the second's first eight
    lives = live_channels(groups, Mask(kept))
    assert (~lives[1]).nonzero()[:, 0].tolist() == list(range(8))
    kept[second] = kept[second].clone()
    kept[second][8:, :8] = False  # the first's first eight are read by those eight alone
    lives = live_channels(groups, Mask(kept))
    assert (~lives[0]).nonzero()[:, 0].tolist() == list(range(8))
    assert groups[0].name == first


def test_dead_channels_that_would_break_a_block_stay() -> None:
    net = net_called("conv-4")
    groups = channel_groups(net, SHAPE)
    kept = dict(Mask.full(net).items())
    name = groups[2].name
    for dead, left in ((3, 32), (8, 24), (11, 24), (31, 8)):
        kept[name] = torch.ones_like(kept[name])
        kept[name][:dead] = False
        assert int(live_channels(groups, Mask(kept))[2].sum()) == left


class _Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=4)
        self.end = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.two(self.one(x)).mean((2, 3)))


class _Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.end = nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.norm(self.one(x)).mean((2, 3)))


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3)
        self.three.weight = self.two.weight
        self.end = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.three(self.two(self.one(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("net", "named"),
    [(_Grouped(), "two"), (_Normed(), "norm"), (_Tied(), "two")],
    ids=["grouped", "norm", "tied"],
)
def test_what_cannot_be_narrowed_is_named(net: nn.Module, named: str) -> None:
    group = channel_groups(net, SHAPE)[0]
    assert group.obstacle.startswith(named)
    assert bool(
        live_channels([group], Mask({n: torch.zeros_like(w).bool() for n, w in prunable(net).items()}))[
            0
        ].all()
    )
