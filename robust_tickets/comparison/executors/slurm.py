"""Runs each task as a job of a Slurm cluster; those that it waits for are the job's dependencies."""

import hashlib
import shutil
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import Tasks
from robust_tickets.base.streams import complain
from robust_tickets.comparison.executors import slurm_job, slurm_queue
from robust_tickets.comparison.executors.base import Executor, Task
from robust_tickets.comparison.executors.sending import do_finished, pickle_task
from robust_tickets.comparison.executors.slurm_files import DEATHS, JobFiles, JobRecord

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine

LOOK_SECONDS = 1.0
"""Between two looks at the files of the jobs."""

QUEUE_SECONDS = 10.0
"""Between two questions to Slurm."""

LATE_SECONDS = 60.0
"""How much later than the end of its job a file may be seen on a shared file system."""

CANCEL_SECONDS = 120.0
"""How long the client waits for jobs that it has cancelled."""

FOLDER = ".slurm"
"""Folder of the jobs that are under way, in the run directory of each."""

OURS = ("array", "dependency", "error", "job_name", "ntasks_per_node", "open_mode", "output", "signal")
"""Options of sbatch that each job has already."""

_INSTALL = "--executor slurm needs packages that are not installed: pip install 'robust-tickets[slurm]'"


class Slurm(Executor):
    """Runs each task as a job of a Slurm cluster, which shares the files of this machine.

    A job that is preempted, dies or runs out of time is queued again, and goes on from its last state. Jobs
    need no process of ours between them: they go on without their client, and a later one finds them.

    options: of sbatch, as partition and time; True: one without a value.
    """

    jobs = 2
    is_here = False

    def __init__(self, options: Mapping[str, str | bool] | None = None) -> None:
        self._options = {name.replace("-", "_"): value for name, value in (options or {}).items()}
        for name in OURS:
            if name in self._options:
                raise InputError(f"--slurm {name} is set for each job: leave it out")

    def check(self) -> None:
        """Raise InputError where there is no Slurm, or it does not answer."""
        if shutil.which("sbatch") is None:
            raise InputError("there is no sbatch here: give the command on a machine of the Slurm cluster")
        try:
            import submitit  # noqa: F401 (with what it imports)
        except ImportError:
            raise InputError(_INSTALL) from None
        slurm_queue.active_jobs()

    def run(self, tasks: Sequence[Task], machine: "Machine", threads: int) -> None:
        """Run all tasks that are not done already."""
        with machine.progress.tasks([task.weight for task in tasks]) as progress:
            done = do_finished(tasks, machine, progress)
            jobs = _Jobs(tasks, machine, progress)
            try:
                options = {"cpus_per_task": str(threads), **self._options}
                jobs.submit(done, options)
                jobs.wait()
            finally:
                jobs.cancel()


@dataclass
class _Job:
    """A job under way, as its client sees it.

    is_shown: whether the client has shown that it began.
    bytes_shown: how much of its lines were shown.
    ended: when it was first seen to have ended.
    """

    files: JobFiles
    is_shown: bool = False
    bytes_shown: int = 0
    ended: float | None = None

    def new_lines(self) -> list[str]:
        """Whole lines that it wrote since the last call."""
        try:
            with self.files.lines.open("rb") as file:
                file.seek(self.bytes_shown)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:
            return []
        self.bytes_shown += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


