"""The record of a running attack, sample by sample."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .blocks import Blocks
from .task import AttackResult, Task


class AttackRecord:
    """The verdicts and images of a task while its attack runs; over restarts the image of highest loss stays.

    Its methods take `rows`, int64: places of samples in the task's batch. The host waits for the device where
    it must know how many samples are left, and the network's checks are read with that.
    """

    def __init__(self, task: Task, net: Blocks) -> None:
        n, device = len(task.images), task.images.device
        self._task = task
        self._net = net
        self.images = task.images.clone()
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self._losses = torch.full((n,), -torch.inf, dtype=task.images.dtype, device=device)

    def open_rows(self) -> Tensor:
        """The samples that are still attacked, as rows."""
        if self._task.options.stop_when_broken:
            return self._split(self.broken)[0]
        return torch.arange(len(self.images), device=self.images.device)

    def restarts(self, times: int) -> Iterator[tuple[int, Tensor]]:
        """The restarts, each with the samples that are still attacked, as rows, until none is left."""
        for restart in range(times):
            rows = self.open_rows()
            if len(rows) == 0:
                return
            yield restart, rows

    def note(self, rows: Tensor, images: Tensor, wrong: Tensor) -> Tensor:
        """Note the samples whose images, within ball and box, are misclassified: `wrong`, bool like `rows`.

        Returns the places within `rows` that are still attacked: all of them, or those that are not broken.
        """
        self.broken[rows] |= wrong
        if not self._task.options.stop_when_broken:
            return torch.arange(len(rows), device=rows.device)
        left, gone = self._split(wrong)
        if len(gone):
            self.images[rows[gone]] = images[gone]
        return left

    def _split(self, wrong: Tensor) -> tuple[Tensor, Tensor]:
        """The places where a bool (N,) is False, and those where it is True: one wait."""
        order = wrong.to(torch.uint8).argsort(stable=True)
        (left,) = self._net.read((~wrong).sum())
        return order[:left], order[left:]

    def keep_highest(self, rows: Tensor, images: Tensor, losses: Tensor) -> None:
        """At the end of a restart: keep its images where their losses are the highest so far."""
        losses = losses.to(self._losses.dtype)  # a network may compute in another type than its images have
        before = self._losses[rows]
        higher = losses > before
        higher_images = higher.reshape(-1, *[1] * (images.ndim - 1))
        self.images[rows] = torch.where(higher_images, images, self.images[rows])
        self._losses[rows] = torch.where(higher, losses, before)

    def result(self) -> AttackResult:
        """The result of the attack, with the passes that the network has counted."""
        broken = self.broken if self._task.options.verdict else None
        return AttackResult(self.images, broken, self._net.forwards, self._net.backwards)
