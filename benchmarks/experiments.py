"""Runs an experiment of docs/experiments.md, piece by piece: each call does the pieces that are not done yet.

    python -m benchmarks.experiments inside-025 --data-root cifar10-jpeg.tar.xz --minutes 100

An experiment is a folder of runs/reference with plan.toml and recipe.toml. Its pieces are the steps of its
tuning, in order, then its seeds, and where it has one the look of `benchmarks.adaptive_look`. What is left
of a piece, all but weights, goes to the folder as soon as it is done, so that another machine can go on from
a checkout. Weights stay in the folder of --work.

plan.toml: `seeds`; `tuning_seed`; `study`, the name of one, where the experiment is no comparison; `look`,
true for an adaptive look at its leading row, on the weights of the last seed; and tables
`[[tune]]` with `arm`; perhaps `like`, an arm whose settings it begins from; perhaps `recipe`, fields that are
changed for this step and all after it; `fields`, the values of each; and perhaps `fix_steps_of`, arms whose
budget the steps of the chosen trial take the place of.

An experiment may have parts: a table `[parts.NAME]` has what it does not share with the others, and in
`recipe` the fields of the recipe that differ. Each is tuned and run like an experiment, in a folder of its
own. `follows`, the name of a part before it, has it begin from the tuned recipe of that one. `[[contrasts]]`
over several parts are described in `benchmarks.experiment_contrasts`.
"""

import argparse
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.adaptive_look import adaptive_look
from benchmarks.experiment_contrasts import DIGITS, write_contrasts
from benchmarks.kept_records import keep_run, keep_study
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import csv_text, read_object, write_text

REFERENCE = Path(__file__).parents[1] / "runs" / "reference"


