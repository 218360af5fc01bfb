"""Where float64 is computed: GPUs of Apple, and some of Intel, have no numbers of that type."""

from functools import lru_cache

import torch


@lru_cache
def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the host where the device has no float64."""
    if device.type in ("cpu", "cuda"):
        return device
    try:
        torch.ones(1, device=device).to(torch.float64).add_(1)
    except (RuntimeError, TypeError):
        return torch.device("cpu")
    return device
