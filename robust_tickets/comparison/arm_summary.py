"""What a line of progress says of an arm: how long it takes, and how accurate it became."""

from robust_tickets.comparison.estimated_rates import rates_of, whole_flops
from robust_tickets.evaluation.attack_sets import AA_PAIR
from robust_tickets.report.read import accuracy
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_plan import is_timed


def arm_weight(experiment: Experiment, arm: str) -> float:
    """Cost of an arm's training in forward passes of the whole network, as far as it is known beforehand.

    An arm whose length follows from seconds counts as dense.
    """
    recipe, spec = experiment.recipe, experiment.spec
    rates = rates_of(experiment)(arm)
    name = "dense" if is_timed(recipe, arm) else arm
    plan = planning.plan(recipe, name, spec, rates=rates)
    passes = costs.training_passes(plan.training, plan.steps, spec.classes, plan.per_epoch)
    return passes.cost * rates.flops / whole_flops(experiment)


def search_summary(folder: ArmDirectory) -> str:
    """The validation accuracies after a search."""
    records = files.read_jsonl(folder.metrics)
    if not records:
        return ""
    return f"validation: clean {records[-1]['val_clean']:.1%}  robust {records[-1]['val_robust']:.1%}"


def arm_summary(run: RunDirectory, seed: int, arm: str) -> str:
    """The accuracies of an arm's last epoch on test images, as the table has them."""
    found = accuracy(run.arm(seed, arm), run)
    names = {"clean": "clean", "pgd-20": "PGD-20", AA_PAIR: "AA"}
    return "  ".join(
        f"{title} {found['last', name]:.1%}" for name, title in names.items() if ("last", name) in found
    )
