"""The executor that a command names."""

from robust_tickets.comparison.executors.base import Executor
from robust_tickets.comparison.executors.inline import Inline
from robust_tickets.comparison.executors.processes import Processes


def choose_executor(jobs: int = 1) -> Executor:
    """The executor of so many jobs at a time: this process, or others on this machine."""
    return Processes(jobs) if jobs > 1 else Inline()
