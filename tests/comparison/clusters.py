"""Dask clusters on this machine, for tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tasks import wait_for

from robust_tickets.comparison.executors.dask import Dask

PATH = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
"""Where processes of a cluster find the package and what tests send to them."""


class Cluster:
    """A scheduler and workers, each a process as a user would start it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._env = os.environ | {"PYTHONPATH": PATH} | settings
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        place = ("--port", "0", "--host", "127.0.0.1", "--scheduler-file", self.file)
        self.scheduler = self._start("scheduler", "--no-dashboard", *place)
        wait_for(self.file)

    def add_worker(self, *flags: str) -> subprocess.Popen[bytes]:
        return self._start(
            "worker", "--nthreads", "1", "--no-dashboard", *flags, "--scheduler-file", self.file
        )

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + str(words[0]), *map(str, words[1:])]
        process = subprocess.Popen(command, env=self._env, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def executor(self) -> Dask:
        return Dask(scheduler_file=self.file)

    def close(self) -> None:
        for process in reversed(self.processes):  # the scheduler last, to which workers say goodbye
            process.send_signal(signal.SIGCONT)  # a test may have paused it
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
