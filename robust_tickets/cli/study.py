"""The command `study`."""

from typing import Annotated

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.cli.command import Command, SideBySide, command
from robust_tickets.recipe.recipe import load
from robust_tickets.recipe.schema import Count
from robust_tickets.recipe.studies import STUDIES, check_study, load_study, studies_help


@command
class Study(SideBySide, Command):
    """Answer a question by a grid of comparisons. Writes <name>.csv, <name>.svg and <name>.md, the verdict.

    Finished cells are not run again.
    """

    name: Positional[
        Annotated[str, arg(metavar="NAME", help=f"{studies_help()} Its settings: --study.NAME")]
    ] = ""
    seeds: Count = 3
    """how many seeds; a verdict takes 3"""

    @property
    def pruning_methods_of_study(self) -> tuple[str, ...]:
        """The pruning methods that the study sets beside the recipe's own."""
        return tuple(load_study(self.name).pruning_methods) if self.name in STUDIES else ()

    def run(self) -> None:
        """Print the verdict and the study's folder, or the estimate."""
        if not self.name:
            raise InputError(f"study needs to know which: {', '.join(STUDIES)}")
        if self.name not in STUDIES:
            raise unknown_name("study", self.name, STUDIES)
        check_study(self.name, self.fields, load(self.recipe))
        with signals.deferred():
            from robust_tickets.stages.experiment import Experiment
            from robust_tickets.studies import study

        experiment, executor = Experiment(self.fields, machine=self.machine), self.choose_executor()
        if self.dry_run:
            print(study.forecast(self.name, experiment, self.seeds, executor.jobs))
            return
        seeds = range(self.seed, self.seed + self.seeds)
        result = study.study(self.name, experiment, seeds, self.runs, executor)
        if not self.quiet:
            print(result.verdict)
        print(result.folder)
