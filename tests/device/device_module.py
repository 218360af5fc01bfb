"""What `torch.simulated` has: the parts of `torch.cuda` that PyTorch and this project ask a device for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from watch import Watch


class Event:
    """A mark in the device's stream; reading it waits for the device."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._time = 0.0

    def record(self) -> None:
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        Watch.wait_seen("an event is read")

    def elapsed_time(self, other: "Event") -> float:
        """Milliseconds from this event to another."""
        return (other._time - self._time) * 1000


class DeviceModule:
    """The module of one simulated device.

    refuses_float64: whether the device lacks float64, as Apple's do.
    seeds: those that the device's random state was set to.
    """

    Event = Event

    def __init__(self, name: str) -> None:
        self.name = name
        self.refuses_float64 = False
        self.seeds: list[int] = []
        self._random = torch.Generator().manual_seed(987_654_321).get_state()

    def is_initialized(self) -> bool:
        return True

    is_available = is_initialized

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def set_device(self, index: Any) -> None:
        assert torch.device(index).index in (0, None)

    def device_count(self) -> int:
        return 1

    def get_device_name(self, index: Any = None) -> str:
        return "simulated GPU"

    def synchronize(self, index: Any = None) -> None:
        Watch.wait_seen("synchronize")

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        self.seeds.append(seed)
        self._random = torch.Generator().manual_seed(seed).get_state()

    manual_seed_all = manual_seed

    def get_rng_state(self, index: Any = None) -> Tensor:
        return self._random.clone()

    def set_rng_state(self, state: Tensor, index: Any = None) -> None:
        self._random = state.clone()

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    @contextmanager
    def own_random_numbers(self) -> Iterator[None]:
        """Let the host's generator stand for the device's within the block."""
        host = torch.get_rng_state()
        torch.set_rng_state(self._random)
        try:
            yield
        finally:
            self._random = torch.get_rng_state()
            torch.set_rng_state(host)
