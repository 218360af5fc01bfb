"""Progress of a stage on stderr: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.base.streams import complain

if TYPE_CHECKING:
    import rich.progress


class StageProgress:
    """Progress of one stage; this one shows nothing."""

    def advance(self, steps: float, passes: int) -> None:
        """Count steps that are done, and their passes; 0 passes if an earlier command did them."""

    def note(self, text: str) -> None:
        """Show a line on the state of the stage, once an epoch."""

    def part(self, name: str) -> None:
        """Name a part of the stage that is done: shown in a bar, and in no log."""

    def warn(self, text: str) -> None:
        """Show a warning."""


class Tasks:
    """How far a sequence of tasks is; this one shows nothing.

    weights: how long each takes, in any unit.
    """

    def __init__(self, weights: Sequence[float] = ()) -> None:
        self.weights = weights
        self.finished = 0
        self.done = 0.0
        self._left = sum(weights)
        self._begin = time.perf_counter()
        self._has_begun = False
        self._skipped = False

    def begin(self, number: int, name: str) -> None:
        """Count a task as running; number: its place in the sequence, from 0."""
        if not self._has_begun:  # before it, a cluster may have had to start
            self._has_begun, self._begin = True, time.perf_counter()

    def end(self, number: int, summary: str) -> None:
        """Count a task as finished; summary: what came of it, in a few words."""
        self.finished += 1
        weight = self.weights[number] if self.weights else 0.0
        self._left -= weight
        self.done += 0.0 if self._skipped else weight
        self._skipped = False

    def skip(self) -> None:
        """Say that an earlier command did the task that runs, which tells nothing of the pace."""
        self._skipped = True

    def time_left(self, share: float = 0.0) -> str:
        """The time that all tasks still take at the pace of those that are done, such as "about 4:10 left".

        share: of the next task that is done already. Empty before the first one is.
        """
        part = share * (self.weights[self.finished] if self.finished < len(self.weights) else 0.0)
        done = self.done + part
        if not done or self.finished == len(self.weights):
            return ""
        left = (time.perf_counter() - self._begin) * (self._left - part) / done
        return f"about {clock(left)} left"


class Progress:
    """Shows lines and the progress of stages; this one shows nothing."""

    def log(self, line: str) -> None:
        """Show one line."""

    def warn(self, text: str) -> None:
        """Show a warning as a line."""
        self.log(f"WARNING: {text}")

    def warn_once(self, text: str) -> None:
        """Show a warning, unless it was shown before."""
        texts: set[str] = self.__dict__.setdefault("_warnings", set())
        if text not in texts:
            texts.add(text)
            self.warn(text)

    def done_before(self, line: str) -> None:
        """Show a line on work that an earlier command did."""
        self.log(line)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        """Show the progress of a stage with that many steps, for the length of a `with` block."""
        yield StageProgress()

    @contextmanager
    def tasks(self, weights: Sequence[float]) -> Iterator[Tasks]:
        """Show how far tasks of these weights (see `Tasks`) are, for the length of a `with` block."""
        yield Tasks(weights)

    def of_child(self, label: str) -> "Progress":
        """The progress of a task in a process of its own; label: begins its lines."""
        return LineProgress(label)


class SilentProgress(Progress):
    """Progress that is not shown."""

    def of_child(self, label: str) -> Progress:
        return self


HEARTBEAT = 60.0
"""Seconds after which a stage without news says how far it is."""


class LineProgress(Progress):
    """A line an epoch, and a line a minute within a long one, with the passes a second and the time left.

    label: begins each line.
    """

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._tasks: Tasks | None = None

    def log(self, line: str) -> None:
        complain(f"{self._label}{line}")

    def done_before(self, line: str) -> None:
        self.log(line)
        if self._tasks is not None:
            self._tasks.skip()

    @contextmanager
    def tasks(self, weights: Sequence[float]) -> Iterator[Tasks]:
        self._tasks = _LineTasks(self, weights)
        try:
            yield self._tasks
        finally:
            self._tasks = None

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        yield _LineStage(self, title, steps)


class _LineTasks(Tasks):
    def __init__(self, lines: LineProgress, weights: Sequence[float]) -> None:
        super().__init__(weights)
        self._lines = lines
        self._names: dict[int, str] = {}

    def begin(self, number: int, name: str) -> None:
        super().begin(number, name)
        self._names[number] = name

    def end(self, number: int, summary: str) -> None:
        skipped = self._skipped
        super().end(number, summary)
        if skipped:  # which has its line
            return
        head = f"{self.finished} of {len(self.weights)} done"
        self._lines.log(
            "  ".join(filter(None, [f"{head}: {self._names[number]}", summary, self.time_left()]))
        )


class _LineStage(StageProgress):
    def __init__(self, lines: LineProgress, title: str, steps: float) -> None:
        self._lines, self._title, self._steps = lines, title, steps
        self._begin = time.perf_counter()
        self._done = self._done_here = 0.0
        self._passes = 0
        self._latest = self._begin

    def advance(self, steps: float, passes: int) -> None:
        self._done += steps
        self._done_here += steps if passes else 0  # an earlier command may have been faster
        self._passes += passes
        if time.perf_counter() - self._latest >= HEARTBEAT:
            self.note(f"{self._done / self._steps:.0%} done")

    def note(self, text: str) -> None:
        self._latest = time.perf_counter()
        elapsed = self._latest - self._begin
        left = elapsed / self._done_here * (self._steps - self._done) if self._done_here else 0.0
        rate = f"  {self._passes / elapsed:,.0f} passes/s" if self._passes else ""
        self._lines.log(f"{self._title}: {text}{rate}  {clock(left)} left")

    def warn(self, text: str) -> None:
        self._lines.warn(f"{self._title}: {text}")


class BarProgress(Progress):
    """Bars in a terminal, by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def log(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=12),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[state]}", markup=False),
            progress.TextColumn("{task.fields[rate]:,.0f} passes/s"),
        )
        with progress.Progress(*columns, console=self._console) as bars:
            yield _BarStage(self, bars, title, steps)


