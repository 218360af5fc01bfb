"""Kills, stops and pauses the parts of a Dask cluster at random moments of a comparison.

    python -m benchmarks.soak_cluster [--trials 20] --out runs/bench/soak-cluster

A trial starts a scheduler and two workers on this machine and gives them a comparison on digits. At a random
moment it disturbs a worker, the client or the scheduler, starts anew what is gone, gives the same command
again if it ended, and compares all files with those of an undisturbed run, as benchmarks/soak.py does. Writes
trials.jsonl (a stopped soak resumes) and soak.md.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.measuring import Records, machine
from benchmarks.soak import COMMON, artefacts
from robust_tickets.runs.files import write_text

COMMAND = f"compare {COMMON} --train.epochs 60 --train.ticket-epochs 30 --scheduler-file scheduler.json"
SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}
LIMIT = 300.0
"""Seconds that a client may take."""

DISTURBANCES = (
    "worker killed",
    "worker terminated",
    "worker paused and woken",
    "client killed",
    "client interrupted",
    "scheduler killed",
)


@dataclass(frozen=True)
class Settings:
    """The number of trials."""

    out: Path = Path("runs/bench/soak-cluster")
    """folder of the trials and the table"""
    trials: int = 20
    """trials"""
    seed: int = 0
    """seed of moments and parts"""


class Cluster:
    """A scheduler and two workers, whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start_scheduler()
        for _ in range(2):
            self.add_worker()

    def add_worker(self) -> None:
        flags = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--scheduler-file", "scheduler.json")
        self.workers.append(self._start("worker", *flags))

    def _start_scheduler(self) -> "subprocess.Popen[bytes]":
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        flags = ("--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", "scheduler.json")
        process = self._start("scheduler", *flags)
        while not file.exists():
            time.sleep(0.1)
        return process

    def _start(self, program: str, *flags: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", *flags]
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=os.environ | SETTINGS, stderr=log, stdout=log
            )

    def client(self) -> "subprocess.Popen[bytes]":
        """Give the command."""
        with (self.folder / "client.log").open("ab") as log:
            command = [sys.executable, "-m", "robust_tickets", *COMMAND.split()]
            return subprocess.Popen(
                command, cwd=self.folder, env=os.environ | SETTINGS, stderr=log, stdout=log
            )

    def disturb(self, kind: str, client: "subprocess.Popen[bytes]", rng: random.Random) -> None:
        """Disturb a part, and start anew what is gone of the cluster."""
        part, _, deed = kind.partition(" ")
        if part == "client":
            client.send_signal(signal.SIGKILL if deed == "killed" else signal.SIGINT)
            return
        if part == "scheduler":
            self.scheduler.kill()
            for worker in self.workers:  # they would look for it for a while
                worker.terminate()
            self.workers.clear()
            client.wait(LIMIT)
            self.scheduler = self._start_scheduler()
            self.add_worker()
            self.add_worker()
            return
        worker = rng.choice(self.workers)
        if deed == "paused and woken":
            worker.send_signal(signal.SIGSTOP)
            time.sleep(8)
            worker.send_signal(signal.SIGCONT)
            return
        self.workers.remove(worker)
        worker.send_signal(signal.SIGKILL if deed == "killed" else signal.SIGTERM)
        self.add_worker()

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def undisturbed(folder: Path) -> tuple[dict[str, Any], float]:
    """The artefacts of a run that nothing disturbs, and its seconds."""
    cluster = Cluster(folder)
    try:
        begin = time.monotonic()
        if cluster.client().wait(LIMIT):
            sys.exit((folder / "client.log").read_text(encoding="utf-8"))
        return artefacts(folder / "runs"), time.monotonic() - begin
    finally:
        cluster.close()


def trial(
    folder: Path, kind: str, whole: dict[str, Any], seconds: float, rng: random.Random
) -> dict[str, Any]:
    """Disturb a run, give its command again until it ends well, and compare."""
    cluster = Cluster(folder)
    try:
        client = cluster.client()
        moment = rng.uniform(0.3, 0.9) * seconds
        try:
            client.wait(moment)
        except subprocess.TimeoutExpired:
            cluster.disturb(kind, client, rng)
        calls, status = 1, client.wait(LIMIT)
        while status and calls < 4:
            calls, status = calls + 1, cluster.client().wait(LIMIT)
    finally:
        cluster.close()
    end = artefacts(folder / "runs")
    differences = [name for name in sorted({*end, *whole}) if end.get(name) != whole.get(name)]
    return {"moment": round(moment, 1), "calls": calls, "status": status, "differences": differences[:5]}


def table(records: Records) -> str:
    """The trials as a table."""
    about, *trials = records.all()
    lines = ["| disturbance | trials | calls of the command | same result |", "| --- | ---: | ---: | ---: |"]
    for kind in dict.fromkeys(record["disturbance"] for record in trials):
        group = [record for record in trials if record["disturbance"] == kind]
        same = sum(not record["status"] and not record["differences"] for record in group)
        lines.append(f"| {kind} | {len(group)} | {sum(r['calls'] for r in group)} | {same} |")
    return "\n".join([*lines, "", f"Machine: {about['machine']}; seed {about['seed']}.", ""])


def main(settings: Settings) -> None:
    """Run the missing trials and write the table. Exits with 1 where a trial differs."""
    records = Records(settings.out / "trials.jsonl")
    records.begin({"machine": machine(1), "seed": settings.seed})
    with tempfile.TemporaryDirectory() as name:
        start = Path(name) / "whole"
        start.mkdir()
        whole, seconds = undisturbed(start)
        for number in range(settings.trials):
            if records.has(number=number):
                continue
            kind = DISTURBANCES[number % len(DISTURBANCES)]
            folder = Path(name) / str(number)
            folder.mkdir()
            result = trial(folder, kind, whole, seconds, random.Random(f"{settings.seed} {number}"))
            records.add({"disturbance": kind, "number": number, **result})
            print(f"{number}, {kind}: {result}", flush=True)
            if not result["differences"] and not result["status"]:
                shutil.rmtree(folder)
            else:
                shutil.copytree(folder, settings.out / f"trial-{number}", dirs_exist_ok=True)
    write_text(settings.out / "soak.md", table(records))
    print(settings.out / "soak.md")
    if any(record["status"] or record["differences"] for record in records.all()[1:]):
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
