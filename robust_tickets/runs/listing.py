"""Lists and removes run directories."""

import re
import shutil
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.runs import locks
from robust_tickets.runs.directory import RunDirectory


def list_runs(folder: Path) -> str:
    """A line a run directory: seeds, evaluated arms, megabytes. Raises InputError if there is no folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder of the run directories by --runs")
    rows = [("run directory", "seeds", "finished", "MB"), *map(_row, RunDirectory.paths(folder))]
    if len(rows) == 1:
        return f"no run directories in {folder}"
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3].rjust(7)])
        for row in rows
    )


def _row(path: Path) -> tuple[str, str, str, str]:
    try:
        run = RunDirectory.open(path)
    except InputError as error:
        return path.name, "", f"cannot be read: {error}", ""
    seeds, arms = run.seeds(), run.recipe.compare.trained
    finished = sum(run.arm(seed, arm).robustness.is_file() for seed in seeds for arm in arms)
    return (
        path.name,
        " ".join(map(str, seeds)) or "none",
        f"{finished} of {len(seeds) * len(arms)} arms",
        f"{_size(path) / 1e6:.1f}",
    )


def remove(path: Path, confirmed: bool) -> str:
    """Remove a run directory; without `confirmed`, give a line on what would be removed.

    Raises InputError for any other folder.
    """
    run = RunDirectory.open(path)
    is_run = re.fullmatch(r".+-[0-9a-f]{8}", path.resolve().name) and (
        run.machine_file.is_file() or run.seeds()
    )
    if not is_run:
        raise InputError(
            f"{path} has a recipe but is no run directory, and nothing else is removed: remove it yourself"
        )
    text = f"{path} ({sum(p.is_file() for p in path.rglob('*'))} files, {_size(path) / 1e6:.1f} MB)"
    if not confirmed:
        return f"{text} would be removed: add --yes"
    if path.is_symlink():
        raise InputError(f"{path} is a link: give the folder itself, {path.resolve()}")
    with locks.lock(path):
        shutil.rmtree(path)
    return f"removed {text}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
