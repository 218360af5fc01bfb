"""Seeds of one recipe that were run in several places, put into one run directory."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.runs import locks
from robust_tickets.runs.directory import RunDirectory


def merge(target: Path, sources: Sequence[Path]) -> list[str]:
    """Copy the seeds of run directories into another one; gives a line on each.

    target: a run directory, which keeps its seeds.
    sources: others of the same recipe, with other seeds; they stay as they are.

    The target lists all machines, so that tables mark seconds where there are several. Raises InputError, and
    copies nothing, for another recipe, other images or networks, another version of PyTorch, and a seed that
    two of them have.
    """
    run, others = RunDirectory.open(target), [RunDirectory.open(source) for source in sources]
    owners = dict.fromkeys(run.seeds(), target)
    for other in others:
        if other.recipe.identity != run.recipe.identity:
            raise InputError(f"{other.path} is of another recipe than {target}: merge runs of one recipe")
        run.check_inputs(other.inputs())
        run.check_version(other)
        for seed in other.seeds():
            if seed in owners:
                raise InputError(
                    f"seed {seed} is in {owners[seed]} and in {other.path}: remove one of the two folders"
                )
            owners[seed] = other.path
    lines = []
    with ExitStack() as held:
        for each in (run, *others):
            held.enter_context(locks.lock(each.path))
        for other in others:
            run.take_over(other)
            for seed in other.seeds():
                _copy(other.path / f"seed-{seed}", run.path / f"seed-{seed}")
                lines.append(f"seed {seed}: from {other.path}")
    return lines


def _copy(source: Path, target: Path) -> None:
    """Copy a folder, whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    part.rename(target)
