"""The checkpoint and the attack by which rows are judged: in tables, in verdicts and on the frontier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.conditions import conditions
from robust_tickets.report.frontier import front
from robust_tickets.report.read import ArmResult

AVERAGE = "average"
"""The checkpoint of the averaged weights, which stands beside the last epoch where an arm has it."""

TITLES = {"pgd-20": "PGD-20", AA_PAIR: "AA (APGD-CE, APGD-T)", AA_WHOLE: "AA"}
"""Attacks as texts and heads of tables name them."""


@dataclass(frozen=True)
class Judge:
    """One yardstick for all rows of a run.

    attack: the strongest that all of them have: AutoAttack, its two members, or PGD-20.
    checkpoint: the last epoch, which was chosen by nothing.
    """

    attack: str
    checkpoint: str = "last"

    @property
    def title(self) -> str:
        """The attack as a text names it."""
        return TITLES[self.attack]

    def accuracy(self, result: ArmResult, checkpoint: str = "") -> float:
        """The robust accuracy of an arm, a fraction; of another checkpoint where one is named.

        Raises KeyError where the arm has no such checkpoint.
        """
        return result.accuracy[checkpoint or self.checkpoint, self.attack]

    def checkpoints(self, result: ArmResult) -> list[str]:
        """The checkpoints that may stand for an arm: the last epoch, and its averaged weights if any."""
        return [name for name in (self.checkpoint, AVERAGE) if (name, self.attack) in result.accuracy]


def judge(results: Mapping[str, Sequence[ArmResult]], recipe: Recipe) -> Judge:
    """The judge of the results by arm: AutoAttack, where the recipe has it run on every checkpoint."""
    if not recipe.evaluate.aa_images:
        return Judge("pgd-20")
    rows = [result for seeds in results.values() for result in seeds]
    places = [(result, name) for result in rows for name in Judge(AA_PAIR).checkpoints(result)]
    whole = all((name, AA_WHOLE) in result.accuracy for result, name in places)
    return Judge(AA_WHOLE if whole else AA_PAIR)


def judged_images(results: Mapping[str, Sequence[ArmResult]], judge: Judge, recipe: Recipe) -> int:
    """The number of test images that the judge attacks."""
    if judge.attack != "pgd-20":
        return recipe.evaluate.aa_images
    return int(recipe.evaluate.images or next(iter(results.values()))[0].about["test_images"])


def front_checkpoints(results: Mapping[str, Sequence[ArmResult]], judge: Judge) -> list[tuple[str, str]]:
    """The arms on the front of robust accuracy and FLOPs, or of it and seconds, each with its checkpoint.

    Costs and accuracies are means over the seeds; averaged weights are a point of their own. Arms whose
    seconds were taken on a busy machine are not on the second front.
    """
    on_front: dict[tuple[str, str], None] = {}
    found = conditions(results)
    for quantity in ("flops", "seconds"):
        places = {
            f"{arm} {name}": (arm, name)
            for arm, seeds in results.items()
            if quantity == "flops" or not found[arm].disturbed
            for name in judge.checkpoints(seeds[0])
        }
        points = {
            key: (
                mean(result.charged(quantity) for result in results[arm]),
                mean(judge.accuracy(result, name) for result in results[arm]),
            )
            for key, (arm, name) in places.items()
        }
        on_front |= dict.fromkeys(places[key] for key in front(points))
    return list(on_front)
