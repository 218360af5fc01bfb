"""Auto-PGD: PGD that chooses its own step size."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.attack import Attack, AttackResult, Task, misclassified
from attacks.balls import Ball
from attacks.blocks import Blocks
from attacks.bookmark import Bookmark
from attacks.checks import check_counts, check_number, check_threat
from attacks.found import Found
from attacks.losses import LEAST_CLASSES, loss_named, targeted_dlr
from attacks.threat import ThreatModel

_MOMENTUM = 0.75  # the paper's alpha: how much of a step is new; the rest goes on along the last one


class APGD(Attack):
    """APGD in the ball of its threat (Croce & Hein 2020, "Reliable evaluation of adversarial robustness with
    an ensemble of diverse parameter-free attacks", algorithm 1).

    PGD with momentum from a random start, with steps of 2 * eps at first. At checkpoints (after 22 % of the
    steps, then ever closer, down to 6 %) a sample whose loss rose in less than `rho` of the steps, or whose
    best loss stays where it is, goes on from its best point with steps of half the size.

    threat: the ball; steps: gradient steps, at least 1; loss: "ce" (cross-entropy), "dlr" or "margin";
    restarts: how many random starts, at least 1; rho: a share. Raises ValueError for settings that make no
    sense. The images are those of highest loss.

        attack = APGD(ThreatModel("Linf", 8 / 255), loss="dlr")
        adversarial = attack(net, images, labels)
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        steps: int = 100,
        loss: str = "ce",
        restarts: int = 1,
        rho: float = 0.75,
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

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        found = Found(task)
        for restart, rows in found.restarts(self.restarts):
            climb = _begin(self.threat, task, rows, restart, (task.labels[rows],))
            _climb(net, climb, self._loss, found, self.steps, self.rho, task.mark)
        return found.result(net)


class APGDTargeted(Attack):
    """APGD on the targeted DLR loss, towards one wrong class after the other (Croce & Hein 2020, section 4).

    targets: how many classes, those of the largest logits on the clean image; at most all wrong ones are
    taken. threat, steps, rho: as for `APGD`. Raises ValueError for settings that make no sense, and
    InputError for nets of fewer than 4 classes. The images are those of highest loss over all targets.

        attack = APGDTargeted(ThreatModel("Linf", 8 / 255))
        adversarial = attack(net, images, labels)
    """

    least_classes = 4

    def __init__(self, threat: ThreatModel, *, steps: int = 100, targets: int = 9, rho: float = 0.75) -> None:
        check_threat(threat)
        check_counts(steps=steps, targets=targets)
        _check_rho(rho)
        self.threat = threat
        self.steps = steps
        self.targets = targets
        self.rho = rho

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        found = Found(task)
        order = torch.empty(0, 0, dtype=torch.int64)
        with task.mark.level(lambda: {"order": order}) as kept:
            if kept is not None:
                order = kept["order"]
            else:
                logits = net.logits(task.images)
                found.look(found.left(), task.images, misclassified(logits, task.labels))
                wrong = logits.masked_fill(F.one_hot(task.labels, logits.shape[1]).bool(), -torch.inf)
                order = torch.argsort(wrong, dim=1, descending=True, stable=True)
            for rank, rows in found.restarts(min(self.targets, order.shape[1] - 1)):
                climb = _begin(self.threat, task, rows, rank, (task.labels[rows], order[rows, rank]))
                _climb(net, climb, targeted_dlr, found, self.steps, self.rho, task.mark)
        return found.result(net)


@dataclass(frozen=True)
class _Climb:
    """Samples on their way up, each with a step size of its own."""

    rows: Tensor
    beside: tuple[Tensor, ...]  # labels, and targets where the loss has them
    ball: Ball
    current: Tensor
    before: Tensor  # the iterate before the current one
    step: Tensor  # (N, 1, 1, 1)
    loss: Tensor  # at the iterate before
    rises: Tensor  # how often the loss rose since the last checkpoint
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    best_loss_then: Tensor  # at the last checkpoint
    halved: Tensor  # whether the step was halved there

    def take(self, keep: Tensor) -> "_Climb":
        """The climb of the samples at these places."""
        kept = {name: part[keep] for name, part in self.parts().items()}
        return replace(self, **kept, beside=tuple(b[keep] for b in self.beside), ball=self.ball.rows(keep))

    def parts(self) -> dict[str, Tensor]:
        """Its tensors by name, but for those that follow from the rows."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("beside", "ball")}


def _begin(threat: ThreatModel, task: Task, rows: Tensor, restart: int, beside: tuple[Tensor, ...]) -> _Climb:
    images = task.images[rows]
    start = task.begin(threat, rows, restart)
    lowest = images.new_full((len(rows),), -torch.inf)
    return _Climb(
        rows,
        beside,
        threat.ball(images),
        current=start,
        before=start,
        step=images.new_full((len(rows), *[1] * (images.ndim - 1)), 2 * threat.eps),
        loss=lowest,
        rises=torch.zeros_like(rows),
        best=start,
        best_loss=lowest,
        best_gradient=torch.zeros_like(start),
        best_loss_then=lowest,
        halved=torch.ones_like(rows, dtype=torch.bool),  # the first checkpoint has none to compare with
    )


def _climb(
    net: Blocks,
    climb: _Climb,
    loss: Callable[..., Tensor],
    found: Found,
    steps: int,
    rho: float,
    mark: Bookmark,
) -> None:
    k = first = last = 0
    with mark.level(lambda: {"k": k, "last": last, **climb.parts()}) as kept:
        if kept is not None:
            first, last = kept["k"], kept["last"]
            climb = replace(climb, **{name: kept[name] for name in climb.parts()})
        for k in range(first, steps):
            mark.offer()
            logits, losses, gradient = net.gradient(climb.current, loss, *climb.beside)
            keep = found.look(climb.rows, climb.current, misclassified(logits, climb.beside[0]))
            if len(keep) == 0:
                return
            if len(keep) < len(climb.rows):
                climb, losses, gradient = climb.take(keep), losses[keep], gradient[keep]
            climb = _noted(climb, losses, gradient, first=k == 0)
            if k in checkpoints(steps):
                climb, gradient = _halved(climb, gradient, rho * (k - last))
                last = k
            target = climb.ball.step(climb.current, gradient, climb.step)
            if k > 0:  # the first step has nothing to go on along
                onward = _MOMENTUM * (target - climb.current)
                onward += (1 - _MOMENTUM) * (climb.current - climb.before)
                target = climb.ball.project(climb.current + onward)
            climb = replace(climb, current=target, before=climb.current)
    logits = net.logits(climb.current)
    climb = _noted(climb, loss(logits, *climb.beside), climb.best_gradient, first=False)
    found.offer(climb.rows, climb.best, climb.best_loss)
    found.look(climb.rows, climb.current, misclassified(logits, climb.beside[0]))


def _noted(climb: _Climb, losses: Tensor, gradient: Tensor, *, first: bool) -> _Climb:
    """With the current iterate's loss and gradient in the account."""
    losses = losses.to(climb.loss.dtype)
    better = losses > climb.best_loss
    wide = better.reshape(climb.step.shape)
    return replace(
        climb,
        loss=losses,
        rises=climb.rises if first else climb.rises + (losses > climb.loss),
        best=torch.where(wide, climb.current, climb.best),
        best_gradient=torch.where(wide, gradient, climb.best_gradient),
        best_loss=torch.where(better, losses, climb.best_loss),
    )


def _halved(climb: _Climb, gradient: Tensor, enough: float) -> tuple[_Climb, Tensor]:
    """At a checkpoint: half the step, from the best point, for samples that get no further as they go."""
    halve = (climb.rises < enough) | (~climb.halved & (climb.best_loss <= climb.best_loss_then))
    wide = halve.reshape(climb.step.shape)
    climb = replace(
        climb,
        step=torch.where(wide, climb.step / 2, climb.step),
        current=torch.where(wide, climb.best, climb.current),
        rises=torch.zeros_like(climb.rises),
        best_loss_then=climb.best_loss,
        halved=halve,
    )
    return climb, torch.where(wide, climb.best_gradient, gradient)


def checkpoints(steps: int) -> list[int]:
    """The steps after which step sizes are looked at (Croce & Hein 2020, section 3.1)."""
    before, share, found = 0.0, 0.22, []
    while share <= 1:
        found.append(ceil(round(share * steps, 9)))
        before, share = share, share + max(share - before - 0.03, 0.06)
    return found


def _check_rho(rho: float) -> None:
    check_number("rho", rho, lambda x: 0 < x <= 1, "above 0 and at most 1")
