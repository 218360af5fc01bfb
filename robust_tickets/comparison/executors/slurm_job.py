"""What a Slurm job does: a task, whose state it saves before Slurm ends it."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robust_tickets.base import signals, streams
from robust_tickets.base.errors import InputError
from robust_tickets.comparison.executors.attempts import attempt
from robust_tickets.comparison.executors.base import failure_text
from robust_tickets.comparison.executors.sending import read_task
from robust_tickets.comparison.executors.slurm_files import DEATHS, JobFiles
from robust_tickets.runs import locks

_ENDS_SOON = signal.SIGUSR2  # 90 seconds before the job's time is over, or its node is given to another job


def after_step(folder: Path) -> list[str]:
    """Lines of shell after a job's task: a task that died left no result, and its job is queued again.

    They then wait for Slurm, which ends them before it begins the job anew.
    """
    return [
        "status=$?",
        'job="$SLURM_JOB_ID"',
        f"cd {shlex.quote(str(folder))} || exit 1",
        'if [ $status -ne 0 ] && [ ! -e "${job}_0_result.pkl" ] && [ ! -e "$job.cancelled" ]; then',
        '    echo death >> "$job.deaths"',
        f'    [ "$(wc -l < "$job.deaths")" -lt {DEATHS} ] && scontrol requeue "$job" && sleep 3600',
        "fi",
        "exit $status",
    ]


def do_task(content: bytes, name: str, folder: str, import_path: Sequence[str]) -> None:
    """Do a task in a job's process.

    Its state is saved where Slurm asks the job to end. The job is queued again, unless its client wants it no
    more, and goes on from there.

    content: what to call and the machine to call it with, pickled.
    folder: where the task writes.
    import_path: where the client finds modules.

    Raises InputError with a line on what went wrong.
    """
    own = JobFiles(os.environ["SLURM_JOB_ID"], Path(os.environ["SUBMITIT_FOLDER"]))
    requests: list[int] = []
    for number in (signal.SIGTERM, _ENDS_SOON):
        signal.signal(number, lambda number, frame: requests.append(number))
    sys.path += [path for path in import_path if path not in sys.path]
    own.lines.touch()

    def send(line: str) -> None:
        with own.lines.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    locks.leave_to_parent()
    try:
        with signals.listening(lambda: bool(requests)), streams.lines_to(send):
            do, machine = read_task(content, f"the job {own.id}")
            with attempt(Path(folder), name):
                do(replace(machine, devices=()))  # "cuda" is the GPU that Slurm gave to this job
    except signals.StopRequest:
        if requests and not own.cancel_mark.exists():
            _wait_for_the_end(own.id, requests)
        sys.exit(0)  # its client has cancelled it, or a later attempt has taken its place
    except Exception as error:
        text = failure_text(error)
        if text is None:
            raise
        raise InputError(text) from None


def _wait_for_the_end(job: str, requests: Sequence[int]) -> None:
    """Have the job queued again; where Slurm itself ends it or queues it again, it sends SIGTERM before."""
    if _ENDS_SOON in requests:
        subprocess.run(["scontrol", "requeue", job], check=True)
    time.sleep(3600)
