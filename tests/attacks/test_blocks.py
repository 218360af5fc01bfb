"""A network run in blocks: the same results, few sizes, every pass counted."""

import pytest
import torch
from small_nets import SHAPE, Counted
from torch import Tensor

from robust_tickets.attacks import InputError
from robust_tickets.attacks.blocks import Blocks, _cut
from robust_tickets.attacks.losses import cross_entropy

N = 37


@pytest.fixture
def counted(net) -> Counted:
    return Counted(net)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(N) % 5


@pytest.mark.parametrize("size", [1, 2, 8, 10, 36, 37, 64, 200])
def test_logits_losses_and_gradients_are_those_of_one_block(size, net, images, labels):
    whole, parts = Blocks(net, None), Blocks(net, size)
    torch.testing.assert_close(parts.logits(images), whole.logits(images), rtol=0, atol=1e-14)
    expected = whole.gradient(images, cross_entropy, labels)
    for ours, theirs in zip(parts.gradient(images, cross_entropy, labels), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [1, 32, 40, 250, 256])
def test_only_the_size_and_its_halves_occur_and_little_is_padded(size):
    for n in range(1, 3 * size):
        blocks = list(_cut(n, size))
        assert {s for _, s in blocks} <= {size >> halvings for halvings in range(size.bit_length())}
        firsts = [first for first, _ in blocks]
        assert firsts == [sum(s for _, s in blocks[:i]) for i in range(len(blocks))]  # nothing twice
        covered = sum(s for _, s in blocks)
        assert n <= covered
        last = blocks[-1][1]
        assert covered - n <= (last // 2 if last <= 32 else last // 8)
        assert len(blocks) <= n // size + 4


def test_passes_are_counted_with_their_padding(counted, images, labels):
    blocks = Blocks(counted, 16)  # 37 = 16 + 16 + 5, and the 5 are padded to 8
    blocks.logits(images)
    assert (blocks.forwards, blocks.backwards) == counted.passes == (40, 0)
    blocks.gradient(images, cross_entropy, labels)
    assert (blocks.forwards, blocks.backwards) == counted.passes == (80, 40)


def test_the_memory_format_stays(net, images):
    def check(images: Tensor) -> Tensor:
        assert images.is_contiguous(memory_format=torch.channels_last)
        return net(images)

    Blocks(check, 16).logits(images.to(memory_format=torch.channels_last))


def test_the_logits_of_all_blocks_are_checked(images, labels):
    def late(images: Tensor) -> Tensor:
        logits = images.flatten(1)[:, :5].clone()
        logits[images.flatten(1)[:, 0] == lowest] = float("nan")
        return logits

    lowest = images.flatten(1)[-1, 0]
    with pytest.raises(InputError, match="NaN logits for 1 of"):
        Blocks(late, 8, labels).logits(images)
