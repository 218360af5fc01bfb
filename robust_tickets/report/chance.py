"""Whether arms are more robust than a network that gives one class whatever the image."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean

from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.judge import Judge, judge, judged_images
from robust_tickets.report.read import ArmResult

_DEVIATIONS = 2.0  # so many standard deviations of a share of the images


def chance_accuracy(results: Mapping[str, Sequence[ArmResult]], images: int) -> float:
    """The accuracy, a fraction, that one class for all of so many test images reaches with luck.

    The share of the test set's most common class and two standard deviations; 0 where no record has it.
    """
    shares = (share_of_one_class(result) for seeds in results.values() for result in seeds)
    return reach_of_one_class(max(shares, default=0.0), images)


def share_of_one_class(result: ArmResult) -> float:
    """The share of the test set's most common class; 0 where the record has none."""
    return float(result.about.get("most_common_class", 0.0))


def reach_of_one_class(share: float, images: int) -> float:
    """The accuracy, a fraction, that one class for all of so many images reaches with luck.

    share: of all images, that of the class.
    """
    return share + _DEVIATIONS * math.sqrt(share * (1 - share) / images)


def is_at_chance(robust: Sequence[float], chance: float) -> bool:
    """Whether the mean of these accuracies is no higher than that of one class for all images."""
    return mean(robust) <= chance


def arms_at_chance(results: Mapping[str, Sequence[ArmResult]], judge: Judge, recipe: Recipe) -> list[str]:
    """The arms that are no more robust than one class for all images."""
    chance = chance_accuracy(results, judged_images(results, judge, recipe))
    robust = {arm: [judge.accuracy(result) for result in seeds] for arm, seeds in results.items()}
    return [arm for arm, seeds in robust.items() if is_at_chance(seeds, chance)]


def chance_note(results: Mapping[str, Sequence[ArmResult]], recipe: Recipe) -> str:
    """Which arms are no more robust than one class for all images; empty where all are."""
    own_judge = judge(results, recipe)
    arms = arms_at_chance(results, own_judge, recipe)
    if not arms:
        return ""
    images = judged_images(results, own_judge, recipe)
    one = one_class(chance_accuracy(results, images), images)
    many = len(arms) > 1
    # natural training gives no robustness, whatever its length
    advice = "" if recipe.evaluate.select_by == "clean" else ": train longer, or at another learning rate"
    return (
        f"**At chance under {own_judge.title}.** {', '.join(f'`{arm}`' for arm in arms)} "
        f"{'are' if many else 'is'} no more robust than {one}, so {'their costs' if many else 'its cost'} "
        f"cannot be compared{advice}."
    )


def one_class(chance: float, images: int) -> str:
    """A network that gives one class for all images, with the accuracy that it may reach, as a text."""
    reaches = f"at most {100 * chance:.1f} % of {images:,}" if chance else "robust on none"
    return f"one class for all images ({reaches})"