def read_plan(folder: Path) -> dict[str, Any]:
    """What is to be tuned and run in an experiment's folder."""
    return tomllib.loads((folder / "plan.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Experiment:
    """An experiment, or a part of one, in its folder.

    root: the folder of the whole experiment.
    plan: of the whole experiment, too.
    work: where its run directories are made.
    flags: of every command, such as where the images are.
    part: its name; empty where the experiment is not divided.
    jobs: how many networks are trained at a time.
    """

    root: Path
    plan: dict[str, Any]
    work: Path
    flags: tuple[str, ...]
    part: str = ""
    jobs: int = 1

    @property
    def folder(self) -> Path:
        """Where what is left of it goes."""
        return self.root / self.part

    @property
    def run(self) -> Path:
        """The folder of the records of all seeds."""
        return self.folder / "run"

    @property
    def tuning(self) -> list[dict[str, Any]]:
        """The steps of the tuning."""
        steps: list[dict[str, Any]] = self._own("tune", [])
        return steps

    @property
    def seeds(self) -> list[int]:
        """The seeds of the table."""
        return list(self._own("seeds", []))

    @property
    def study(self) -> str:
        """The name of the study that it is; empty for a comparison."""
        return str(self._own("study", ""))

    @property
    def look_file(self) -> Path:
        """What the adaptive look found."""
        return self.folder / "look.csv"

    def _own(self, key: str, default: Any) -> Any:
        """What the plan says of this part alone, or else of all."""
        parts = self.plan.get("parts", {})
        return parts.get(self.part, {}).get(key, self.plan.get(key, default))

    def recipe_after(self, steps: int) -> Path:
        """The recipe after so many steps of tuning."""
        path = self.folder / (f"tuned-{steps}.toml" if steps else "recipe.toml")
        if not steps and self.part and not path.is_file():
            write_text(path, recipes.to_whole_toml(self._recipe_of_part()))
        return path

    def _recipe_of_part(self) -> Recipe:
        """The experiment's recipe, or that of the part which this one follows, with the part's own fields."""
        leader = self._own("follows", "")
        base = self.root / "recipe.toml"
        if leader:
            other = replace(self, part=leader)
            base = other.recipe_after(len(other.tuning))
        name = f"{self.root.name}-{self.part}"
        return _changed(recipes.load(str(base)), {"name": name, **self._own("recipe", {})})

    def pieces(self) -> Iterator[str]:
        """The pieces that are not done, by name."""
        for number in range(1, len(self.tuning) + 1):
            if not self.recipe_after(number).is_file():
                yield f"tune {number}"
        for seed in self.seeds:
            if not any(self.run.glob(f"**/seed-{seed}")):
                yield f"seed {seed}"
        if self._own("look", False) and not self.look_file.is_file():
            yield f"look {self.seeds[-1]}"

    def do(self, piece: str) -> None:
        """Do a piece and keep what is left of it."""
        kind, number = piece.split()
        {"tune": self.tune, "seed": self.run_seed, "look": self.look}[kind](int(number))

    def tune(self, number: int) -> None:
        """One step of the tuning."""
        step = self.tuning[number - 1]
        base = _changed(recipes.load(str(self.recipe_after(number - 1))), step.get("recipe", {}))
        start = self.work / f"{self.folder.name}-{number}.toml"
        write_text(start, recipes.to_whole_toml(_like(base, step["arm"], step.get("like"))))
        words = [
            word for field, values in step["fields"].items() for word in ("--field", field, *map(str, values))
        ]
        seed = str(self.plan["tuning_seed"])
        command = ["tune", "--recipe", str(start), "--arm", step["arm"], "--seed", seed, *words]
        table, tuned = self._train(command)[-2:]
        shutil.copyfile(table, self.folder / f"trials-{number}.csv")
        chosen = recipes.load(tuned)
        for arm in step.get("fix_steps_of", []):
            chosen = _with_steps(chosen, arm, _steps_of_best(Path(table), step["arm"]))
        write_text(
            self.recipe_after(number), recipes.to_whole_toml(chosen)
        )  # last: it says that the step is done

    def run_seed(self, seed: int) -> None:
        """One seed of the experiment."""
        recipe = str(self.recipe_after(len(self.tuning)))
        command = ["study", self.study] if self.study else ["compare"]
        written = Path(self._train([*command, "--recipe", recipe, "--seed", str(seed), "--seeds", "1"])[-1])
        if self.study:
            keep_study(written, seed, self.folder / "study", self.run)
        else:
            keep_run(written, self.run)
        if "contrasts" in self.plan:
            write_contrasts(self.root, self.plan)

    def look(self, seed: int) -> None:
        """The adaptive look at the leading row, at its network of a seed."""
        kept = RunDirectory.open(self.run)
        weights = RunDirectory.of(self.work, kept.recipe)
        found = adaptive_look(kept, weights, seed, self.work / "look", self._command)
        write_text(self.look_file, csv_text(found, DIGITS))

    def _train(self, words: Sequence[str]) -> list[str]:
        """Run a command that trains networks."""
        return self._command([*words, "--jobs", str(self.jobs)])

    def _command(self, words: Sequence[str]) -> list[str]:
        """Run a command of the project; returns the lines that it prints."""
        line = [sys.executable, "-m", "robust_tickets", *words, "--runs", str(self.work), *self.flags]
        print(" ".join(line[1:]), flush=True)
        answer = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
        print(answer.stdout, flush=True)
        return answer.stdout.splitlines()


def _changed(recipe: Recipe, table: Mapping[str, Any]) -> Recipe:
    """The recipe with other fields; tables of arms are added to those that it has."""
    arms = {**recipe.arms.tables, **table.get("arms", {})}
    return recipes.from_table({**table, "arms": arms}, recipe)


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
    """The recipe in which an arm has so many steps instead of the budget in its table or its variant's."""
    tables = recipe.arms.tables
    table = next(tables[name] for name in (arm, arm.partition("+")[2]) if "budget" in tables.get(name, {}))
    for field in ("budget", "iterations", "ticket_iterations"):
        table.pop(field)
    table["iterations" if arm.startswith("dense") else "ticket_iterations"] = steps
    return replace(recipe, arms=ArmSettings(tables))


def parts_of(name: str, work: Path, flags: tuple[str, ...], jobs: int = 1) -> list[Experiment]:
    """The parts of an experiment; one where it is not divided."""
    root = REFERENCE / name
    plan = read_plan(root)
    return [Experiment(root, plan, work / name, flags, part, jobs) for part in plan.get("parts", [""])]


def _turn(piece: str) -> int:
    """When a piece's turn comes: a part may follow another one's tuning, and shares what its seeds train."""
    kind, number = piece.split()
    return -1 if kind == "tune" else int(number)


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
    parser.add_argument("--jobs", type=int, default=1, help="networks that are trained at a time")
    parser.add_argument("--list", action="store_true", help="print what is left, and do nothing")
    options = parser.parse_args()
    parts = parts_of(options.name, options.work, ("--data.root", options.data_root), options.jobs)
    end = time.monotonic() + 60 * options.minutes
    left = [(part, piece) for part in parts for piece in part.pieces()]
    for part, piece in sorted(left, key=lambda each: _turn(each[1])):
        name = " ".join(filter(None, (options.name, part.part, piece)))
        if options.list:
            print(name)
        elif time.monotonic() < end:
            print(f"{name}:", flush=True)
            part.do(piece)


if __name__ == "__main__":
    main()
