"""PyTorch's global generators, lent for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from robust_tickets.base.lazy import torch


def step_seed(seed: int, step: int) -> int:
    """A seed for step `step` of what a run draws, of 32 bits: PyTorch's generator on the CPU reads no more.

    The seeds of neighbouring runs lie far apart (Knuth's multiplicative hash), and steps count down, away
    from the seeds of inits and batches.
    """
    return (seed * 2_654_435_761 - step - 1) % 2**32


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of 64 bits for the attack's starts, which differs from epoch to epoch."""
    return (seed << 32) | epoch


def mask_generator(seed: int) -> "torch.Generator":
    """A generator for the places that a mask of this seed keeps: not what the seed's init is drawn from."""
    return torch.Generator().manual_seed(step_seed(seed, 2**31))


@contextmanager
def use_seed(seed: int) -> Iterator[None]:
    """Let what draws from PyTorch's global generators, such as inits and dropout, draw from this seed.

    On the CPU, and on the current GPU if any is in use. Afterwards the generators are as they were. The CPU's
    reads the low 32 bits of a seed alone.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
        if devices:
            torch.cuda.manual_seed(seed)
        yield
