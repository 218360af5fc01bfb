"""PyTorch's global generators, lent for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
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
