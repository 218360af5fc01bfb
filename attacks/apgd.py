"""Auto-PGD: PGD that chooses its own step size."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from .attack import Attack
from .balls import Ball
from .blocks import Blocks
from .checks import check_counts, check_number
from .losses import LEAST_CLASSES, loss_named, targeted_dlr
from .network import misclassified
from .record import AttackRecord
from .task import AttackResult, Task
from .threat import ThreatModel, check_threat

_MOMENTUM = 0.75  # the paper's alpha: the share of the new step; the rest follows the last one


class APGD(Attack):
    """APGD (Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks", algorithm 1).

    PGD with momentum from a random start, at first with steps of 2 * eps. At checkpoints (after 22 % of the
    steps, then ever closer, down to 6 %) a sample whose loss rose in less than `rho` of the steps, or whose
    best loss did not change, goes on from its best point with steps of half the size. The images are those of
    highest loss.

    threat: the ball and the box of valid pixels.
    steps: gradient steps, at least 1.
    loss: "ce" (cross-entropy), "dlr" or "margin".
    restarts: number of random starts, at least 1.
    rho: share of steps between two checkpoints that must raise the loss, in (0, 1].

    Raises ValueError for settings that make no sense.

        attack = APGD(ThreatModel("Linf", 8 / 255), loss="dlr")
        adversarial = attack(net, images, labels)
    """

    def __init__(
        self, threat: ThreatModel, *, steps: int = 100, loss: str = "ce", restarts: int = 1, rho: float = 0.75
    ) -> None:
        check_threat(threat)
        check_counts(steps=steps, restarts=restarts)
        _check_rho(rho)
        self.threat = threat
        self.steps = steps
        self.loss = loss
        self.restarts = restarts
        self.rho = rho
        self._loss = loss_named(loss)
        self.least_classes = LEAST_CLASSES.get(loss, 2)

    @property
    def passes_per_sample(self) -> int:
        """A forward and a backward a step, and a last look."""
        return self.restarts * (2 * self.steps + 1)

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        record = AttackRecord(task, net)
        for restart, rows in record.restarts(self.restarts):
            climb = _start_climb(self.threat, task, rows, restart, (task.labels[rows],))
            _climb(net, climb, self._loss, record, self.steps, self.rho)
        return record.result()


class APGDTargeted(Attack):
    """APGD on the targeted DLR loss, towards one wrong class after the other (Croce & Hein 2020, section 4).

    The classes are those of the largest logits on the clean image, the images those of highest loss over all
    targets.

    threat: the ball and the box of valid pixels.
    steps: gradient steps towards each target, at least 1.
    targets: number of classes, at least 1; all wrong ones where there are no more.
    restarts: number of random starts towards each, at least 1.
    rho: as for `APGD`.

    Raises ValueError for settings that make no sense, InputError for networks of fewer than 4 classes.

        attack = APGDTargeted(ThreatModel("Linf", 8 / 255))
        adversarial = attack(net, images, labels)
    """

    least_classes = 4

    def __init__(
        self, threat: ThreatModel, *, steps: int = 100, targets: int = 9, restarts: int = 1, rho: float = 0.75
    ) -> None:
        check_threat(threat)
        check_counts(steps=steps, targets=targets, restarts=restarts)
        _check_rho(rho)
        self.threat = threat
        self.steps = steps
        self.targets = targets
        self.restarts = restarts
        self.rho = rho

    @property
    def passes_per_sample(self) -> int:
        """A look at the image, then from each start a forward and a backward a step and a last look."""
        return 1 + self.targets * self.restarts * (2 * self.steps + 1)

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        record = AttackRecord(task, net)
        logits = net.logits(task.images)
        record.note(record.open_rows(), task.images, misclassified(logits, task.labels))
        wrong = logits.masked_fill(F.one_hot(task.labels, logits.shape[1]).bool(), -torch.inf)
        order = torch.argsort(wrong, dim=1, descending=True, stable=True)
        targets = min(self.targets, order.shape[1] - 1)
        for start, rows in record.restarts(targets * self.restarts):
            target = order[rows, start // self.restarts]
            climb = _start_climb(self.threat, task, rows, start, (task.labels[rows], target))
            _climb(net, climb, targeted_dlr, record, self.steps, self.rho)
        return record.result()


@dataclass(frozen=True)
class _Climb:
    """N samples on their way up, each with a step size of its own."""

    rows: Tensor  # their places in the task's batch
    classes: tuple[Tensor, ...]  # labels, and targets where the loss has them
    ball: Ball
    x: Tensor
    x_before: Tensor  # the iterate before x
    step: Tensor  # (N, 1, 1, 1)
    loss: Tensor  # at the iterate before
    rises: Tensor  # how often the loss rose since the last checkpoint
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    checkpoint_loss: Tensor  # the best loss at the last checkpoint
    halved: Tensor  # whether the step was halved there

    def select(self, places: Tensor) -> "_Climb":
        """The climb of the samples at these places."""
        names = [f.name for f in fields(self) if f.name not in ("classes", "ball")]
        parts = {name: getattr(self, name)[places] for name in names}
        classes = tuple(each[places] for each in self.classes)
        return replace(self, **parts, classes=classes, ball=self.ball.select(places))


def _start_climb(
    threat: ThreatModel, task: Task, rows: Tensor, restart: int, classes: tuple[Tensor, ...]
) -> _Climb:
    images = task.images[rows]
    start = task.starts(threat, rows, restart)
    lowest = images.new_full((len(rows),), -torch.inf)
    return _Climb(
        rows,
        classes,
        threat.ball(images),
        x=start,
        x_before=start,
        step=images.new_full((len(rows), *[1] * (images.ndim - 1)), 2 * threat.eps),
        loss=lowest,
        rises=torch.zeros_like(rows),
        best=start,
        best_loss=lowest,
        best_gradient=torch.zeros_like(start),
        checkpoint_loss=lowest,
        halved=torch.ones_like(rows, dtype=torch.bool),  # the first checkpoint has none to compare with
    )


def _climb(
    net: Blocks, climb: _Climb, loss: Callable[..., Tensor], record: AttackRecord, steps: int, rho: float
) -> None:
    """Algorithm 1 from one start; loss: of logits and `climb.classes`."""
    last = 0
    for k in range(steps):
        logits, losses, gradient = net.gradient(climb.x, loss, *climb.classes)
        left = record.note(climb.rows, climb.x, misclassified(logits, climb.classes[0]))
        if len(left) == 0:
            return
        if len(left) < len(climb.rows):
            climb, losses, gradient = climb.select(left), losses[left], gradient[left]
        climb = _update_best(climb, losses, gradient, first=k == 0)
        if k in checkpoints(steps):
            climb, gradient = _halve_steps(climb, gradient, rho * (k - last))
            last = k
        target = climb.ball.step(climb.x, gradient, climb.step)
        if k > 0:  # the first step has no direction to keep
            move = _MOMENTUM * (target - climb.x) + (1 - _MOMENTUM) * (climb.x - climb.x_before)
            target = climb.ball.project(climb.x + move)
        climb = replace(climb, x=target, x_before=climb.x)
    logits = net.logits(climb.x)
    climb = _update_best(climb, loss(logits, *climb.classes), climb.best_gradient, first=False)
    record.keep_highest(climb.rows, climb.best, climb.best_loss)
    record.note(climb.rows, climb.x, misclassified(logits, climb.classes[0]))


def _update_best(climb: _Climb, losses: Tensor, gradient: Tensor, *, first: bool) -> _Climb:
    """Take the loss (N,) and the gradient at x into account; first: there is no loss to compare with."""
    losses = losses.to(climb.loss.dtype)
    better = losses > climb.best_loss
    better_images = better.reshape(climb.step.shape)
    return replace(
        climb,
        loss=losses,
        rises=climb.rises if first else climb.rises + (losses > climb.loss),
        best=torch.where(better_images, climb.x, climb.best),
        best_gradient=torch.where(better_images, gradient, climb.best_gradient),
        best_loss=torch.where(better, losses, climb.best_loss),
    )


def _halve_steps(climb: _Climb, gradient: Tensor, least_rises: float) -> tuple[_Climb, Tensor]:
    """At a checkpoint: halve the step and go back to the best point where a sample makes no progress.

    Returns the gradient at the new points too.
    """
    stalled = ~climb.halved & (climb.best_loss <= climb.checkpoint_loss)
    halve = (climb.rises < least_rises) | stalled
    halve_images = halve.reshape(climb.step.shape)
    climb = replace(
        climb,
        step=torch.where(halve_images, climb.step / 2, climb.step),
        x=torch.where(halve_images, climb.best, climb.x),
        rises=torch.zeros_like(climb.rises),
        checkpoint_loss=climb.best_loss,
        halved=halve,
    )
    return climb, torch.where(halve_images, climb.best_gradient, gradient)


def checkpoints(steps: int) -> list[int]:
    """The steps at which step sizes are reconsidered (Croce & Hein 2020, section 3.1)."""
    before, share, places = 0.0, 0.22, []
    while share <= 1:
        places.append(ceil(round(share * steps, 9)))
        before, share = share, share + max(share - before - 0.03, 0.06)
    return places


def _check_rho(rho: float) -> None:
    check_number("rho", rho, lambda x: 0 < x <= 1, "above 0 and at most 1")
