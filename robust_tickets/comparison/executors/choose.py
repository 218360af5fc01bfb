"""The executor that a command names."""

from collections.abc import Sequence
from pathlib import Path

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.comparison.executors.base import Executor
from robust_tickets.comparison.executors.dask import Dask
from robust_tickets.comparison.executors.inline import Inline
from robust_tickets.comparison.executors.processes import Processes
from robust_tickets.comparison.executors.slurm import Slurm

NAMES = ("inline", "processes", "dask", "dask://HOST:PORT", "slurm")
"""What `--executor` takes."""

_ADDRESS = "dask://"


def choose_executor(
    jobs: int = 1,
    name: str = "",
    scheduler_file: Path | None = None,
    slurm: Sequence[str] = (),
    shared_files: bool = True,
) -> Executor:
    """The executor of that name.

    jobs: how many at a time on this machine.
    name: inline, processes, dask (a cluster on this machine, of so many workers), dask:// and the address
        of a scheduler, or slurm; "": inline, or processes for several jobs.
    scheduler_file: of a Dask scheduler that runs, instead of its address; None: there is none.
    slurm: options of sbatch for each job, as partition=gpu.
    shared_files: whether the machines of a Dask cluster see the folder of the runs.

    Raises InputError for another name, and for what does not go together.
    """
    if slurm and name != "slurm":
        raise InputError("--slurm has options of Slurm's jobs: give --executor slurm too")
    if scheduler_file is not None:
        if name not in ("", "dask"):
            raise InputError(f"a scheduler file is of dask, and not of the executor {name}: leave one out")
        if not scheduler_file.is_file():
            raise InputError(
                f"there is no file {scheduler_file}: `dask scheduler --scheduler-file FILE` writes it"
            )
        return Dask(jobs, scheduler_file=scheduler_file, shared_files=shared_files)
    if name.startswith(_ADDRESS):
        host, _, port = name.removeprefix(_ADDRESS).rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(f"executor {name} has no host and port: write dask://HOST:8786")
        return Dask(jobs, address=f"tcp://{host}:{port}", shared_files=shared_files)
    if not shared_files and name != "dask":
        raise InputError(
            f"files are not sent {'to jobs of Slurm' if name == 'slurm' else 'anywhere'}: leave out "
            "--no-shared-files, which is of a Dask cluster"
        )
    if name == "slurm":
        if jobs > 1:
            raise InputError(f"Slurm decides how many jobs run at a time: leave out the {jobs} jobs")
        return Slurm(dict(map(_option, slurm)))
    if name == "dask":
        return Dask(jobs, shared_files=shared_files)
    if name == "inline" and jobs > 1:
        raise InputError(f"the executor inline runs one job at a time: leave it out, or the {jobs} jobs")
    if name not in ("", "inline", "processes"):
        raise unknown_name("executor", name, NAMES)
    return Inline() if jobs == 1 else Processes(jobs)


def _option(text: str) -> tuple[str, str | bool]:
    """Name and value of an option of sbatch; True for one without a value."""
    name, equals, value = text.removeprefix("--").partition("=")
    if not name.replace("-", "_").isidentifier() or (equals and not value):
        raise InputError(f"--slurm {text!r} is no option of sbatch: write NAME=VALUE, as partition=gpu")
    return name, value if equals else True
