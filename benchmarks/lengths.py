"""Times trainings of an experiment's recipe, so that lengths can be fixed: charged seconds of so many steps.

    python -m benchmarks.lengths inside-025 dense=250 dense+switch=400 dense+nfgsm=500 --data-root DIR

Each arm is trained from its init, all arms in turn and twice; nothing else should run. Prints CSV.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.stages import plan
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.train import train_net

REFERENCE = Path(__file__).parents[1] / "runs" / "reference"


def seconds(name: str, root: Path, arm: str, steps: int) -> float:
    """Charged seconds of so many steps of an arm that trains the whole network."""
    recipe = recipes.load(str(REFERENCE / name / "recipe.toml"))
    tables = recipe.arms.tables
    for table in tables.values():
        table.pop("iterations", None)  # which the steps take the place of
        table.pop("budget", None)
    recipe = replace(
        recipe,
        data=replace(recipe.data, root=root),
        train=replace(recipe.train, iterations=steps, ticket_iterations=steps),
        evaluate=replace(recipe.evaluate, val_steps=1),  # validation is not charged
        arms=ArmSettings(tables),
    )
    experiment = Experiment(recipe, machine=Machine("cpu", SilentProgress()))
    work, _ = train_net(experiment, 100, plan.plan(recipe, arm, experiment.spec), None)
    return float(work.ledger.report()["charged_seconds"])


def main() -> None:
    """Print a row a training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="folder of the experiment in runs/reference")
    parser.add_argument("arms", nargs="+", metavar="ARM=STEPS")
    parser.add_argument("--data-root", type=Path, required=True, help="path of the images of CIFAR-10")
    options = parser.parse_args()
    print("recipe,arm,steps,seconds")
    for _ in range(2):
        for text in options.arms:
            arm, _, steps = text.partition("=")
            taken = seconds(options.name, options.data_root, arm, int(steps))
            print(f"{options.name},{arm},{steps},{taken:.2f}", flush=True)


if __name__ == "__main__":
    main()
