"""Checks whose outcome lies on the device, read together: each read makes the host wait for a GPU."""

from collections.abc import Callable

import torch
from torch import Tensor

_MOST = 256  # checks between two reads


class PostponedChecks:
    """Counts that must be zero, with the errors of those that are not, until the host next reads something.

    Errors come in the order of the checks, so the first fault is named, whenever it is read.
    """

    def __init__(self) -> None:
        self._counts: list[Tensor] = []
        self._errors: list[Callable[[int], Exception]] = []

    def add(self, count: Tensor, error: Callable[[int], Exception]) -> None:
        """Check that a count, int64 (), is zero; error: makes the exception from one that is not."""
        if len(self._counts) >= _MOST:
            self.read()
        self._counts.append(count)
        self._errors.append(error)

    def read(self, *numbers: Tensor) -> list[int]:
        """The numbers, each int64 (), on the host: in one transfer with all checks, which may raise."""
        counts, errors = self._counts, self._errors
        if not counts and not numbers:
            return []
        self._counts, self._errors = [], []
        values: list[int] = torch.stack([*counts, *numbers]).tolist()
        for value, error in zip(values, errors, strict=False):
            if value:
                raise error(value)
        return values[len(errors) :]
