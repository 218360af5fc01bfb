"""Runs tasks in this process, one after another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robust_tickets.comparison.executors.base import Executor, Task

if TYPE_CHECKING:
    from robust_tickets.base.machine import Machine


class Inline(Executor):
    """Runs tasks in this process, in their order."""

    jobs = 1
    in_process = True

    def check(self) -> None:
        """Check nothing: this process is there."""

    def run(self, tasks: Sequence[Task], machine: "Machine", threads: int) -> None:
        """Run all tasks; errors are those of the tasks."""
        if not tasks:
            return
        with machine.progress.tasks([task.weight for task in tasks]) as progress:
            for i, task in enumerate(tasks):
                progress.begin(i, task.name)
                task.do(machine)
                progress.end(i, task.summary())


INLINE = Inline()
"""What runs tasks where no other executor is named."""
