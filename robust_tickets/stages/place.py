"""Where stages run, and what they write."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robust_tickets import runs, stops
from robust_tickets.errors import InputError
from robust_tickets.memory import keep_freed_memory
from robust_tickets.progress import Progress
from robust_tickets.runs import RunDirectory
from robust_tickets.settings import Compute
from robust_tickets.stages.saves import Every


@dataclass(frozen=True)
class Machine:
    """Where a stage runs, who watches, how often its state is kept, and how many jobs share the place."""

    device: str
    progress: Progress
    every: Every = Every()
    jobs: int = 1

    def prepare(self, compute: Compute) -> None:
        """Check the device and set the threads. Raises InputError for a device that is not there."""
        try:
            kind = torch.empty(0, device=self.device).device.type
        except (RuntimeError, AssertionError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {self.device!r} cannot be used ({reason}): try --device cpu") from None
        if kind not in ("cpu", "cuda"):
            raise InputError(
                f"device {self.device!r} cannot be used (only cpu and cuda can): try --device cpu"
            )
        if kind == "cpu" and self.device != "cpu":
            raise InputError(f"device {self.device!r} cannot be used (there is one cpu): give --device cpu")
        if kind == "cuda":
            if torch.device(self.device).index is not None:
                torch.cuda.set_device(self.device)  # where the ledger's events are recorded
            torch.backends.cudnn.deterministic = True  # the same recipe gives the same bits
        else:
            keep_freed_memory()
        torch.set_num_threads(compute.threads)
        with stops.waiting():  # what it imports is not to be broken off
            _start(self.device)


@lru_cache(maxsize=1)
def _start(device: str) -> None:
    """Take one step on one number: what PyTorch imports for its first is charged to no arm."""
    number = nn.Parameter(torch.zeros(1, device=device))
    optimiser = torch.optim.SGD([number], lr=0.0)
    number.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def placed(net: nn.Module, compute: Compute, machine: Machine) -> nn.Module:
    """The net on the device, in the memory format asked for. Raises InputError for one that would hang."""
    if machine.device == "cpu" and compute.channels_last:
        _check_returns(net)
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    return net.to(device=machine.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _check_returns(net: nn.Module) -> None:
    """Raise InputError for a layer whose backward pass may never return, on the CPU and channels last.

    Seen with oneDNN's AVX2 kernels (torch 2.14.1): 1x1 convolutions of stride 2 from 3 to 6 channels.
    """
    for name, layer in net.named_modules():
        if (
            isinstance(layer, nn.Conv2d)
            and (set(layer.kernel_size), set(layer.stride)) == ({1}, {2})
            and layer.in_channels in range(3, 7)
        ):
            raise InputError(
                f"{name} is a 1x1 convolution of stride 2 from {layer.in_channels} channels, whose backward "
                "pass never returns on some CPUs where channels come last: give "
                "--compute.no-channels-last, or the layer 8 channels"
            )


def same_place(run: RunDirectory, machine: Machine, inputs: Mapping[str, str]) -> bool:
    """Whether a run was begun on this machine, with these inputs."""
    if not (run.path / "env.json").is_file():
        return False
    try:
        run.check(machine.device)
        run.check_inputs(inputs)
    except InputError:
        return False
    return True


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    runs.write_text(path, "".join(json.dumps(record) + "\n" for record in records))
