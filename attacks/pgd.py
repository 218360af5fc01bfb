"""Projected gradient descent, the attack of adversarial training."""

import torch
from torch import Tensor

from attacks.attack import Attack, AttackResult, Task, misclassified
from attacks.blocks import Blocks
from attacks.checks import check_counts, check_flag, check_number, check_threat
from attacks.found import Found
from attacks.losses import LEAST_CLASSES, loss_named
from attacks.threat import ThreatModel


class PGD(Attack):
    """PGD in the ball of its threat (Madry et al. 2018, "Towards Deep Learning Models Resistant to
    Adversarial Attacks").

    x <- project(x + step_size * direction), `steps` times (their equation in section 2.1). The direction
    comes from g, the gradient of the loss at x: sign(g) in Linf, g / ||g||_2 in L2.

    threat: the ball; steps: gradient steps, at least 1; step_size: in the units of eps, or rel_step: as a
    share of eps, by default 0.25 (2/255 for 8/255); random_start: begin at a uniform point of the ball rather
    than at the image; restarts: how many random starts, at least 1; loss: "ce" (cross-entropy), "margin"
    (Carlini & Wagner 2017) or "dlr" (Croce & Hein 2020); momentum: g becomes momentum * (g before) +
    gradient / mean |gradient| (Dong et al. 2018, "Boosting Adversarial Attacks with Momentum", equation 6,
    which sums where this takes the mean: the direction is the same). Images that the net is handed are
    overwritten two steps later: a net that keeps them has to clone them. Raises ValueError for settings that
    make no sense.

        attack = PGD(ThreatModel("Linf", 8 / 255), steps=10)
        adversarial = attack(net, images, labels)
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        steps: int = 10,
        step_size: float | None = None,
        rel_step: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
        loss: str = "ce",
        momentum: float = 0.0,
    ) -> None:
        if step_size is not None and rel_step is not None:
            raise ValueError("step_size and rel_step say the same thing: give one of them")
        check_threat(threat)
        check_counts(steps=steps, restarts=restarts)
        check_flag(random_start=random_start)
        rel_step = 0.25 if rel_step is None else rel_step
        check_number("rel_step", rel_step, lambda x: 0 < x < float("inf"), "positive")
        step_size = rel_step * threat.eps if step_size is None else step_size
        check_number("step_size", step_size, lambda x: 0 < x < float("inf"), "positive")
        if restarts > 1 and not random_start:
            raise ValueError("several restarts need random_start=True: they would all be the same")
        check_number("momentum", momentum, lambda x: 0 <= x < float("inf"), "at least 0")
        self.threat = threat
        self.steps = steps
        self.step_size = step_size
        self.rel_step = step_size / threat.eps
        self.random_start = random_start
        self.restarts = restarts
        self.loss = loss
        self.momentum = momentum
        self._loss = loss_named(loss)
        self.least_classes = LEAST_CLASSES.get(loss, 2)

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        found = Found(task)
        for restart, rows in found.restarts(self.restarts):
            given = restart == 0 and task.start is not None
            begin = (
                task.begin(self.threat, rows, restart) if self.random_start or given else task.images[rows]
            )
            self._climb(net, task, begin, rows, found)
        return found.result(net)

    def _climb(self, net: Blocks, task: Task, current: Tensor, rows: Tensor, found: Found) -> None:
        """Climb from one start to its end, for the samples that are `rows` of the batch."""
        labels = task.labels[rows]
        ball = self.threat.ball(task.images[rows])
        velocity = torch.zeros_like(current) if self.momentum else None
        step = first = 0
        spare = None
        with task.mark.level(lambda: {"step": step, "current": current, "velocity": velocity}) as kept:
            if kept is not None:
                first, current, velocity = kept["step"], kept["current"], kept["velocity"]
            for step in range(first, self.steps):  # noqa: B007 (the level's state has it)
                task.mark.offer()
                logits, _, gradient = net.gradient(current, self._loss, labels)
                if task.verdict or task.stop:
                    keep = found.look(rows, current, misclassified(logits, labels))
                    if len(keep) == 0:
                        return
                    if len(keep) < len(rows):
                        current, gradient, labels = current[keep], gradient[keep], labels[keep]
                        rows, ball, spare = rows[keep], ball.rows(keep), None
                        velocity = None if velocity is None else velocity[keep]
                if velocity is not None:
                    gradient = velocity = self.momentum * velocity + _at_mean_one(gradient)
                # two tensors in turn, and none made anew: the one before the last is needed no more
                current, spare = ball.step(current, gradient, self.step_size, spare=spare), current
        if not task.verdict and self.restarts == 1:
            found.images[rows] = current
            return
        logits = net.logits(current)
        found.offer(rows, current, self._loss(logits, labels))
        found.look(rows, current, misclassified(logits, labels))


def _at_mean_one(gradient: Tensor) -> Tensor:
    """Each sample's gradient (N, ...) divided by the mean of its magnitudes; zero stays zero."""
    mean = gradient.abs().mean(tuple(range(1, gradient.ndim)), keepdim=True)
    return gradient / torch.where(mean > 0, mean, 1.0)
