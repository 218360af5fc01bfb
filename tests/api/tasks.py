"""Tasks that other processes can import."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine


@dataclass(frozen=True)
class Noting:
    """Writes when it began and ended into a folder, and how it ends."""

    folder: Path
    name: str
    ends: str = ""

    def __call__(self, machine: Machine) -> None:
        (self.folder / f"{self.name}.process").write_text(str(os.getpid()))
        (self.folder / f"{self.name}.begun").write_text(str(time.time()))
        machine.progress.log(f"{self.name} of {machine.jobs}")
        if self.ends == "wrong":
            raise InputError("it makes no sense")
        if self.ends == "full":
            raise OSError(28, "No space left on device", "some/file")
        if self.ends == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ends == "broken":
            raise RuntimeError("a fault of ours")
        if self.ends == "stubborn":
            with signals.deferred():  # as a step that never returns
                while True:
                    time.sleep(0.1)
                    if signals.stop_requested():
                        (self.folder / f"{self.name}.asked").touch()
        time.sleep(60 if self.ends == "long" else 0.5)
        (self.folder / f"{self.name}.ended").write_text(str(time.time()))

    def when(self, what: str) -> float:
        return float((self.folder / f"{self.name}.{what}").read_text())