class _BarStage(StageProgress):
    def __init__(
        self, progress: BarProgress, bars: "rich.progress.Progress", title: str, steps: float
    ) -> None:
        self._warn, self._bars, self._title = progress.warn, bars, title
        self._task = bars.add_task(title, total=steps, state="", rate=0.0)
        self._begin = time.perf_counter()
        self._passes = 0

    def advance(self, steps: float, passes: int) -> None:
        self._passes += passes
        rate = self._passes / (time.perf_counter() - self._begin)
        self._bars.update(self._task, advance=steps, rate=rate)

    def note(self, text: str) -> None:
        self._bars.update(self._task, state=text)

    def part(self, name: str) -> None:
        self.note(name)

    def warn(self, text: str) -> None:
        self._warn(f"{self._title}: {text}")


_shown = True


def show_progress(shown: bool) -> None:
    """Show the progress of all that is run from now on, or none of it; shown until this is called.

    Raises InputError for anything but True and False.
    """
    if not isinstance(shown, bool):
        raise InputError(f"show_progress takes True or False, got {shown!r:.80}")
    global _shown
    _shown = shown


def stderr_progress(by_stage: bool = True) -> Progress:
    """Bars if stderr is a terminal, lines if not, or whatever `show_progress` says.

    by_stage: a bar for each stage; else one line for each task, such as the training of an arm with all its
        evaluations.
    """
    if not _shown:
        return SilentProgress()
    stream = sys.stderr
    terminal = stream is not None and not stream.closed and stream.isatty()
    if not terminal:
        return LineProgress()
    if by_stage:
        return BarProgress()
    from robust_tickets.base.task_progress import TaskProgress

    return TaskProgress()


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, such as "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
