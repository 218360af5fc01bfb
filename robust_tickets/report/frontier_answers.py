"""The sentences of a frontier: the cheapest arm near another one, and the cheapest that reaches a target."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import mean

from robust_tickets.base.errors import InputError
from robust_tickets.report.candidates import Candidate, Cost, Frontier
from robust_tickets.report.chance import one_class
from robust_tickets.report.frontier import front
from robust_tickets.report.verdict import LEAST_SEEDS, interval, seeds_interval

COST_NAMES: dict[Cost, str] = {"flops": "FLOPs", "seconds": "seconds"}
"""Costs as texts name them."""

_ROUNDING = 1e-9  # a difference of 0.005 in floats is not one of more than half a point


@dataclass(frozen=True)
class Question:
    """What a frontier is asked.

    of: the arm that costs and accuracies are compared with.
    within: points of robust accuracy that an arm may be below it.
    target: the robust accuracy to reach, a fraction; 0: none is asked for.
    cost: the quantity in which the cheapest arm is the cheapest.
    """

    of: str = "dense"
    within: float = 0.5
    target: float = 0.0
    cost: Cost = "flops"


def answers(frontier: Frontier, question: Question) -> list[str]:
    """Who is on the front, then the answers to the question, a sentence or a few each.

    Raises InputError where no arm reaches the target, and for an arm `of` that is not there or whose cost is
    not known.
    """
    reference = frontier.reference(question.of)
    if not reference.cost(question.cost):
        raise InputError(
            f"the seconds of {reference.name} cannot be compared, as they were taken {reference.no_seconds}: "
            "choose --cost flops, or another arm by --of"
        )
    texts = [_front_sentence(frontier, reference, question.cost)]
    if question.target:
        texts.append(_target_sentence(frontier, reference, question))
    texts.append(_within_sentence(frontier, reference, question))
    return texts


def cost_ratio(candidate: Candidate, reference: Candidate, cost: Cost, with_interval: bool = True) -> str:
    """The ratio of their mean costs, with an interval where seeds differ; "-" where one is not known.

    The interval is Student's t of the logarithm of the seeds' ratios, so that it never reaches 0.
    """
    own, other = candidate.cost(cost), reference.cost(cost)
    if not own or not other:
        return "-"
    text = f"{sum(own) / sum(other):.2f}"
    if with_interval and len(own) >= LEAST_SEEDS:
        logarithms = [log(a / b) for a, b in zip(own, other, strict=True)]
        low, high = (f"{exp(end):.2f}" for end in interval(logarithms))
        text += f" ({low} to {high})" if low != high else ""
    if cost == "seconds":
        text += "".join(dict.fromkeys(candidate.marks + reference.marks))
    return text


def differences(candidate: Candidate, reference: Candidate) -> tuple[float, ...]:
    """Its robust accuracy minus the reference's, a fraction a seed."""
    return tuple(a - b for a, b in zip(candidate.robust, reference.robust, strict=True))


def _front_sentence(frontier: Frontier, reference: Candidate, cost: Cost) -> str:
    arms = [frontier[name] for name in front(frontier.contenders(cost))]
    if not arms:
        chance = one_class(frontier.chance, frontier.images)
        return f"No arm is on the front: under {frontier.judge.title} none is more robust than {chance}."
    texts = [
        f"`{arm.name}` ({cost_ratio(arm, reference, cost, with_interval=False)} of `{reference.name}`'s, "
        f"{100 * mean(arm.robust):.1f} %)"
        for arm in arms
    ]
    return f"On the front of {COST_NAMES[cost]} and {frontier.judge.title}: {', '.join(texts)}."


def _target_sentence(frontier: Frontier, reference: Candidate, question: Question) -> str:
    target = question.target
    if target <= frontier.chance:
        raise InputError(
            f"--target {target:g} is no more than {one_class(frontier.chance, frontier.images)}: ask for more"
        )
    candidates = frontier.by_cost(question.cost)
    reaching = [each for each in candidates if mean(each.robust) >= target - _ROUNDING]
    if not reaching:
        best = max(candidates, key=lambda candidate: mean(candidate.robust))
        accuracy = mean(best.robust)
        raise InputError(
            f"no arm reaches {100 * target:g} % under {frontier.judge.title}: the best is {best.name} with "
            f"{100 * accuracy:.1f} %; give a --target up to {int(1000 * accuracy) / 1000:g}"
        )
    arm = reaching[0]
    n, seeds = len(arm.robust), sum(accuracy >= target - _ROUNDING for accuracy in arm.robust)
    costs = "" if arm is reference else f", at {_both_costs(arm, reference, question.cost)}"
    return (
        f"The cheapest arm that reaches {100 * target:g} % is `{arm.name}`{costs}: "
        f"{100 * mean(arm.robust):.1f} %{_interval_text(seeds_interval, arm.robust, _share)}; "
        f"{seeds} of {n} seed{'s' * (n > 1)} reach it. "
        + _verdict(arm.robust, target, f"less than {100 * target:g} %")
    )


