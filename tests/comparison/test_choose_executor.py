"""Which executor a name stands for, and what does not go together."""

from pathlib import Path

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.executors.choose import choose_executor
from robust_tickets.comparison.executors.dask import Dask
from robust_tickets.comparison.executors.inline import Inline
from robust_tickets.comparison.executors.processes import Processes
from robust_tickets.comparison.executors.slurm import Slurm


@pytest.mark.parametrize(
    ("jobs", "name", "kind", "at_a_time", "is_here"),
    [
        (1, "", Inline, 1, True),
        (3, "", Processes, 3, True),
        (1, "inline", Inline, 1, True),
        (1, "processes", Inline, 1, True),
        (3, "processes", Processes, 3, True),
        (1, "dask", Dask, 1, True),
        (3, "dask", Dask, 3, True),
        (1, "dask://host:8786", Dask, 2, False),
        (1, "slurm", Slurm, 2, False),
    ],
)
def test_each_name_has_its_executor(jobs: int, name: str, kind: type, at_a_time: int, is_here: bool) -> None:
    executor = choose_executor(jobs, name)
    assert (type(executor), executor.jobs, executor.is_here) == (kind, at_a_time, is_here)


def test_a_scheduler_file_stands_for_its_cluster(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with pytest.raises(InputError, match=f"there is no file {file}: `dask scheduler --scheduler-file FILE`"):
        choose_executor(scheduler_file=file)
    file.touch()
    assert not choose_executor(1, "dask", file).is_here
    with pytest.raises(InputError, match="a scheduler file is of dask, and not of the executor processes"):
        choose_executor(1, "processes", file)


@pytest.mark.parametrize(
    ("jobs", "name", "message"),
    [
        (2, "inline", "inline runs one job at a time: leave it out, or the 2 jobs"),
        (1, "slrum", "unknown executor 'slrum'"),
        (1, "dask://host", "has no host and port: write dask://HOST:8786"),
        (1, "dask://:8786", "has no host and port"),
        (1, "dask://host:port", "has no host and port"),
        (2, "slurm", "Slurm decides how many jobs run at a time: leave out the 2 jobs"),
    ],
)
def test_what_does_not_go_together_is_refused(jobs: int, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_executor(jobs, name)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("", "partition=gpu", "--slurm has options of Slurm's jobs: give --executor slurm too"),
        ("slurm", "partition=", "--slurm 'partition=' is no option of sbatch: write NAME=VALUE"),
        ("slurm", "=gpu", "--slurm '=gpu' is no option of sbatch"),
        ("slurm", "job-name=mine", "--slurm job_name is set for each job: leave it out"),
    ],
)
def test_wrong_options_of_slurm_are_refused(name: str, option: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_executor(1, name, slurm=[option])


def test_without_slurm_its_executor_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        InputError, match="there is no sbatch here: give the command on a machine of the Slurm"
    ):
        choose_executor(1, "slurm", slurm=["--exclusive"]).check()
