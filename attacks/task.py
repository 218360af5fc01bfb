"""What a run of an attack is given, and what it gives."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from .checks import check_counts

if TYPE_CHECKING:
    from .threat import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """The images, verdicts and passes of an attack on N samples.

    images: (N, C, H, W), the last iterate; with several restarts the one of highest loss; where a sample
        left the attack as it broke, the iterate that broke it.
    broken: bool (N,), True where an iterate within ball and box was misclassified; None without a verdict.
    forwards: samples that went forward through the network.
    backwards: samples whose gradient was computed, always to the image alone.
    broken_by: int64 (N,), the member of an ensemble that broke the sample, -1 where none did; None for
        other attacks.
    outside: samples for which a third-party attack gave an image outside ball or box.
    """

    images: Tensor
    broken: Tensor | None
    forwards: int
    backwards: int
    broken_by: Tensor | None = None
    outside: int = 0


@dataclass(frozen=True)
class RunOptions:
    """What a run does besides the attack's own steps.

    stop_when_broken: a misclassified sample leaves the batch and costs nothing more.
    verdict: False saves the last forward pass where only the images are wanted, as in training.
    check: False skips the checks of the input, which make a GPU wait.
    block: at most so many images go through the network at once (see `Blocks`); None: no limit.

    Raises ValueError for a `block` that is no size.
    """

    stop_when_broken: bool = False
    verdict: bool = True
    check: bool = True
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None:
            check_counts(block=self.block)


@dataclass(frozen=True)
class Task:
    """The samples and the options of one run; for their meaning see `Attack.run`.

    Its methods take `rows`, int64: places of samples in ascending order.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    seed: int
    start: Tensor | None
    options: RunOptions

    def starts(self, threat: "ThreatModel", rows: Tensor, restart: int) -> Tensor:
        """Where a restart begins for the samples `rows`: at the caller's start at first, else at random."""
        if restart == 0 and self.start is not None:
            return self.start[rows]
        images = self.images_of(rows)
        return threat.random_start(images, self.ids[rows], seed=self.seed, restart=restart)

    def images_of(self, rows: Tensor) -> Tensor:
        """The clean images of the samples `rows`, not to be written into: no copy where these are all."""
        return self.images if len(rows) == len(self.images) else self.images[rows]

    def select(self, rows: Tensor) -> "Task":
        """The same task on the samples `rows`."""
        start = None if self.start is None else self.start[rows]
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], ids=self.ids[rows], start=start
        )
