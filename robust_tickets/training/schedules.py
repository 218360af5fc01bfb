"""Learning rates, step by step."""

import math

from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.methods.base import steps_before

_RISE = {"cyclic": 0.5, "one-cycle": 0.3}
"""Share of the steps that a schedule rises for where the recipe gives no warm-up."""


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """The learning rate of one step.

    settings: schedule, lr, milestones, warmup and warmup_lr.
    step: from 0.
    steps: length of the schedule; every phase is a share of it, so that a shorter one has the same shape.

    The warm-up rises linearly from `warmup_lr` and reaches `lr` with the first step after it. Then "constant"
    stays; "step" multiplies by 0.1 at each of the `milestones` (50 % and 75 %: Madry et al. 2018, Li et al.
    2020); "cosine" falls to 0 along half a cosine (Loshchilov & Hutter 2017, equation 5, without restarts);
    "cyclic" falls to 0 linearly (Smith 2017; Wong et al. 2020), and rises for half of the steps where there
    is no warm-up; "one-cycle" rises along half a cosine, for 30 % of the steps where there is no warm-up, and
    falls to 0 along another (Smith & Topin 2018, as torch's OneCycleLR).
    """
    share = settings.warmup or _RISE.get(settings.schedule, 0.0)
    warm = share * steps
    if step < warm and settings.schedule == "one-cycle":
        rise = (1 - math.cos(math.pi * step / warm)) / 2
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * rise
    if step < warm:
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * (step / warm)
    if settings.schedule == "constant":
        return settings.lr
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(step >= steps_before(share, steps) for share in settings.milestones)
    progress = (step - warm) / (steps - warm)
    if settings.schedule in ("cosine", "one-cycle"):
        return settings.lr * (1 + math.cos(math.pi * progress)) / 2
    return settings.lr * (1 - progress)
