"""The machine that stages run on: its device and threads, and its description in run directories."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_tickets.base import signals
from robust_tickets.base.devices import (
    UNTRIED,
    describe_gpu,
    device_kind,
    device_module,
    numbered_devices,
    prepare_cuda,
)
from robust_tickets.base.errors import InputError
from robust_tickets.base.followers import process_group, torchrun_size
from robust_tickets.base.lazy import nn, torch
from robust_tickets.base.memory import keep_freed_memory
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.base.progress import Progress

if TYPE_CHECKING:
    from robust_tickets.base.ledger import Ledger


@dataclass(frozen=True)
class Machine:
    """Where a stage runs.

    device: torch device; a kind of GPU without a number, as "cuda", becomes the process's current one.
    progress: shows what the stage does.
    checkpoint_minutes, checkpoint_steps: longest distance between two states of a training; 0: no limit.
    jobs: how many stages run at the same time.
    any_machine: whether a run that began on another processor or GPU may go on here.
    tensorboard: whether trainings write curves for TensorBoard too.
    devices: those that jobs take in turn: where the device came without a number, all GPUs like it.
    world_size: how many devices share each training and each evaluation, a process on each.
    """

    device: str
    progress: Progress
    checkpoint_minutes: float = 1.0
    checkpoint_steps: int = 0
    jobs: int = 1
    any_machine: bool = False
    tensorboard: bool = False
    devices: tuple[str, ...] = ()
    world_size: int = 1

    def __post_init__(self) -> None:
        """Name the GPU: "cuda" would be another one after a later call on "cuda:1".

        Under torchrun its processes are the devices. Raises InputError for another number of them.
        """
        if torchrun_size() > 1 and self.world_size not in (1, torchrun_size()):
            raise InputError(
                f"torchrun has started {torchrun_size()} processes, and --devices is {self.world_size}: "
                "leave --devices out"
            )
        object.__setattr__(self, "world_size", max(self.world_size, torchrun_size()))
        if not self.devices:
            devices = numbered_devices(self.device)
            object.__setattr__(self, "device", devices[0])
            object.__setattr__(self, "devices", devices)

    def share(self, jobs: int, busy: Sequence[str]) -> "Machine":
        """The machine of the next of so many jobs at a time: its device is the one that the fewest use.

        busy: the devices of the jobs that run now.
        """
        device = min(self.devices, key=busy.count)
        return replace(self, jobs=jobs, device=device, devices=(device,))

    def process_group(self) -> ProcessGroup:
        """The processes that share each training, this one being their leader; they start at the first use.

        Raises InputError where there are fewer devices, or a process does not start.
        """
        if self.world_size == 1:
            return ALONE
        if torchrun_size() > 1:
            return process_group([self.device])
        self._check_devices()
        alike = [self.device] * self.world_size if self.device == "cpu" else self.devices
        return process_group(alike[: self.world_size])

    def _check_devices(self) -> None:
        """Raise InputError for more devices than there are, of this machine."""
        if torchrun_size() > 1:
            return
        if self.device == "cpu":
            cores = os.cpu_count() or 1
            if self.world_size > cores:
                raise InputError(
                    f"--devices is {self.world_size}, and this machine has {cores} cores: give at most "
                    f"{cores}"
                )
        elif len(self.devices) < self.world_size:
            raise InputError(
                f"there are not {self.world_size} devices: {', '.join(self.devices)} can be used; give "
                "--device without a number, and the number of GPUs as --devices"
            )

    def warn_of_threads(self, number: int, what: str, threads: int) -> None:
        """Say once where so many processes have fewer cores than threads; what: they are, in the plural."""
        cores = os.cpu_count() or 1
        if self.device == "cpu" and number > 1 and number * threads > cores:
            self.progress.warn_once(
                f"{number} {what} of {threads} threads on {cores} cores slow each other down: "
                f"compute.threads {max(1, cores // number)} would give each its own"
            )

    def end_measurement(self, ledger: "Ledger") -> None:
        """Time the fixed convolution once more, and say once where other programs took cores.

        Where several jobs run at a time, the others are among those programs.
        """
        ledger.calibrate(self.device)
        if self.jobs == 1 and ledger.load.warning:
            self.progress.warn_once(
                "other programs take cores that this needs: tables will mark its seconds as too high"
            )

    def prepare(self, threads: int) -> None:
        """Set up the device and the number of CPU threads.

        Raises InputError for a device that cannot be used.
        """
        kind = device_kind(self.device)
        self._check_devices()
        self.warn_of_threads(self.world_size, "processes", threads)
        if kind == "cpu":
            keep_freed_memory()
        elif hasattr(device_module(kind), "set_device"):
            device_module(kind).set_device(self.device)  # where the ledger's events are recorded
        if kind == "cuda":
            prepare_cuda()
        if kind in UNTRIED:
            self.progress.warn_once(
                f"device {kind} is untried: this project was never run on one; compare a short run with "
                "--device cpu before you trust its figures"
            )
        torch.set_num_threads(threads)
        with signals.deferred():  # an import that a signal interrupts fails later
            _warm_up(self.device)


@lru_cache(maxsize=1)
def _warm_up(device: str) -> None:
    """Take one optimiser step, so that PyTorch's imports at its first step are charged to no arm."""
    parameter = nn.Parameter(torch.zeros(1, device=device))
    optimiser = torch.optim.SGD([parameter], lr=0.0)
    parameter.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def describe_machine(device: str, threads: int, devices: int = 1) -> dict[str, Any]:
    """Processor, device and versions, for readers of seconds; without the host's name and any path.

    devices: how many share each training.
    """
    import numpy
    import torch
    import torchvision

    from robust_tickets.base.version import __version__

    return {
        "robust_tickets": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "vectors": torch.backends.cpu.get_cpu_capability(),  # processors of the same name may differ
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device.partition(":")[0],
        **({"devices": devices} if devices > 1 else {}),
        "gpu": None,
        **describe_gpu(device),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
