"""A network run in blocks: the same results, few sizes, every pass counted."""

import pytest
import torch
from torch import Tensor, nn

from attacks import PGD, InputError, RunOptions, ThreatModel
from attacks.blocks import Blocks, _cut
from attacks.losses import cross_entropy

N, SHAPE = 37, (3, 6, 6)


class Watched(nn.Module):
    """Lists how many images each pass has, and their memory format."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)).double()
        self.sizes: list[int] = []
        self.last = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        self.last.append(images.is_contiguous(memory_format=torch.channels_last))
        return self.net(images)


@pytest.fixture
def net() -> Watched:
    return Watched()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def labels(net, images) -> Tensor:
    return net.net(images).argmax(1)


@pytest.mark.parametrize("size", [1, 2, 8, 10, 36, 37, 64, 200])
def test_logits_losses_and_gradients_are_those_of_one_block(size, net, images, labels):
    whole, parts = Blocks(net, None), Blocks(net, size)
    torch.testing.assert_close(parts.logits(images), whole.logits(images), rtol=0, atol=1e-14)
    expected = whole.gradient(images, cross_entropy, labels)
    for mine, theirs in zip(parts.gradient(images, cross_entropy, labels), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 8, 16, 40, 100])
def test_only_the_size_and_its_halves_occur(size, net, images, labels):
    blocks = Blocks(net, size)
    for n in range(1, N + 1):
        blocks.gradient(images[:n], cross_entropy, labels[:n])
    assert set(net.sizes) <= {size >> halvings for halvings in range(8)}


@pytest.mark.parametrize("size", [32, 250, 256])
def test_little_is_padded_and_less_than_half_of_a_small_rest(size):
    for n in range(1, 3 * size):
        blocks = list(_cut(n, size))
        firsts = [first for first, _ in blocks]
        assert firsts == [sum(s for _, s in blocks[:i]) for i in range(len(blocks))]  # nothing twice
        covered = sum(s for _, s in blocks)
        assert n <= covered
        last = blocks[-1][1]
        assert covered - n <= (last // 2 if last <= 32 else last // 8)
        assert len(blocks) <= n // size + 4


def test_passes_are_counted_with_their_padding(net, images, labels):
    blocks = Blocks(net, 16)  # 37 = 16 + 16 + 5, and the 5 are padded to 8
    blocks.logits(images)
    assert (blocks.forwards, blocks.backwards) == (40, 0)
    blocks.gradient(images, cross_entropy, labels)
    assert (blocks.forwards, blocks.backwards) == (80, 40)
    assert sum(net.sizes) == 80


def test_the_memory_format_stays(net, images):
    Blocks(net, 16).logits(images.to(memory_format=torch.channels_last))
    assert all(net.last)


@pytest.mark.parametrize("stop", [False, True])
def test_the_verdicts_do_not_depend_on_the_blocks(stop, net, images, labels):
    attack = PGD(ThreatModel("Linf", 0.03), steps=5, restarts=2)
    whole = attack.run(net, images, labels)
    for size in (1, 8, 16, 64):
        part = attack.run(net, images, labels, options=RunOptions(block=size, stop_when_broken=stop))
        assert torch.equal(part.broken, whole.broken)
    assert 0 < int(whole.broken.sum()) < N


def test_work_shrinks_in_blocks_as_well(net, images, labels):
    attack = PGD(ThreatModel("Linf", 0.05), steps=10)
    net.sizes.clear()
    result = attack.run(net, images, labels, options=RunOptions(block=8, stop_when_broken=True))
    assert sum(net.sizes) == result.forwards
    assert result.forwards < 0.8 * 11 * N  # as many are broken
    assert result.broken.float().mean() > 0.3


def test_the_logits_of_all_blocks_are_checked(images, labels):
    def late(images: Tensor) -> Tensor:
        logits = images.flatten(1)[:, :5].clone()
        logits[images.flatten(1)[:, 0] == lowest] = float("nan")
        return logits

    lowest = images.flatten(1)[-1, 0]
    with pytest.raises(InputError, match="NaN logits for 1 of"):
        Blocks(late, 8, labels).logits(images)
