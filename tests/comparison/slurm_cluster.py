"""A Slurm cluster on this machine, for tests: its controller, a node, and the keeper of its keys."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])  # where Debian has daemons
IS_HERE = all(shutil.which(name, path=PATH) for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun"))

CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
KillWait=2
CompleteWait=0
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class SlurmCluster:
    """A controller and a node of two processors.

    settings: environment variables of those who use it.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path must be short
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key, config = self.folder / "munge.key", self.folder / "slurm.conf"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        ports = {"controller": free_port(), "node": free_port()}
        config.write_text(CONFIG.format(user=getpass.getuser(), folder=self.folder, **ports))
        self.settings = {"SLURM_CONF": str(config)}
        self._processes: list[subprocess.Popen[bytes]] = []
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        flags = [f"--key-file={key}", f"--socket={files['socket']}", f"--pid-file={files['pid']}"]
        flags += [f"--log-file={files['log']}", f"--seed-file={files['seed']}"]
        self._start("munged", "--foreground", "--force", *flags)
        wait_until(files["socket"].exists)
        self._start("slurmctld", "-D", "-f", str(config))
        self._start("slurmd", "-D", "-N", "localhost", "-f", str(config))
        wait_until(lambda: "idle" in self.ask("sinfo", "--noheader", "--format=%T"))

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        env = os.environ | self.settings
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout

    def jobs(self) -> list[str]:
        """The numbers of the jobs that have not ended."""
        return self.ask("squeue", "--me", "--noheader", "--format=%i").split()

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("wb") as out:
            env = os.environ | self.settings | {"PATH": PATH}
            program = shutil.which(command[0], path=PATH)
            words = [str(program), *command[1:]]
            self._processes.append(subprocess.Popen(words, env=env, stdout=out, stderr=out))

    def close(self) -> None:
        self.ask("scancel", "--me", "--signal=KILL", "--full")
        self.ask("scancel", "--me")
        end = time.monotonic() + 10
        while self.jobs() and time.monotonic() < end:
            time.sleep(0.2)
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
