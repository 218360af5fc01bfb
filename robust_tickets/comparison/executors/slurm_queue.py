"""Questions and requests to Slurm, by its own commands."""

import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from robust_tickets.base.errors import InputError
from robust_tickets.comparison.executors.slurm_files import JobFiles

TIMEOUT = 10.0
"""Seconds in which Slurm must answer."""

_USUAL = ("None", "Priority", "Resources", "Dependency", "BeginTime", "RaisedSignal", "NonZeroExitCode")


class QueuedJob(NamedTuple):
    """state: such as RUNNING. reason: why it waits."""

    state: str
    reason: str


def active_jobs() -> dict[str, QueuedJob]:
    """The user's jobs that have not ended, by their numbers. Raises InputError where Slurm does not answer.

    `sacct` would tell of ended ones too, but many clusters keep no accounts.
    """
    lines = _ask("squeue", "--me", "--noheader", "--format=%i|%T|%r").splitlines()
    fields = (line.strip().split("|", 2) for line in lines)
    return {job: QueuedJob(state, reason) for job, state, reason in fields}


def unusual_reason(job: QueuedJob) -> str:
    """Why a job waits, where that is not what jobs usually wait for; else ""."""
    return job.reason if job.state == "PENDING" and job.reason.strip("()") not in _USUAL else ""


def last_state(job: str) -> str:
    """In which state a job ended, as far as Slurm still knows it."""
    try:
        state = re.search(r"JobState=(\w+)", _ask("scontrol", "--oneliner", "show", "job", job))
    except InputError:
        state = None
    return state[1] if state else "Slurm no longer knows how"


def cancel(jobs: Sequence[JobFiles]) -> None:
    """Cancel jobs, which save their state and end."""
    for job in jobs:
        job.cancel_mark.touch()
    if jobs:
        _run(["scancel", *(job.id for job in jobs)])


def _ask(*command: str) -> str:
    answer = _run(command)
    if answer is None or answer.returncode:
        lines = (answer.stderr if answer else "no answer").strip().splitlines() or ["no reason given"]
        raise InputError(f"Slurm does not answer {command[0]} within {TIMEOUT:g} seconds ({lines[-1]:.150})")
    return answer.stdout


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str] | None":
    """What a command gave; None where it took too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return None
