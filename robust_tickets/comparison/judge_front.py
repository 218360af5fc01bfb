"""Judges the arms on the frontier of a comparison by the whole of AutoAttack, when all arms are done."""

from dataclasses import dataclass
from pathlib import Path

from robust_tickets.comparison.executors.base import Task
from robust_tickets.comparison.jobs import Job
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.judge import front_checkpoints, judge
from robust_tickets.report.read import results
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.evaluate import judge_whole
from robust_tickets.stages.experiment import Experiment


@dataclass(frozen=True)
class WholeJudgeJob(Job):
    """FAB-T and Square on what is robust to the other two, for one checkpoint."""

    checkpoint: Path

    def needed_files(self) -> list[Path]:
        """With the arm."""
        return [*super().needed_files(), self.checkpoint.parent]

    def do(self) -> Path:
        """Judge the checkpoint; returns the arm's robustness.csv."""
        return judge_whole(self.checkpoint, self.experiment)


def front_tasks(experiment: Experiment, run: RunDirectory) -> list[Task]:
    """The tasks for the arms on the frontier, in all complete seeds; none where a recipe wants none.

    The frontier is that of the attack which all arms have, so that none is held to a stricter one.
    """
    if not experiment.recipe.evaluate.has_whole_autoattack:
        return []
    by_arm = results(run)
    tasks: dict[Path, Task] = {}
    for arm, name in front_checkpoints(by_arm, judge(by_arm, run.recipe)):
        source = ARMS[arm].best_epoch_of
        for result in by_arm[arm]:
            folder = run.arm(result.seed, source or arm)
            file = folder.best if source else folder.path / f"{name}.safetensors"
            job = WholeJudgeJob(experiment, result.seed, run, file)
            tasks[file] = Task(f"AutoAttack on {arm}, seed {result.seed}", job, folder=run.path)
    return list(tasks.values())
