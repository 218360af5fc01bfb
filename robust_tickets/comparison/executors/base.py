"""What every executor does: it runs tasks, each after those that it waits for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robust_tickets.base.device_errors import device_message
from robust_tickets.base.errors import InputError

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine


@dataclass(frozen=True)
class Task:
    """A piece of work that leaves files.

    name: for messages.
    do: does it on a machine; it can be pickled, since that may be in another process.
    after: positions of the earlier tasks of its sequence that it waits for.
    label: begins the lines that it logs in another process.
    weight: how long it takes beside others, in any unit.
    summary: says what came of it, in a few words; called in this process when it is done.
    is_done: whether an earlier command did it, so that no process has to be started for it.
    folder: the run directory that it writes into; None: it writes into none.
    """

    name: str
    do: "Callable[[Machine], object]"
    after: tuple[int, ...] = ()
    label: str = ""
    weight: float = 1.0
    summary: Callable[[], str] = str
    is_done: Callable[[], bool] = bool
    folder: Path | None = None


def failure_text(error: Exception) -> str | None:
    """What to say of a task that failed, in a line; None for a fault of ours, which needs its traceback."""
    if isinstance(error, InputError):
        return device_message(error) or str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
    return device_message(error) if isinstance(error, RuntimeError | MemoryError) else None


class Executor(ABC):
    """Runs tasks that share nothing but files.

    jobs: how many tasks it runs at a time; 2 where that is not known beforehand, as on a cluster.
    is_here: whether tasks run on this machine.
    in_process: whether they run in this process.
    """

    jobs: int
    is_here: bool = True
    in_process: bool = False

    @abstractmethod
    def check(self) -> None:
        """End this process where it only imports the script that starts jobs; called before anything else.

        Raises InputError for an executor that cannot be used.
        """

    def check_devices(self, machine: "Machine") -> None:
        """Raise InputError where several devices are to share each training, and several trainings run."""
        if machine.world_size > 1 and not self.in_process:
            raise InputError(
                f"each training is to be shared by {machine.world_size} devices (--devices), and --jobs or "
                "--executor run several trainings at a time: leave one of them out"
            )

    @abstractmethod
    def run(self, tasks: Sequence[Task], machine: "Machine", threads: int) -> None:
        """Run all tasks.

        After a first failure, or a signal, running tasks save their state and end, and no other begins.

        machine: where they run, how they show their progress, and when they save their state.
        threads: CPU threads of a task.

        Raises InputError as the first task that fails does, and where one dies or cannot be sent elsewhere.
        """
