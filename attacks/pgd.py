"""Projected gradient descent, the attack of adversarial training."""

import torch
from torch import Tensor

from attacks.attack import Attack, AttackResult, Net, misclassified
from attacks.losses import cross_entropy
from attacks.threat import ThreatModel


class PGD(Attack):
    """PGD in the ball of its threat (Madry et al. 2018, "Towards Deep Learning Models Resistant to
    Adversarial Attacks").

    x <- project(x + step_size * direction), `steps` times (their equation in section 2.1). The direction
    comes from g, the gradient of cross-entropy at x: sign(g) in Linf, g / ||g||_2 in L2.

    threat: the ball; steps: gradient steps, at least 1; step_size: in the units of eps, by default eps / 4
    (2/255 for 8/255); random_start: begin at a uniform point of the ball rather than at the image; restarts:
    how many random starts, at least 1. Raises ValueError for settings that make no sense.

        attack = PGD(ThreatModel("Linf", 8 / 255), steps=10)
        adversarial = attack(net, images, labels)
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        steps: int = 10,
        step_size: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
    ) -> None:
        step_size = threat.eps / 4 if step_size is None else step_size
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if restarts < 1:
            raise ValueError(f"restarts must be at least 1, got {restarts}")
        if not 0 < step_size < float("inf"):
            raise ValueError(f"step_size must be positive, got {step_size}")
        if restarts > 1 and not random_start:
            raise ValueError("several restarts need random_start=True: they would all be the same")
        self.threat = threat
        self.steps = steps
        self.step_size = step_size
        self.random_start = random_start
        self.restarts = restarts

    def _run(
        self,
        net: Net,
        images: Tensor,
        labels: Tensor,
        start: Tensor | None,
        sample_ids: Tensor,
        seed: int,
        stop_when_broken: bool,
        verdict: bool,
    ) -> AttackResult:
        found = _Found(images)
        for restart in range(self.restarts):
            if stop_when_broken:
                rows = (~found.broken).nonzero()[:, 0]
            else:
                rows = torch.arange(len(images), device=images.device)
            if len(rows) == 0:
                break
            if restart == 0 and start is not None:
                begin = start[rows]
            elif self.random_start:
                begin = self.threat.random_start(images[rows], sample_ids[rows], seed=seed, restart=restart)
            else:
                begin = images[rows]
            self._climb(net, images[rows], labels[rows], begin, rows, found, stop_when_broken, verdict)
        return AttackResult(found.images, found.broken if verdict else None, found.forwards, found.backwards)

    def _climb(
        self,
        net: Net,
        images: Tensor,
        labels: Tensor,
        current: Tensor,
        rows: Tensor,
        found: "_Found",
        stop_when_broken: bool,
        verdict: bool,
    ) -> None:
        """Climb from one start to its end, for the samples that are `rows` of the batch."""
        ball = self.threat.ball(images)
        for _ in range(self.steps):
            current = current.detach().requires_grad_(True)
            with torch.enable_grad():
                logits = net(current)
                (gradient,) = torch.autograd.grad(cross_entropy(logits, labels).sum(), current)
            found.forwards += len(current)
            found.backwards += len(current)
            current = current.detach()
            if verdict or stop_when_broken:
                wrong = misclassified(logits.detach(), labels)
                found.broken[rows] |= wrong
            if stop_when_broken:
                found.images[rows[wrong]] = current[wrong]
                keep = (~wrong).nonzero()[:, 0]
                if len(keep) == 0:
                    return
                if len(keep) < len(rows):
                    current, gradient, labels, rows = current[keep], gradient[keep], labels[keep], rows[keep]
                    ball = ball.rows(keep)
            current = ball.step(current, gradient, self.step_size)
        if not verdict and self.restarts == 1:
            found.images[rows] = current
            return
        with torch.no_grad():
            logits = net(current)
        found.forwards += len(current)
        wrong = misclassified(logits, labels)
        found.broken[rows] |= wrong
        found.offer(rows, current, cross_entropy(logits, labels))
        if stop_when_broken:
            found.images[rows[wrong]] = current[wrong]


class _Found:
    """What the restarts have found so far; over them the image of highest loss stays."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.losses = torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)
        self.forwards = 0
        self.backwards = 0

    def offer(self, rows: Tensor, images: Tensor, losses: Tensor) -> None:
        losses = losses.to(self.losses.dtype)  # a net may compute in another type than its images have
        better = losses > self.losses[rows]
        self.images[rows[better]] = images[better]
        self.losses[rows[better]] = losses[better]
