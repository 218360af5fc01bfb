"""The records of a training's epochs on disk while it goes on: metrics.jsonl, and TensorBoard's files."""

from types import TracebackType
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory


class EpochLog:
    """Writes metrics.jsonl anew after each epoch, and its numbers as curves for TensorBoard where asked to.

    folder: of the arm or the search; TensorBoard's files go to its folder `tensorboard`.
    tensorboard: whether those are written. Raises InputError where the extra is not installed.
    """

    def __init__(self, folder: ArmDirectory, tensorboard: bool = False) -> None:
        self._folder, self._writer = folder, None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InputError(
                    "--tensorboard needs the package tensorboard: pip install 'robust-tickets[tensorboard]'"
                ) from None
            folder.tensorboard.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(folder.tensorboard))
        self._written = 0

    def __call__(self, history: list[dict[str, Any]]) -> None:
        """Write the records so far."""
        files.write_jsonl(self._folder.metrics, history)
        if self._writer is None:
            return
        for number, record in enumerate(history[self._written :], self._written + 1):
            for name, value in record.items():
                if name not in ("epoch", "round") and isinstance(value, int | float):
                    self._writer.add_scalar(name, value, number)
        self._written = len(history)
        self._writer.flush()

    def __enter__(self) -> "EpochLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
