"""The sentence under the table: what was saved, against which baseline, at what robust accuracy."""

import math
from statistics import mean, stdev

from robust_tickets.report.read import ArmResult

LEAST_SEEDS = 3
"""Fewer seeds give no interval that anyone should act on."""


def verdict(results: dict[str, list[ArmResult]]) -> str:
    """One paragraph that the figures support, and no more. `results`: arm -> the same seeds for every arm."""
    if "ticket" not in results:
        return "No ticket was trained, so nothing can be said of one."
    ticket, dense = results["ticket"], results["dense"]
    epochs = f"{dense[0].about['epochs']:.4g}"
    sentences = [
        f"Against `dense` ({epochs} epochs), the ticket took {_ratio(ticket, dense, _FLOPS)} of "
        f"the FLOPs and {_ratio(ticket, dense, _SECONDS)} of the seconds, search included, at "
        f"{_robust(ticket)} robust accuracy (PGD-20) against {_robust(dense)} ({_points(ticket, dense)})."
    ]
    if "dense-short" in results:
        short = results["dense-short"]
        sentences.append(
            f"`dense-short`, the same {short[0].about['epochs']:.4g} epochs with no search, took "
            f"{_ratio(short, dense, _FLOPS)} of the FLOPs at {_robust(short)}."
        )
    if "dense-equal-cost" in results:
        sentences.append(_at_equal_cost(ticket, results["dense-equal-cost"]))
    else:
        sentences.append(
            "Without `dense-equal-cost` it cannot be said whether the ticket or the shorter schedule saves."
        )
    return " ".join(sentences)


def _at_equal_cost(ticket: list[ArmResult], equal: list[ArmResult]) -> str:
    differences = _differences(ticket, equal)
    n = len(differences)
    epochs = f"{equal[0].about['epochs']:.4g}"
    head = f"**At equal cost** (`dense-equal-cost`, {epochs} epochs, {_robust(equal)}) the ticket is "
    if mean(differences) <= 0:
        return head + f"{_points(ticket, equal)}: **no saving against dense at equal cost**."
    if n < LEAST_SEEDS:
        return head + (
            f"{_points(ticket, equal)}: ahead, but {n} seed{'s' * (n > 1)} cannot tell a saving from chance "
            f"(at least {LEAST_SEEDS} are needed)."
        )
    low, high = interval(differences)
    between = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f} over {n} seeds"
    if low > 0:
        return head + f"{_points(ticket, equal)} ({between}): **it saves against dense at equal cost**."
    return head + f"{_points(ticket, equal)} ({between}): ahead, but not beyond chance."


def interval(differences: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences, of which at least two are needed."""
    from scipy.stats import t

    n = len(differences)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return mean(differences) - half, mean(differences) + half


def _differences(one: list[ArmResult], other: list[ArmResult]) -> list[float]:
    pairs = zip(one, other, strict=True)
    return [a.accuracy["best", "pgd-20"] - b.accuracy["best", "pgd-20"] for a, b in pairs]


def _points(one: list[ArmResult], other: list[ArmResult]) -> str:
    difference = 100 * mean(_differences(one, other))
    # rounded first, so that no "-0.0 points" is printed
    return f"{round(difference, 1) + 0.0:+.1f} points"


def _robust(arm: list[ArmResult]) -> str:
    return f"{100 * mean(r.accuracy['best', 'pgd-20'] for r in arm):.1f} %"


def _ratio(one: list[ArmResult], other: list[ArmResult], key: str) -> str:
    return f"{sum(_total(r, key) for r in one) / sum(_total(r, key) for r in other):.2f}"


def _total(result: ArmResult, key: str) -> float:
    return float(result.ledger[key]) + (float(result.search[key]) if result.search else 0.0)


_FLOPS, _SECONDS = "charged_flops", "charged_seconds"
