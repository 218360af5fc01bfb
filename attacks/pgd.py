"""Projected gradient descent, the attack of adversarial training."""

import torch
from torch import Tensor

from .attack import Attack
from .blocks import Blocks
from .checks import check_counts, check_flag, check_number
from .losses import LEAST_CLASSES, loss_named
from .network import misclassified
from .record import AttackRecord
from .task import AttackResult, Task
from .threat import ThreatModel, check_threat


class PGD(Attack):
    """PGD (Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section 2.1).

    x <- project(x + step_size * direction), `steps` times. With g the gradient of the loss at x, the
    direction is sign(g) in Linf and g / ||g||_2 in L2.

    threat: the ball and the box of valid pixels.
    steps: gradient steps, at least 1.
    step_size: length of a step, in the units of eps.
    rel_step: the same as a share of eps, by default 0.25 (2/255 for 8/255); give one of the two.
    random_start: begin at a uniform point of the ball rather than at the image.
    restarts: number of random starts, at least 1.
    loss: "ce" (cross-entropy), "margin" (Carlini & Wagner 2017) or "dlr" (Croce & Hein 2020).
    momentum: g becomes momentum * (g before) + gradient / mean |gradient| (Dong et al. 2018, "Boosting
        Adversarial Attacks with Momentum", equation 6, which sums where this takes the mean: the direction
        is the same).

    Images that the network receives are overwritten two steps later: a network that keeps them must clone
    them. Raises ValueError for settings that make no sense.

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
            raise ValueError("step_size and rel_step are the same setting: give one of them")
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

    @property
    def is_random(self) -> bool:
        """Whether it begins at a random point."""
        return self.random_start

    @property
    def passes_per_sample(self) -> int:
        """A forward and a backward a step, and a last look."""
        return self.restarts * (2 * self.steps + 1)

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        record = AttackRecord(task, net)
        for restart, rows in record.restarts(self.restarts):
            from_image = not self.random_start and task.start is None
            start = task.images[rows] if from_image else task.starts(self.threat, rows, restart)
            self._climb(net, task, start, rows, record)
        return record.result()

    def _climb(self, net: Blocks, task: Task, x: Tensor, rows: Tensor, record: AttackRecord) -> None:
        """One restart from x, for the samples `rows` of the task."""
        labels, ball = task.labels[rows], self.threat.ball(task.images_of(rows))
        g, spare = torch.zeros_like(x), None
        for _ in range(self.steps):
            logits, _, gradient = net.gradient(x, self._loss, labels)
            if task.options.verdict or task.options.stop_when_broken:
                left = record.note(rows, x, misclassified(logits, labels))
                if len(left) == 0:
                    return
                if len(left) < len(rows):
                    rows, labels, ball, spare = rows[left], labels[left], ball.select(left), None
                    x, g, gradient = x[left], g[left], gradient[left]
            g = self.momentum * g + _unit_mean(gradient) if self.momentum else gradient
            # two tensors in turn: the iterate before the last lends its memory to the next one
            x, spare = ball.step(x, g, self.step_size, spare=spare), x
        if not task.options.verdict and self.restarts == 1:
            record.images[rows] = x
            return
        logits = net.logits(x)
        record.keep_highest(rows, x, self._loss(logits, labels))
        record.note(rows, x, misclassified(logits, labels))


def _unit_mean(gradient: Tensor) -> Tensor:
    """Each sample's gradient (N, ...) divided by the mean of its magnitudes; zero stays zero."""
    mean = gradient.abs().mean(tuple(range(1, gradient.ndim)), keepdim=True)
    return gradient / torch.where(mean > 0, mean, 1.0)
