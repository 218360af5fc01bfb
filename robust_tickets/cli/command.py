"""What a command is: a frozen dataclass whose fields are its flags, with a `run` that does the work."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, dataclass_transform

from tyro.conf import arg

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import stderr_progress
from robust_tickets.base.task_progress import QuietProgress
from robust_tickets.cli.flags import is_section
from robust_tickets.recipe.field_help import HAVE_DOCSTRINGS, field_help
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.schema import Count, CountOrZero, NotNegative, Range

if TYPE_CHECKING:
    from robust_tickets.comparison.executors.base import Executor

C = TypeVar("C")

Seed = Annotated[int, Range(least=0, most=2**31 - 1)]


class Command:
    """A command of the program. The text under a field is the help of its flag."""

    def run(self) -> None:
        """Do the work and print what came of it."""
        raise AssertionError(f"{type(self).__name__} has no run()")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def command(cls: type[C]) -> type[C]:
    """Make a class a command. Raises TypeError for one without a docstring, a `run`, or help on a field."""
    if HAVE_DOCSTRINGS and not cls.__dict__.get("__doc__"):
        raise TypeError(f"the command {cls.__name__} has no docstring: it is its help")
    if not issubclass(cls, Command) or cls.run is Command.run:
        raise TypeError(f"the command {cls.__name__} has no run(): it does the work")
    result = dataclass(frozen=True, kw_only=True)(cls)
    texts = field_help(result)  # type: ignore[arg-type]
    for item in fields(result):  # type: ignore[arg-type]
        if not texts.get(item.name) and not is_section(item.type):
            raise TypeError(f"the command {cls.__name__} has no help under its field {item.name}")
    return result


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """Flags of commands that compute."""

    seed: Seed = 0
    """seed of init, batches and attacks"""
    device: str = "cpu"
    """cpu, cuda, cuda:N; untried: mps, xpu"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe, with progress on stderr."""
        return Machine(self.device, stderr_progress())


@dataclass(frozen=True, kw_only=True)
class OnMachine(OnDevice):
    """Flags of commands that compute what belongs to a run."""

    runs: Path = Path("runs")
    """folder of the run directories"""
    devices: Annotated[int, Range(least=1, most=1024)] = 1
    """devices that share each training"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe, with progress on stderr."""
        return replace(super().machine, world_size=self.devices)


@dataclass(frozen=True, kw_only=True)
class Resumable(OnMachine):
    """Flags of commands that keep checkpoints."""

    checkpoint_minutes: NotNegative = 1.0
    """minutes between checkpoints; 0: off"""
    checkpoint_steps: CountOrZero = 0
    """steps between checkpoints; 0: off"""
    any_machine: bool = False
    """continue a run of another processor or GPU; the table marks its seconds, FLOPs stand"""
    tensorboard: bool = False
    """write curves for TensorBoard too"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe."""
        return replace(
            super().machine,
            checkpoint_minutes=self.checkpoint_minutes,
            checkpoint_steps=self.checkpoint_steps,
            any_machine=self.any_machine,
            tensorboard=self.tensorboard,
        )


@dataclass(frozen=True, kw_only=True)
class ByRecipe(Resumable):
    """Flags of commands that run a recipe."""

    recipe: Annotated[str, arg(metavar="NAME|FILE")]
    """a shipped recipe (see `robust-tickets recipes`) or a TOML file; other flags override its fields"""
    fields: Annotated[Recipe, arg(name="")] = field(default_factory=Recipe)

    @property
    def pruning_methods_of_study(self) -> tuple[str, ...]:
        """The pruning methods that a study sets beside the recipe's own; none without a study."""
        return ()


@dataclass(frozen=True, kw_only=True)
class ByExecutor(ByRecipe):
    """Flags of commands that train several networks, here or on a cluster."""

    jobs: Annotated[int, Range(least=1, most=1024)] = 1
    """networks trained at a time, in processes"""
    executor: Annotated[str, arg(metavar="NAME")] = ""
    """inline, processes, dask, dask://HOST:PORT, slurm"""
    scheduler_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """of a Dask scheduler, instead of its address"""
    slurm: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE")] = ()
    """options of sbatch for each job, as partition=gpu"""
    no_shared_files: bool = False
    """send files to Dask workers and back"""

    def choose_executor(self) -> "Executor":
        """The executor that the flags name. Raises InputError for one that there is not."""
        from robust_tickets.comparison.executors.choose import choose_executor

        shared_files = not self.no_shared_files
        return choose_executor(self.jobs, self.executor, self.scheduler_file, self.slurm, shared_files)


@dataclass(frozen=True, kw_only=True)
class SideBySide(ByExecutor):
    """Flags of commands that train several arms."""

    seeds: Count = 1
    """how many seeds, from --seed on"""
    dry_run: bool = False
    """list arms, passes, FLOPs and estimated time; a few steps of each are timed, for minutes"""
    quiet: bool = False
    """warnings and the result's path alone"""
    verbose: bool = False
    """every stage, and all notes at the end"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe. Raises InputError for both of quiet and verbose."""
        if self.quiet and self.verbose:
            raise InputError("--quiet and --verbose exclude each other: give one")
        progress = QuietProgress() if self.quiet else stderr_progress(by_stage=self.verbose)
        return replace(super().machine, progress=progress)
