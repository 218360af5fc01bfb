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


def _word(number: int) -> int:
    """The last 32 bits of a number, as int32 has them."""
    number &= _MASK
    return number - _MASK - 1 if number >> 31 else number


def _mix(x: Tensor) -> Tensor:
    """The 32-bit finaliser "lowbias32" (C. Wellons, 2018), in place on an int32 tensor, whose products wrap.

    Many CPUs have no instruction for several products of int64.
    """
    spare = torch.empty_like(x)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        torch.bitwise_right_shift(x, shift, out=spare)
        x ^= spare.bitwise_and_(_MASK >> shift)  # the shift has copied the sign
        if factor != 1:
            x *= _word(factor)
    return x


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
    low, high = sample_ids.to(torch.int32), (sample_ids >> 32).to(torch.int32)
    key = torch.zeros_like(low)
    for word in (seed, seed >> 32, stream):
        key = _mix(key + _word(word + _GOLDEN))
    # two keys of 32 bits a sample: with one, two of 50,000 samples would now and then share all numbers
    first = _mix(low + key)
    second = _mix(first ^ high ^ (key * 3))
    size = int(torch.Size(shape).numel())
    position = torch.arange(size, device=device, dtype=torch.int32) * _word(_GOLDEN)
    hashed = _mix(position + first[:, None])
    hashed ^= second[:, None]
    # with its highest bit turned, a word is 2^31 less as int32 than it was as uint32
    numbers = _mix(hashed).bitwise_xor_(_word(1 << 31)).to(torch.float64)
    return numbers.add_(2.0**31).mul_(2.0**-32).reshape(len(sample_ids), *shape)


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
