"""Counts what would make the host wait for a device: by phase of the ledger, kind, and line of the code."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robust_tickets.base.ledger import Ledger

ROOT = Path(__file__).parents[2]
OURS = (f"{ROOT / 'robust_tickets'}/", f"{ROOT / 'attacks'}/")
INDEXING = {
    "aten.index.Tensor",
    "aten.index_put_.default",
    "aten.index_put.default",
    "aten._index_put_impl_.default",
    "aten._unsafe_index.Tensor",
}
WAITING = {
    f"aten.{name}"
    for name in (
        "_local_scalar_dense.default",
        "item.default",
        "nonzero.default",
        "equal.default",
        "masked_select.default",
        "_unique2.default",
        "unique_dim.default",
        "unique_consecutive.default",
        "bincount.default",
        "repeat_interleave.Tensor",
        "is_nonzero.default",
        "argwhere.default",
        "histc.default",
    )
}
"""Operations whose result, or its size, the host needs."""


class Watch(TorchDispatchMode):
    """Looks at every operation while it is on.

    waits: (stage and phase, kind, file:line) -> how often; operations: (stage and phase, name) -> how often.
    """

    current: ClassVar["Watch | None"] = None
    phases: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str, str]] = Counter()
        self.operations: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> "Watch":
        Watch.current = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        Watch.current = None
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from simulated_device import run_operation

        return run_operation(func, args, kwargs or {})

    def see(
        self,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        tensors: list[Tensor],
        on_device: Callable[[Any], bool],
    ) -> None:
        """Count an operation, and what of it makes the host wait.

        tensors: those among its arguments; on_device: whether a tensor lies on the device.
        """
        self.operations[self._phase, name] += 1
        if name in WAITING:
            self.wait(name)
        elif name == "aten._to_copy.default":
            self._see_copy(kwargs.get("device"), any(map(on_device, tensors)))
        elif name == "aten.copy_.default":
            to_device, from_device = on_device(args[0]), on_device(args[1])
            if to_device and not from_device and args[1].ndim:  # a number is an argument of the kernel
                self.wait("host -> device copy_")
            elif from_device and not to_device:
                self.wait("device -> host copy_")
        elif name in INDEXING:
            indices = [index for index in args[1] if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait(f"{name} by a mask, which is counted first")
            if not all(map(on_device, indices)):
                self.wait(f"{name} by an index on the host")

    def _see_copy(self, target: Any, from_device: bool) -> None:
        if target is None:
            return
        if torch.device(target).type == "cpu":
            self.wait("device -> host copy")
        elif not from_device:
            self.wait("host -> device copy")

    def wait(self, kind: str) -> None:
        """Count a wait of the line of our code that runs."""
        self.waits[self._phase, kind, _line()] += 1

    @classmethod
    def wait_seen(cls, kind: str) -> None:
        """Count a wait, if anything is watched."""
        if cls.current is not None:
            cls.current.wait(kind)

    def by_phase(self) -> dict[str, int]:
        """The number of waits in each stage and phase."""
        total: Counter[str] = Counter()
        for (phase, _, _), count in self.waits.items():
            total[phase] += count
        return dict(total)

    def lines(self, *phases: str) -> list[str]:
        """The waits of some phases, a line each."""
        return [
            f"{phase}: {kind} at {line}, {n} times"
            for (phase, kind, line), n in self.waits.items()
            if phase in phases
        ]

    @property
    def _phase(self) -> str:
        return self.phases[-1] if self.phases else ""


def follow_phases() -> None:
    """Let every watch know in which phase of a ledger the process is."""
    from contextlib import contextmanager

    phase = Ledger.phase

    @contextmanager
    def followed(self: Ledger, name: Any) -> Any:
        Watch.phases.append(f"{self.stage} {name}")
        try:
            with phase(self, name):
                yield
        finally:
            Watch.phases.pop()

    Ledger.phase = followed  # type: ignore[method-assign]


def _line() -> str:
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return "?" if frame is None else f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"
