"""Learning rates, step by step."""

from robust_tickets.recipe import Training


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`.

    All is in shares of the schedule, so that a shorter one has the same shape: warm-up rises linearly from
    `warmup_lr` and reaches `lr` with the first step after it; "step" multiplies by 0.1 at 50 % and at 75 %
    (Madry et al. 2018's and Li et al. 2020's schedule).
    """
    warm = settings.warmup * steps
    if step < warm:
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * (step / warm)
    if settings.schedule == "constant":
        return settings.lr
    # whole numbers, as 0.5 * steps would be rounded
    drops = (2 * step >= steps) + (4 * step >= 3 * steps)
    return settings.lr * 0.1**drops
