"""The command `tune`."""

import tomllib
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.cli.command import ByExecutor, Command, Seed, command
from robust_tickets.recipe.schema import Count, Range


@command
class Tune(ByExecutor, Command):
    """Choose fields of a recipe by validation, on seeds that no table uses.

    Writes trials.csv and tuned.toml. Each arm gets as many trials. Test images are not looked at. Finished
    trials are not trained again.
    """

    field: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="FIELD VALUE...")] = ()
    """a field of train or search and the values to try, as --field train.lr 0.01 0.02 0.05; of several fields
    all combinations are tried"""
    arm: Annotated[tuple[str, ...], arg(metavar="ARM...")] = ("dense",)
    """the arms that are tuned, each with every combination: its fields of train are its own"""
    seed: Seed = 100
    """the first seed; comparisons with the recipe that comes of it take others"""
    seeds: Count = 1
    """how many seeds, from --seed on; the mean over them decides"""
    eta: Annotated[int, Range(least=1, most=100)] = 3
    """successive halving: all combinations are trained for a part of the schedule, the best of them, one in
    so many, for so many times as long; 1: all are trained to the end"""

    dry_run: bool = False
    """list the trials with passes, FLOPs and estimated time; a few steps are timed, for minutes"""

    def run(self) -> None:
        """Print what was chosen and the files, or the estimate."""
        grid = _grid(self.field)
        with signals.deferred():
            from robust_tickets.comparison.tune import forecast, tune
            from robust_tickets.stages.experiment import Experiment

        experiment = Experiment(self.fields, machine=self.machine)
        seeds = range(self.seed, self.seed + self.seeds)
        executor = self.choose_executor()
        if self.dry_run:
            jobs = executor.jobs
            print(forecast(experiment, grid, self.arm, self.seeds, eta=self.eta, jobs=jobs))
            return
        result = tune(experiment, grid, self.arm, seeds, self.runs, eta=self.eta, executor=executor)
        print(result.text)
        print(result.table)
        print(result.recipe)


def _grid(words: tuple[tuple[str, ...], ...]) -> dict[str, list[Any]]:
    """The values to try by field. Raises InputError for a field that is named twice."""
    grid: dict[str, list[Any]] = {}
    for field, *values in words:
        if field in grid:
            raise InputError(f"--field {field} is given twice: name all its values at once")
        grid[field] = [_value(text) for text in values]
    return grid


def _value(text: str) -> Any:
    """A value as recipe files have it, or a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
