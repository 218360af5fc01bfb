"""What an attack has found so far, sample by sample."""

from collections.abc import Iterator

import torch
from torch import Tensor

from attacks.attack import AttackResult, Task
from attacks.blocks import Blocks
from attacks.bookmark import State


class Found:
    """The verdicts and images of a task while its attack runs; over restarts the image of highest loss stays.

    `rows` are places in the task's batch, int64.
    """

    def __init__(self, task: Task) -> None:
        n, device = len(task.images), task.images.device
        self._task = task
        self.images = task.images.clone()
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self._losses = torch.full((n,), -torch.inf, dtype=task.images.dtype, device=device)

    def left(self) -> Tensor:
        """The samples that are still attacked, as rows."""
        if self._task.stop:
            return (~self.broken).nonzero()[:, 0]
        return torch.arange(len(self.images), device=self.images.device)

    def restarts(self, times: int) -> Iterator[tuple[int, Tensor]]:
        """The restarts, each with the samples that are still attacked, as rows; no more when none is.

        Where the task goes on, first the one that was under way, with what was left in the middle of it.
        """
        restart = first = 0

        def now() -> State:
            return {"restart": restart, "images": self.images, "broken": self.broken, "losses": self._losses}

        with self._task.mark.level(now) as kept:
            if kept is not None:
                first, self.images, self.broken, self._losses = (kept[name] for name in now())
            for restart in range(first, times):
                rows = self.left()
                if len(rows) == 0:
                    return
                yield restart, rows

    def look(self, rows: Tensor, images: Tensor, wrong: Tensor) -> Tensor:
        """Note which of the images, which lie inside ball and box, are misclassified: bool, as `rows`.

        Gives the places within `rows` that go on: all of them, or those that are not broken.
        """
        self.broken[rows] |= wrong
        if not self._task.stop:
            return torch.arange(len(rows), device=rows.device)
        self.images[rows[wrong]] = images[wrong]
        return (~wrong).nonzero()[:, 0]

    def offer(self, rows: Tensor, images: Tensor, losses: Tensor) -> None:
        """The end of a restart: its images stay where their losses are the highest so far."""
        losses = losses.to(self._losses.dtype)  # a net may compute in another type than its images have
        better = losses > self._losses[rows]
        self.images[rows[better]] = images[better]
        self._losses[rows[better]] = losses[better]

    def result(self, net: Blocks) -> AttackResult:
        """All that was found, and what it took."""
        broken = self.broken if self._task.verdict else None
        return AttackResult(self.images, broken, net.forwards, net.backwards)
