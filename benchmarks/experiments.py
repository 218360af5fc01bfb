"""Runs an experiment of docs/experiments.md, piece by piece: each call does the pieces that are not done yet.

    python -m benchmarks.experiments inside-025 --data-root cifar10-jpeg.tar.xz --minutes 100

An experiment is a folder of runs/reference with plan.toml and recipe.toml. Its pieces are the steps of its
tuning, in order, and then its seeds. What is left of a piece, all but weights, goes to the folder as soon as
it is done, so that another machine can go on from a checkout. Weights stay in the folder of --work.

plan.toml: `seeds`; `tuning_seed`; `study`, the name of one, where the experiment is no comparison; and tables
`[[tune]]` with `arm`, perhaps `like`, an arm whose settings it begins from, `fields`, the values of each, and
perhaps `fix_steps_of`, arms whose budget the steps of the chosen trial take the place of.
"""

import argparse
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.write import write_report
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_object, write_text
from robust_tickets.runs.merging import merge

REFERENCE = Path(__file__).parents[1] / "runs" / "reference"
LEFT_OUT = shutil.ignore_patterns("*.safetensors", "state", "verdicts-*", ".*", "*.html", "*.svg")
"""What no folder keeps: weights, states, and files that are made from the others or are large."""


@dataclass(frozen=True)
class Experiment:
    """An experiment in its folder.

    work: where its run directories are made.
    flags: of every command, such as where the images are.
    """

    folder: Path
    work: Path
    flags: tuple[str, ...]

    @property
    def plan(self) -> dict[str, Any]:
        """What is to be tuned and run."""
        return tomllib.loads((self.folder / "plan.toml").read_text(encoding="utf-8"))

    @property
    def run(self) -> Path:
        """The folder of the records of all seeds."""
        return self.folder / "run"

    def recipe_after(self, steps: int) -> Path:
        """The recipe after so many steps of tuning."""
        return self.folder / (f"tuned-{steps}.toml" if steps else "recipe.toml")

    def pieces(self) -> Iterator[str]:
        """The pieces that are not done, by name."""
        for number in range(1, len(self.plan.get("tune", [])) + 1):
            if not self.recipe_after(number).is_file():
                yield f"tune {number}"
        for seed in self.plan["seeds"]:
            if not any(self.run.glob(f"**/seed-{seed}")):
                yield f"seed {seed}"

    def do(self, piece: str) -> None:
        """Do a piece and keep what is left of it."""
        kind, number = piece.split()
        self.tune(int(number)) if kind == "tune" else self.run_seed(int(number))

    def tune(self, number: int) -> None:
        """One step of the tuning."""
        step = self.plan["tune"][number - 1]
        base = recipes.load(str(self.recipe_after(number - 1)))
        start = self.work / f"{self.folder.name}-{number}.toml"
        write_text(start, recipes.to_toml(_like(base, step["arm"], step.get("like"))))
        words = [
            word for field, values in step["fields"].items() for word in ("--field", field, *map(str, values))
        ]
        seed = str(self.plan["tuning_seed"])
        table, tuned = self._command(["tune"], start, "--arm", step["arm"], "--seed", seed, *words)[-2:]
        shutil.copyfile(table, self.folder / f"trials-{number}.csv")
        chosen = recipes.load(tuned)
        for arm in step.get("fix_steps_of", []):
            chosen = _with_steps(chosen, arm, _steps_of_best(Path(table), step["arm"]))
        write_text(self.recipe_after(number), recipes.to_toml(chosen))  # last: it says that the step is done

    def run_seed(self, seed: int) -> None:
        """One seed of the experiment."""
        recipe = self.recipe_after(len(self.plan.get("tune", [])))
        study = self.plan.get("study")
        command = ["study", study] if study else ["compare"]
        written = self._command(command, recipe, "--seed", str(seed), "--seeds", "1")[-1]
        if study:
            for run in Path(written).parent.glob(f"*/seed-{seed}"):
                _keep(run.parent, self.run / run.parent.name)
            return
        _keep(Path(written), self.run)
        write_report(RunDirectory.open(self.run))

    def _command(self, command: Sequence[str], recipe: Path, *rest: str) -> list[str]:
        """Run a command of the project on a recipe; returns the lines that it prints."""
        line = [sys.executable, "-m", "robust_tickets", *command, "--recipe", recipe, *rest]
        line += ["--runs", self.work, *self.flags]
        print(" ".join(map(str, line[1:])), flush=True)
        answer = subprocess.run([str(word) for word in line], check=True, stdout=subprocess.PIPE, text=True)
        print(answer.stdout, flush=True)
        return answer.stdout.splitlines()


def _like(recipe: Recipe, arm: str, other: str | None) -> Recipe:
    """The recipe in which an arm has the settings of another one beside its own, which come first."""
    if other is None:
        return recipe
    tables = recipe.arms.tables
    shared = tables.get(other.partition("+")[2], {}) | tables.get(other, {})
    lengths = ("epochs", "iterations", "ticket_epochs", "ticket_iterations")
    taken = {field: value for field, value in shared.items() if field not in lengths}
    return replace(recipe, arms=ArmSettings({**tables, arm: {**tables.get(arm, {}), **taken}}))


def _steps_of_best(table: Path, arm: str) -> int:
    """The steps of the trial that was chosen, whose length followed from a timing."""
    trials = pd.read_csv(table)
    whole = trials[trials.share == 1]
    best = whole.loc[whole.val_robust.idxmax()]
    length = table.parent / "trials" / best.run / f"seed-{best.seed}" / arm / "length.json"
    return int(read_object(length)["steps"])


def _with_steps(recipe: Recipe, arm: str, steps: int) -> Recipe:
    """The recipe in which an arm of a ticket has so many steps instead of a budget."""
    tables = recipe.arms.tables
    for field in ("budget", "iterations"):
        tables[arm].pop(field)
    tables[arm]["ticket_iterations"] = steps
    return replace(recipe, arms=ArmSettings(tables))


def _keep(run: Path, kept: Path) -> None:
    """Copy the records of a run directory, or add its seeds to those that are kept."""
    part = kept.with_name(f".{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run, part, ignore=LEFT_OUT)
    if kept.exists():
        merge(kept, [part])
        shutil.rmtree(part)
    else:
        part.rename(kept)


def main() -> None:
    """Do pieces until none is left, or the minutes are over before the next one begins."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="folder of the experiment in runs/reference")
    parser.add_argument("--data-root", required=True, help="path of the images of CIFAR-10")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/experiments"), help="folder of run directories"
    )
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no piece after so many")
    parser.add_argument("--jobs", default="1", help="networks that are trained at a time")
    parser.add_argument("--list", action="store_true", help="print what is left, and do nothing")
    options = parser.parse_args()
    flags = ("--data.root", options.data_root, "--jobs", options.jobs)
    experiment = Experiment(REFERENCE / options.name, options.work / options.name, flags)
    end = time.monotonic() + 60 * options.minutes
    left = list(experiment.pieces())
    for piece in left:
        if options.list:
            print(piece)
        elif time.monotonic() < end:
            print(f"{options.name}: {piece}", flush=True)
            experiment.do(piece)


if __name__ == "__main__":
    main()
