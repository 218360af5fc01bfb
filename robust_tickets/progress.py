"""What a person sees while it runs, on stderr: a bar in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Meter(Protocol):
    """Progress of one stage."""

    def advance(self, steps: float, passes: int) -> None:
        """So many more steps are done, which took so many passes."""

    def note(self, text: str) -> None:
        """The state of things, said once an epoch."""


class Progress(Protocol):
    """Where progress goes."""

    def say(self, line: str) -> None:
        """One line, out of the ordinary course."""

    def stage(self, title: str, steps: float) -> "ContextMeter":
        """A stage of so many steps begins."""


class ContextMeter(Protocol):
    """A meter for the length of a `with` block."""

    def __enter__(self) -> Meter:
        """The stage begins."""

    def __exit__(self, *error: object) -> bool | None:
        """The stage ends."""


class Silent:
    """Progress that nobody looks at."""

    def say(self, line: str) -> None:
        """Nothing."""

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[Meter]:
        """A stage that says nothing."""
        yield _Quiet()


class _Quiet:
    def advance(self, steps: float, passes: int) -> None: ...

    def note(self, text: str) -> None: ...


class Lines:
    """A line an epoch, with the rate and the time left: for logs."""

    def say(self, line: str) -> None:
        """Print the line."""
        print(line, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[Meter]:
        """A stage that prints its notes."""
        yield _LineMeter(self, title, steps)


class _LineMeter:
    def __init__(self, lines: Lines, title: str, steps: float) -> None:
        self._lines, self._title, self._steps = lines, title, steps
        self._begin = time.perf_counter()
        self._done = 0.0
        self._passes = 0

    def advance(self, steps: float, passes: int) -> None:
        self._done += steps
        self._passes += passes

    def note(self, text: str) -> None:
        elapsed = time.perf_counter() - self._begin
        left = elapsed / self._done * (self._steps - self._done) if self._done else 0.0
        rate = self._passes / elapsed
        self._lines.say(f"{self._title}: {text}  {rate:,.0f} passes/s  {_clock(left)} left")


class Bars:
    """Bars in a terminal, drawn by rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    def say(self, line: str) -> None:
        """Print the line above the bar."""
        self._console.print(line, highlight=False, markup=False)

    @contextmanager
    def stage(self, title: str, steps: float) -> Iterator[Meter]:
        """A bar for this stage, which stays when it is done."""
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TextColumn("{task.fields[rate]:,.0f} passes/s"),
            TimeRemainingColumn(compact=True),
        )
        with RichProgress(*columns, console=self._console) as bar:
            task = bar.add_task(title, total=steps, state="", rate=0.0)
            begin = time.perf_counter()
            passed = 0

            class BarMeter:
                def advance(self, steps: float, passes: int) -> None:
                    nonlocal passed
                    passed += passes
                    bar.update(task, advance=steps, rate=passed / max(time.perf_counter() - begin, 1e-9))

                def note(self, text: str) -> None:
                    bar.update(task, state=text)

            yield BarMeter()


def for_stderr() -> Progress:
    """Bars if stderr is a terminal, lines otherwise."""
    return Bars() if sys.stderr.isatty() else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
