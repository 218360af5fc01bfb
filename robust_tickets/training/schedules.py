"""Learning rates, step by step."""

import math

from robust_tickets.recipe.fields import Training


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`.

    All is in shares of the schedule, so that a shorter one has the same shape. Warm-up rises linearly from
    `warmup_lr` and reaches `lr` with the first step after it. Then "step" multiplies by 0.1 at each of the
    `milestones` (at 50 % and 75 %: the schedule of Madry et al. 2018 and Li et al. 2020), "cosine" falls to 0
    along half a cosine (Loshchilov & Hutter 2017, equation 5, without restarts), and "cyclic" falls to 0
    linearly (Smith 2017; Wong et al. 2020), having risen for half of the steps if there is no warm-up.
    """
    share = settings.warmup or (0.5 if settings.schedule == "cyclic" else 0.0)
    warm = share * steps
    if step < warm:
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * (step / warm)
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(_reached(drop, step, steps) for drop in settings.milestones)
    left = (step - warm) / (steps - warm)
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * left)) / 2
    return settings.lr * (1 - left)


def _reached(share: float, step: int, steps: int) -> bool:
    """Whether a share of the steps is over; a product that is rounded up must not delay it by a step."""
    return step >= share * steps * (1 - 1e-12)
