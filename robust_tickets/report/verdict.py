"""The sentence under the table: what was saved, against which baseline, at what robust accuracy."""

import math
from statistics import mean, stdev

from robust_tickets.report.read import ArmResult

LEAST_SEEDS = 3
"""Fewer seeds give no interval that anyone should act on."""


def verdict(results: dict[str, list[ArmResult]], *, fine_tuned: bool = False) -> str:
    """One paragraph that the figures support, and no more. `results`: arm -> the same seeds for every arm.

    `fine_tuned` says that the ticket keeps what its search has trained, which dense-staged is the control of.
    """
    if "ticket" not in results:
        return "No ticket was trained, so nothing can be said of one."
    ticket, dense = results["ticket"], results["dense"]
    sentences = [
        f"Against `dense` ({_epochs(dense)}), the ticket took {_ratio(ticket, dense, _FLOPS)} of "
        f"the FLOPs and {_ratio(ticket, dense, _SECONDS)} of the seconds, search included, at "
        f"{_robust(ticket)} robust accuracy (PGD-20) against {_robust(dense)} ({_apart(ticket, dense)})."
    ]
    if "dense-best" in results:
        best = results["dense-best"]
        sentences.append(
            f"Of dense stopped at its best epoch (`dense-best`, {_epochs(best)}) it took "
            f"{_ratio(ticket, best, _FLOPS)} of the FLOPs and {_ratio(ticket, best, _SECONDS)} of the "
            "seconds."
        )
    if "dense-short" in results:
        short = results["dense-short"]
        sentences.append(
            f"`dense-short`, the same {_epochs(short)} with no search, took "
            f"{_ratio(short, dense, _FLOPS)} of the FLOPs at {_robust(short)}."
        )
    if "dense-equal-cost" in results:
        equal = results["dense-equal-cost"]
        head = f"**At equal cost** (`dense-equal-cost`, {_epochs(equal)}, "
        sentences.append(_saving(ticket, equal, head, "dense at equal cost"))
    else:
        sentences.append(
            "Without `dense-equal-cost` it cannot be said whether the ticket or the shorter schedule saves."
        )
    if "dense-staged" in results:
        staged = results["dense-staged"]
        head = "**On the ticket's own stages, at equal cost** (`dense-staged`, "
        sentences.append(_saving(ticket, staged, head, "a whole net on its stages"))
    elif fine_tuned:
        sentences.append(
            "The ticket keeps what its search has trained: without `dense-staged` it cannot be said whether "
            "the pruning saves or the search's cheaper training does."
        )
    return " ".join(sentences)


def _saving(ticket: list[ArmResult], equal: list[ArmResult], head: str, whom: str) -> str:
    """What the ticket saves against an arm of the same cost in FLOPs, whose seconds may be others."""
    differences = _differences(ticket, equal)
    n = len(differences)
    flops, seconds = (_ratio(equal, ticket, key) for key in (_FLOPS, _SECONDS))
    cost = f"{flops} of the ticket's FLOPs, {seconds} of its seconds"
    said = f"{head}{cost}, {_robust(equal)}) the ticket is {_apart(ticket, equal)}: "
    if mean(differences) <= 0:
        return f"{said}**no saving shown against {whom}**."
    if n < LEAST_SEEDS:
        return (
            f"{said}ahead, but {n} seed{'s' * (n > 1)} cannot tell a saving from chance (at least "
            f"{LEAST_SEEDS} are needed)."
        )
    if interval(differences)[0] > 0:
        return f"{said}**it saves against {whom}**."
    return f"{said}ahead, but not beyond chance."


def interval(differences: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences, of which at least two are needed."""
    from scipy.stats import t

    n = len(differences)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return mean(differences) - half, mean(differences) + half


def _differences(one: list[ArmResult], other: list[ArmResult]) -> list[float]:
    pairs = zip(one, other, strict=True)
    return [a.accuracy["best", "pgd-20"] - b.accuracy["best", "pgd-20"] for a, b in pairs]


def _apart(one: list[ArmResult], other: list[ArmResult]) -> str:
    """The mean of the paired differences, and its interval where there are enough seeds for one."""
    differences = _differences(one, other)
    # rounded first, so that no "-0.0 points" is printed
    points = f"{round(100 * mean(differences), 1) + 0.0:+.1f} points"
    if len(differences) < LEAST_SEEDS:
        return points
    low, high = interval(differences)
    return f"{points}, 95 % interval {100 * low:+.1f} to {100 * high:+.1f} over {len(differences)} seeds"


def _epochs(arm: list[ArmResult]) -> str:
    n = mean(r.about["epochs"] for r in arm)
    return f"{n:.4g} epoch{'s' * (n != 1)}"


def _robust(arm: list[ArmResult]) -> str:
    return f"{100 * mean(r.accuracy['best', 'pgd-20'] for r in arm):.1f} %"


def _ratio(one: list[ArmResult], other: list[ArmResult], key: str) -> str:
    return f"{sum(_total(r, key) for r in one) / sum(_total(r, key) for r in other):.2f}"


def _total(result: ArmResult, key: str) -> float:
    return float(result.ledger[key]) + (float(result.before[key]) if result.before else 0.0)


_FLOPS, _SECONDS = "charged_flops", "charged_seconds"
