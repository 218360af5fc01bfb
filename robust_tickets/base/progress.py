"""What a person sees while it runs, on stderr: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class StageProgress:
    """Progress of one stage; this one is looked at by nobody."""

    def advance(self, steps: float, passes: int) -> None:
        """So many more steps are done, which took so many passes; none if an earlier command did them."""

    def note(self, text: str) -> None:
        """The state of things, said once an epoch."""

    def warn(self, text: str) -> None:
        """What is not as it should be."""


class Progress(ABC):
    """Where progress goes."""

    @abstractmethod
    def log(self, line: str) -> None:
        """One line, out of the ordinary course."""

    @abstractmethod
    def stage(self, title: str, steps: float) -> AbstractContextManager[StageProgress]:
        """A stage of so many steps, for the length of a `with` block."""


class SilentProgress(Progress):
    """Progress that nobody looks at."""

    def log(self, line: str) -> None:
        """Nothing."""

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        """A stage that says nothing."""
        yield StageProgress()


class LineProgress(Progress):
    """A line an epoch, with the rate and the time left: for logs. `label` stands before each."""

    def __init__(self, label: str = "") -> None:
        self._label = label

    def log(self, line: str) -> None:
        """Print the line, in one piece, as other processes may print too."""
        sys.stderr.write(f"{self._label}{line}\n")
        sys.stderr.flush()

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        """A stage that prints its notes."""
        yield _LineMeter(self, title, steps)


class _LineMeter(StageProgress):
    def __init__(self, lines: LineProgress, title: str, steps: float) -> None:
        self._lines, self._title, self._steps = lines, title, steps
        self._begin = time.perf_counter()
        self._done = self._done_here = 0.0
        self._passes = 0

    def advance(self, steps: float, passes: int) -> None:
        self._done += steps
        self._done_here += steps if passes else 0  # what was there already tells nothing of the time left
        self._passes += passes

    def note(self, text: str) -> None:
        elapsed = time.perf_counter() - self._begin
        left = elapsed / self._done_here * (self._steps - self._done) if self._done_here else 0.0
        self._lines.log(f"{self._title}: {text}  {self._passes / elapsed:,.0f} passes/s  {_clock(left)} left")

    def warn(self, text: str) -> None:
        self._lines.log(f"{self._title}: WARNING: {text}")


class BarProgress(Progress):
    """Bars in a terminal, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def log(self, line: str) -> None:
        """Print the line above the bar."""
        self._console.print(line, highlight=False, markup=False)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[StageProgress]:
        """A bar for this stage, which stays when it is done."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=12),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[state]}", markup=False),
            progress.TextColumn("{task.fields[rate]:,.0f} passes/s"),
        )
        with progress.Progress(*columns, console=self._console) as bars:
            task, say = bars.add_task(title, total=steps, state="", rate=0.0), self.log
            begin = time.perf_counter()
            passed = 0

            class BarMeter(StageProgress):
                def advance(self, steps: float, passes: int) -> None:
                    nonlocal passed
                    passed += passes
                    bars.update(task, advance=steps, rate=passed / (time.perf_counter() - begin))

                def note(self, text: str) -> None:
                    bars.update(task, state=text)

                def warn(self, text: str) -> None:
                    say(f"{title}: WARNING: {text}")

            yield BarMeter()


def stderr_progress() -> Progress:
    """Bars if stderr is a terminal, lines otherwise."""
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
