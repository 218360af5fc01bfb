"""Seeds of a run's random numbers, and PyTorch's global generators set to one for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from robust_tickets.base.devices import device_in_use, device_module
from robust_tickets.base.lazy import torch


def step_seed(seed: int, step: int) -> int:
    """The seed of a step, in 32 bits, since PyTorch's generator on the CPU reads no more.

    The seeds of neighbouring runs are far apart (Knuth's multiplicative hash), and steps count down, away
    from the seeds of inits and batches.
    """
    return (seed * 2_654_435_761 - step - 1) % 2**32


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of the attack's random starts in an epoch, in 64 bits."""
    return (seed << 32) | epoch


def growth_generator(seed: int, step: int) -> "torch.Generator":
    """A generator for the weights that grow in a step; seed: that of the step's epoch, as `epoch_seed` gives.

    Independent of what the step's dropout draws.
    """
    return torch.Generator().manual_seed(step_seed(seed >> 32, 2**30 + step))


def mask_generator(seed: int) -> "torch.Generator":
    """A generator for random masks of a seed, independent of the seed's init."""
    return torch.Generator().manual_seed(step_seed(seed, 2**31))


def score_generator(seed: int) -> "torch.Generator":
    """A generator for the scores that weights of a seed begin with, independent of its masks and its init."""
    return torch.Generator().manual_seed(step_seed(seed, 2**31 + 1))


def basis_generator(seed: int) -> "torch.Generator":
    """A generator for the random bases of a seed, independent of its masks, scores and init."""
    return torch.Generator().manual_seed(step_seed(seed, 2**31 + 2))


@contextmanager
def use_seed(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generators, which inits and dropout draw from, for the length of a block.

    Those of the CPU, and of the current GPU if one is in use; afterwards they are as before. The CPU's
    generator reads the low 32 bits of the seed alone.
    """
    with restored_generators():
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed all GPUs
        device = device_in_use()
        if device is not None:
            device_module(device[0]).manual_seed(seed)
        yield


@contextmanager
def restored_generators() -> Iterator[None]:
    """After the block, PyTorch's global generators are as before: the CPU's, and the current GPU's if any."""
    kind, *devices = device_in_use() or ("cuda",)
    with torch.random.fork_rng(devices=devices, device_type=kind):
        yield
