"""What lies in a folder of run directories, and how it is cleared away."""

import re
import shutil
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.runs import locks
from robust_tickets.runs.directory import RunDirectory


def list_runs(folder: Path) -> str:
    """A line a run directory: seeds, finished arms, megabytes. Raises InputError for no folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder of the run directories by --runs")
    rows = [("run directory", "seeds", "finished", "MB")]
    for file in sorted(folder.glob("*/recipe.toml")):
        try:
            run = RunDirectory.open(file.parent)
        except InputError as error:
            rows.append((file.parent.name, "", f"cannot be read: {error}", ""))
            continue
        arms = run.recipe.compare.trained
        seeds = run.seeds()
        done = sum((run.arm(seed, arm) / "robustness.csv").is_file() for seed in seeds for arm in arms)
        rows.append(
            (
                file.parent.name,
                " ".join(map(str, seeds)) or "none",
                f"{done} of {len(seeds) * len(arms)} arms",
                f"{_size(file.parent) / 1e6:.1f}",
            )
        )
    if len(rows) == 1:
        return f"no run directories in {folder}"
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3].rjust(7)])
        for row in rows
    )


def remove(run: Path, really: bool) -> str:
    """Remove a run directory, or say what would go. Raises InputError for any other folder."""
    found = RunDirectory.open(run)
    if not re.fullmatch(r".+-[0-9a-f]{8}", run.resolve().name) or not (
        (run / "env.json").is_file() or found.seeds()
    ):
        raise InputError(f"{run} has a recipe but is no run directory: nothing else is ever removed")
    what = f"{run} ({sum(1 for p in run.rglob('*') if p.is_file())} files, {_size(run) / 1e6:.1f} MB)"
    if not really:
        return f"{what} would be removed: add --yes"
    if run.is_symlink():
        raise InputError(f"{run} is a link: name the folder that it stands for, {run.resolve()}")
    with locks.lock(run):
        shutil.rmtree(run)
    return f"removed {what}"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
