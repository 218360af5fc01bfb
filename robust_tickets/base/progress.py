"""Progress of a stage on stderr: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
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

    def warn(self, text: str) -> None:
        """Show a warning."""


class Progress:
    """Shows lines and the progress of stages; this one shows nothing."""

    def log(self, line: str) -> None:
        """Show one line."""

    def log_once(self, line: str) -> None:
        """Show one line, unless it was shown before."""
        lines: set[str] = self.__dict__.setdefault("_lines", set())
        if line not in lines:
            lines.add(line)
            self.log(line)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        """Show the progress of a stage with that many steps, for the length of a `with` block."""
        yield StageProgress()


class SilentProgress(Progress):
    """Progress that is not shown."""


HEARTBEAT = 60.0
"""Seconds after which a stage without news says how far it is."""


class LineProgress(Progress):
    """A line an epoch, and a line a minute within a long one, with the passes a second and the time left.

    label: begins each line.
    """

    def __init__(self, label: str = "") -> None:
        self._label = label

    def log(self, line: str) -> None:
        complain(f"{self._label}{line}")

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        yield _LineStage(self, title, steps)


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
        self._lines.log(f"{self._title}: {text}  {self._passes / elapsed:,.0f} passes/s  {_clock(left)} left")

    def warn(self, text: str) -> None:
        self._lines.log(f"{self._title}: WARNING: {text}")


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
        self._log, self._bars, self._title = progress.log, bars, title
        self._task = bars.add_task(title, total=steps, state="", rate=0.0)
        self._begin = time.perf_counter()
        self._passes = 0

    def advance(self, steps: float, passes: int) -> None:
        self._passes += passes
        rate = self._passes / (time.perf_counter() - self._begin)
        self._bars.update(self._task, advance=steps, rate=rate)

    def note(self, text: str) -> None:
        self._bars.update(self._task, state=text)

    def warn(self, text: str) -> None:
        self._log(f"{self._title}: WARNING: {text}")


_shown = True


def show_progress(shown: bool) -> None:
    """Show the progress of all that is run from now on, or none of it; shown until this is called.

    Raises InputError for anything but True and False.
    """
    if not isinstance(shown, bool):
        raise InputError(f"show_progress takes True or False, got {shown!r:.80}")
    global _shown
    _shown = shown


def stderr_progress() -> Progress:
    """Bars if stderr is a terminal, lines if not, or whatever `show_progress` says."""
    if not _shown:
        return SilentProgress()
    stream = sys.stderr
    terminal = stream is not None and not stream.closed and stream.isatty()
    return BarProgress() if terminal else LineProgress()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