@dataclass
class _Jobs:
    """Tasks, and the jobs that do them."""

    tasks: Sequence[Task]
    machine: "Machine"
    progress: Tasks
    jobs: dict[int, _Job] = field(default_factory=dict)

    def submit(self, done: set[int], options: Mapping[str, str | bool]) -> None:
        """Submit the tasks that are not done, and find jobs that an earlier command has submitted for them.

        Raises InputError where Slurm refuses one.
        """
        active, found = slurm_queue.active_jobs(), 0
        for i, task in enumerate(self.tasks):
            folder, record = _folder(task), JobRecord.of(_folder(task), task.name)
            there = replace(self.machine.share(1, ()), progress=self.machine.progress.of_child(task.label))
            content = b"" if i in done else pickle_task(task, there)
            digest = hashlib.sha256(content).hexdigest()
            earlier = record.read()
            if earlier is not None:
                job, of_task = earlier
                if job.id not in active:
                    job.remove()
                elif of_task == digest and not job.cancel_mark.exists():
                    self.jobs[i] = _Job(job)
                    found += 1
                    continue
                else:
                    slurm_queue.cancel([job])
                record.remove()
            if i not in done:
                folder.mkdir(parents=True, exist_ok=True)
                before = [self.jobs[place].files.id for place in task.after if place not in done]
                arguments = (content, task.name, str(folder.parent), sys.path)
                job = JobFiles(_submit(folder, task.name, arguments, before, options), folder)
                self.jobs[i] = _Job(job)
                record.write(job, digest)
        if self.jobs:
            ids = " ".join(job.files.id for job in self.jobs.values())
            again = f", {found} of them found again" if found else ""
            self.machine.progress.log(
                f"Slurm jobs {ids}{again}: Ctrl-C cancels them, closing the terminal does not"
            )

    def wait(self) -> None:
        """Wait until all are done. Raises InputError as the first that fails does."""
        asked = 0.0
        while self.jobs:
            for place, job in list(self.jobs.items()):
                for line in job.new_lines():
                    complain(line)
                is_done = job.files.result.is_file()
                if not job.is_shown and (is_done or job.files.lines.is_file()):
                    job.is_shown = True
                    self.progress.begin(place, self.tasks[place].name)
                if is_done:
                    self._check(place)
                    self._forget(place)
                    self.progress.end(place, self.tasks[place].summary())
            if self.jobs and time.monotonic() - asked > QUEUE_SECONDS:
                asked = time.monotonic()
                self._ask()
            if self.jobs:
                time.sleep(LOOK_SECONDS)

    def _forget(self, place: int) -> None:
        """Leave nothing of a job that has ended."""
        files = self.jobs.pop(place).files
        JobRecord.of(files.folder, self.tasks[place].name).remove()
        files.remove()
        with suppress(OSError):  # others are in it
            files.folder.rmdir()

    def cancel(self) -> None:
        """Cancel what is under way, and wait until it has saved its state."""
        jobs = self.jobs.items()
        left = {place for place, job in jobs if job.ended is None and not job.files.result.is_file()}
        slurm_queue.cancel([self.jobs[place].files for place in left])
        end = time.monotonic() + CANCEL_SECONDS
        while left and time.monotonic() < end:
            with suppress(InputError):  # no answer
                active = slurm_queue.active_jobs()
                for place in {place for place in left if self.jobs[place].files.id not in active}:
                    left.remove(place)
                    self._forget(place)
            if left:
                time.sleep(LOOK_SECONDS)
        if left:
            ids = " ".join(self.jobs[place].files.id for place in sorted(left))
            self.machine.progress.warn(f"Slurm jobs {ids} have not ended: see squeue")

    def _ask(self) -> None:
        """Ask Slurm for the jobs. Raises InputError for one that ended without a result."""
        try:
            active = slurm_queue.active_jobs()
        except InputError as error:
            self.machine.progress.warn_once(f"{error}; this command waits for it")
            return
        for place, job in self.jobs.items():
            name, number = self.tasks[place].name, job.files.id
            if number in active:
                job.ended = None
                reason = slurm_queue.unusual_reason(active[number])
                if reason:
                    self.machine.progress.warn_once(f"{name}: its job {number} waits ({reason})")
                continue
            job.ended = job.ended or time.monotonic()
            if time.monotonic() - job.ended >= LATE_SECONDS and not job.files.result.is_file():
                raise InputError(f"{name}: {_ending(job.files)}")

    def _check(self, place: int) -> None:
        """Raise InputError where a task has failed."""
        from submitit.core.utils import pickle_load

        outcome, text = pickle_load(self.jobs[place].files.result)
        if outcome == "success":
            return
        kind, _, message = text.rstrip().rpartition("\n")[2].partition(": ")
        name = self.tasks[place].name
        if kind.endswith("InputError"):
            raise InputError(f"{name}: {message}")
        complain(text)
        raise InputError(
            f"{name} failed by the error above: fix that, then run the same command again to resume"
        )


def _folder(task: Task) -> Path:
    """Where the files of a task's job lie."""
    assert task.folder is not None, "a job needs a folder for its files"
    return task.folder.resolve() / FOLDER


def _submit(
    folder: Path,
    name: str,
    arguments: tuple[Any, ...],
    before: Sequence[str],
    options: Mapping[str, str | bool],
) -> str:
    """Submit a job after others; returns its number. Raises InputError where Slurm refuses it."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(folder)
    executor.update_parameters(
        job_name=name.replace(" ", "_"),
        time=None,  # that of the options, or of the partition
        dependency=f"afterok:{':'.join(before)}" if before else None,
        stderr_to_stdout=True,
        srun_args=[f"--cpus-per-task={options['cpus_per_task']}"],  # srun does not take it from sbatch
        teardown=slurm_job.after_step(folder),
        additional_parameters={"kill_on_invalid_dep": "yes", "requeue": True, **options},
    )
    try:
        return executor.submit(slurm_job.do_task, *arguments).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line for line in str(error).splitlines() if "error:" in line] or [traceback.format_exc()]
        raise InputError(f"{name}: Slurm refuses its job ({lines[-1].strip()}): change --slurm") from None


def _ending(job: JobFiles) -> str:
    """How a job ended that left no result."""
    if job.deaths >= DEATHS:
        return (
            f"its job {job.id} died {DEATHS} times, perhaps for lack of memory (see {job.log}): ask for "
            "more, as by --slurm mem=16G, and run the same command again to resume"
        )
    state = slurm_queue.last_state(job.id)
    return (
        f"its job {job.id} ended without a result ({state}; see {job.log}): run the same command again to "
        "resume"
    )