def _within_sentence(frontier: Frontier, reference: Candidate, question: Question) -> str:
    if frontier.is_at_chance(reference.name):
        chance = one_class(frontier.chance, frontier.images)
        return (
            f"`{reference.name}` is no more robust than {chance}, so that no cost of its robustness can be "
            "compared: train it longer or at another learning rate, or choose another arm by --of."
        )
    points = f"{question.within:g} point{'s' * (question.within != 1)}"
    least, most = -question.within / 100, mean(reference.cost(question.cost))
    candidates = frontier.by_cost(question.cost)
    contenders = [c for c in candidates if not frontier.is_at_chance(c.name)]
    every = len(contenders) == len(candidates)
    cheaper = [c for c in contenders if mean(c.cost(question.cost)) < most]
    near = [c for c in cheaper if mean(differences(c, reference)) >= least - _ROUNDING]
    if not cheaper:
        return f"No arm{' above chance' * (not every)} is cheaper than `{reference.name}`."

    def described(arm: Candidate) -> str:
        costs = _both_costs(arm, reference, question.cost)
        return f"`{arm.name}`, at {costs}: {_difference(arm, reference)}"

    if not near:
        best = max(cheaper, key=lambda candidate: mean(candidate.robust))
        return f"No cheaper arm is within {points} of `{reference.name}`: the nearest is {described(best)}."
    arm = near[0]
    text = f"The cheapest arm within {points} of `{reference.name}` is {described(arm)}. " + _verdict(
        differences(arm, reference), least, f"more than {points} less"
    )
    sure = next((c for c in near if _is_above(differences(c, reference), least)), None)
    if sure not in (arm, None):
        text += f" The cheapest for which it holds is {described(sure)}."
    return text


def _is_above(values: tuple[float, ...], least: float) -> bool:
    """Whether the interval of the mean is known and has nothing below `least`."""
    return len(values) >= LEAST_SEEDS and interval(list(values))[0] >= least - _ROUNDING


def _verdict(values: tuple[float, ...], least: float, worse: str) -> str:
    """Whether the claim that the mean is at least `least` holds; worse: what would contradict it."""
    if len(values) < LEAST_SEEDS:
        seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
        return f"**Undecided**: with {seeds} no interval is known (at least {LEAST_SEEDS} are needed)."
    if _is_above(values, least):
        return f"**It holds**: nothing in the interval is {worse}."
    return f"**Undecided**: the interval includes {worse}."


def _both_costs(arm: Candidate, reference: Candidate, cost: Cost) -> str:
    """Its costs over those of the reference, the one that is asked for first."""
    other: Cost = "seconds" if cost == "flops" else "flops"
    text = f"{cost_ratio(arm, reference, cost)} of `{reference.name}`'s {COST_NAMES[cost]}"
    ratio = cost_ratio(arm, reference, other)
    return text if ratio == "-" else f"{text} and {ratio} of its {COST_NAMES[other]}"


def _difference(arm: Candidate, reference: Candidate) -> str:
    """The mean difference in points, with its interval."""
    values = differences(arm, reference)
    return f"{_rounded(mean(values)):+.1f} points{_interval_text(interval, values, _end)}"


def difference_cell(candidate: Candidate, reference: Candidate) -> str:
    """The mean difference in points, and its 95 % interval where there are enough seeds; empty for itself."""
    if candidate is reference:
        return ""
    values = differences(candidate, reference)
    text = f"{_rounded(mean(values)):+.1f}"
    if len(values) >= LEAST_SEEDS:
        low, high = map(_end, interval(values))
        text += f" ({low} to {high})"
    return text


def percent(values: tuple[float, ...]) -> str:
    """The mean in percent, and its 95 % interval where there are enough seeds for one."""
    text = f"{100 * mean(values):.1f}"
    if len(values) >= LEAST_SEEDS:
        low, high = seeds_interval(values)
        text += f" ({_rounded(low):.1f} to {_rounded(high):.1f})"
    return text


def _interval_text(
    interval_of: Callable[[Sequence[float]], tuple[float, float]],
    values: tuple[float, ...],
    end: Callable[[float], str],
) -> str:
    """The 95 % interval in percent or points; empty with too few seeds for one."""
    if len(values) < LEAST_SEEDS:
        return ""
    low, high = map(end, interval_of(values))
    return f" (95 % interval {low} to {high} over {len(values)} seeds)"


def _share(fraction: float) -> str:
    """An end of an accuracy's interval in percent."""
    return f"{_rounded(fraction):.1f}"


def _end(fraction: float) -> str:
    """An end of a difference's interval in points; with more digits where one would hide its sign."""
    points = 100 * fraction
    digits = next((n for n in (1, 2, 3) if round(points, n)), 1)
    return f"{round(points, digits) + 0.0:+.{digits}f}"


def _rounded(fraction: float) -> float:
    """A fraction in percent with one digit, and no "-0.0"."""
    return round(100 * fraction, 1) + 0.0
