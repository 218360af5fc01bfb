"""Progress of a sequence of tasks, as the arms of a comparison: a line each, and the time that is left."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets.base.progress import BarProgress, Progress, StageProgress, Tasks, clock
from robust_tickets.base.streams import complain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class QuietProgress(Progress):
    """Shows warnings alone."""

    def warn(self, text: str) -> None:
        complain(f"WARNING: {text}")

    @contextmanager
    def stage(self, title: str, steps: float) -> "Iterator[StageProgress]":
        yield _Warnings(self.warn, title)


class _Warnings(StageProgress):
    def __init__(self, warn: Callable[[str], None], title: str) -> None:
        self._warn, self._title = warn, title

    def warn(self, text: str) -> None:
        self._warn(f"{self._title}: {text}")


class TaskProgress(BarProgress):
    """A line for each task that is done, and bars of those that run; for a terminal.

    Outside of tasks, stages have bars of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tasks: _BarTasks | None = None

    @contextmanager
    def tasks(self, weights: Sequence[float]) -> "Iterator[Tasks]":
        """Show how far so many tasks are, for the length of a `with` block.

        weights: how long each takes, in any unit.
        """
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=12),
            progress.TextColumn("{task.fields[state]}", markup=False),
        )
        with progress.Progress(*columns, console=self._console, transient=True) as bars:
            self._tasks = _BarTasks(bars, weights)
            try:
                yield self._tasks
            finally:
                self._tasks = None

    @contextmanager
    def stage(self, title: str, steps: float) -> "Iterator[StageProgress]":
        if self._tasks is None:
            with super().stage(title, steps) as stage:
                yield stage
        else:
            yield _TaskStage(self._tasks, self.warn, title, steps)

    def done_before(self, line: str) -> None:
        if self._tasks is None:
            self.log(line)
        else:
            self._tasks.skip()

    def of_child(self, label: str) -> Progress:
        """Children show warnings alone, as other lines would tear the bars."""
        return QuietProgress()


@dataclass
class _Row:
    """A task that runs."""

    name: str
    begin: float
    bar: "TaskID"


class _BarTasks(Tasks):
    def __init__(self, bars: "Bars", weights: Sequence[float]) -> None:
        super().__init__(weights)
        self._bars = bars
        self._rows: dict[int, _Row] = {}
        self._all = bars.add_task(self._description, total=sum(weights), state="")

    def begin(self, number: int, name: str) -> None:
        super().begin(number, name)
        bar = self._bars.add_task(f"{self._place} {name}", total=None, state="")
        self._rows[number] = _Row(name, time.perf_counter(), bar)

    def end(self, number: int, summary: str) -> None:
        row = self._rows.pop(number)
        self._bars.remove_task(row.bar)
        super().end(number, summary)
        took = clock(time.perf_counter() - row.begin)
        text = f"{self._place} {row.name:<28} {summary:<40} {took}"
        self._bars.console.print(text.rstrip(), highlight=False, markup=False)
        self.update()

    def update(self, share: float = 0.0) -> None:
        """Show how far all are; share: of the task that runs, where there is one."""
        done = self.done + share * sum(self.weights[number] for number in self._rows)
        self._bars.update(
            self._all, description=self._description, completed=done, state=self.time_left(share)
        )

    @property
    def _place(self) -> str:
        """The number of the task that began or ended last, such as "3/14"."""
        return f"{self.finished + len(self._rows):>{len(str(len(self.weights)))}}/{len(self.weights)}"

    @property
    def _description(self) -> str:
        return f"{self.finished} of {len(self.weights)} done"

    def show(self, title: str, completed: float, total: float, state: str) -> None:
        """Show a stage of the task that runs, in its line."""
        for row in self._rows.values():  # one alone: those of other processes show none
            what = title.partition(": ")[2]
            text = f"{row.name}: {what}" if what else row.name
            self._bars.update(
                row.bar, description=f"{self._place} {text}", completed=completed, total=total, state=state
            )


class _TaskStage(StageProgress):
    """A stage within the line of its task; the first one, the training, tells how far the task is."""

    def __init__(self, tasks: _BarTasks, warn: Callable[[str], None], title: str, steps: float) -> None:
        self._tasks, self._warn, self._title, self._steps = tasks, warn, title, steps
        self._done, self._state = 0.0, ""
        self._show()

    def advance(self, steps: float, passes: int) -> None:
        self._done += steps
        self._show()
        if ": " not in self._title:
            self._tasks.update(self._done / self._steps)

    def note(self, text: str) -> None:
        self._state = text
        self._show()

    def part(self, name: str) -> None:
        self.note(name)

    def warn(self, text: str) -> None:
        self._warn(f"{self._title}: {text}")

    def _show(self) -> None:
        self._tasks.show(self._title, self._done, self._steps, self._state)
