"""What the jobs of a run share, done once before them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.jobs import Job
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment


def prepare(experiment: Experiment, seeds: Sequence[int], run: RunDirectory) -> None:
    """Do once what several jobs share: describe the run, read its images, warn about its network.

    Raises InputError where the run began on another machine or with other inputs, and for images that cannot
    be read.
    """
    experiment.load()  # downloads and decodes them
    experiment.fresh_net(seeds[0], warn=True)
    inputs: dict[str, str] = {}
    for seed in seeds:
        inputs |= experiment.inputs(seed)
    run.check_inputs(inputs)
    machine = experiment.machine
    run.check_machine(machine.device, any_machine=machine.any_machine, devices=machine.world_size)
    run.begin(machine.device, inputs, any_machine=machine.any_machine, devices=machine.world_size)


def on_client(experiment: Experiment, runs: Path, executor: Executor) -> tuple[Experiment, Path]:
    """The experiment and the folder of its runs, as the process has them that gives tasks to the executor.

    Where tasks run elsewhere, their paths are absolute, and the process checks on its CPU: machines on which
    commands to a cluster are given often have no GPU.
    """
    data = experiment.recipe.data
    if executor.is_here:
        return experiment, runs
    if data.root is not None:
        data = replace(data, root=data.root.resolve())
    machine = replace(experiment.machine, device="cpu", devices=())
    recipe = replace(experiment.recipe, data=data)
    return replace(experiment, recipe=recipe, machine=machine), runs.resolve()


def after_preparation(
    tasks: Sequence[Task], works: Sequence[tuple[Experiment, RunDirectory]], seeds: Sequence[int]
) -> list[Task]:
    """The tasks, after one for each run that prepares it (`prepare`) on the machine that it is sent to.

    works: experiments and their run directories.
    """
    if all(task.is_done() for task in tasks):
        return list(tasks)
    first = [
        Task(
            f"prepare {run.path.name}",
            PrepareJob(experiment, seeds[0], run, tuple(seeds)),
            weight=0.0,
            folder=run.path,
        )
        for experiment, run in works
    ]
    n = len(first)
    return [
        *first,
        *(replace(task, after=(*range(n), *(n + place for place in task.after))) for task in tasks),
    ]


@dataclass(frozen=True)
class PrepareJob(Job):
    """What the jobs of a run share, as a job of its own (`prepare`)."""

    seeds: tuple[int, ...]

    def do(self) -> Path:
        """Prepare the run; returns its folder."""
        self.experiment.prepare()
        prepare(self.experiment, self.seeds, self.run)
        return self.run.path
