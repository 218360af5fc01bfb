"""Random numbers that belong to a sample, whatever the batch.

A generator that is drawn from batch by batch gives a sample other numbers as soon as batch size, order or
device changes. Here a number is a hash of (seed, sample id, restart, position): the same everywhere, and
computed for a whole batch at once.
"""

import torch
from torch import Tensor

from .float64 import float64_device

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


def _mix(x: Tensor) -> Tensor:
    """The 32-bit finaliser "lowbias32" (C. Wellons, 2018) on int64 tensors that hold 32-bit values."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform(shape: tuple[int, ...], sample_ids: Tensor, *, seed: int, stream: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) for each sample, float64 multiples of 2^-32.

    They are on the device of `sample_ids`, or on the host where that has no float64.

    shape: that of one sample; the result has shape (N, *shape).
    sample_ids: int64 (N,).
    seed: of the whole run.
    stream: tells several draws for one sample apart, as the restarts of an attack.
    """
    device = float64_device(sample_ids.device)
    sample_ids = sample_ids.to(device)
    words = [seed & _MASK, (seed >> 32) & _MASK, stream & _MASK]
    key = torch.zeros_like(sample_ids)
    for word in words:
        key = _mix((key + word + _GOLDEN) & _MASK)
    # two keys of 32 bits a sample: with one, two of 50,000 samples would now and then share all numbers
    first = _mix((sample_ids + key) & _MASK)
    second = _mix((first ^ (sample_ids >> 32) ^ (key * 3)) & _MASK)
    size = int(torch.Size(shape).numel())
    position = torch.arange(size, device=device, dtype=torch.int64) * _GOLDEN & _MASK
    hashed = _mix(_mix((position + first[:, None]) & _MASK) ^ second[:, None])
    return hashed.to(torch.float64).mul_(2.0**-32).reshape(len(sample_ids), *shape)


def gaussian(numbers: Tensor) -> Tensor:
    """Standard normal numbers from those of `uniform`, by the inverse of the normal law."""
    # from the middles of the 2^32 cells: it is -inf at the lower end of the first
    normal: Tensor = torch.special.ndtri(numbers + 2.0**-33)
    return normal


def in_unit_ball(shape: tuple[int, ...], sample_ids: Tensor, *, seed: int, stream: int = 0) -> Tensor:
    """Uniform points of the Euclidean ball of radius 1, one a sample: float64 (N, *shape).

    A Gaussian vector gives the direction and u ** (1 / d) the radius (Muller 1959), u uniform and d the size
    of `shape`.
    """
    size = int(torch.Size(shape).numel())
    numbers = uniform((size + 1,), sample_ids, seed=seed, stream=stream)
    direction = gaussian(numbers[:, :size])
    radius = numbers[:, size:] ** (1 / size)
    points: Tensor = direction * (radius / torch.linalg.vector_norm(direction, dim=1, keepdim=True))
    return points.reshape(len(sample_ids), *shape)
