"""Ctrl-C and SIGTERM wait for a moment at which nothing is lost; a second one does not."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked: signal.Signals | None = None
_waiting = 0


class StopRequest(KeyboardInterrupt):
    """The process was asked to stop, by this signal."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(by.name)
        self.by = by


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """Where a signal ended the block, say how to go on and exit as programs do: 130 or 143."""
    try:
        yield
    except KeyboardInterrupt as error:
        by = error.by if isinstance(error, StopRequest) else signal.SIGINT
        print(
            f"robust-tickets: stopped by {by.name}; what is done is kept, and the same command goes on from "
            "there",
            file=sys.stderr,
        )
        sys.exit(128 + by)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Heed SIGINT and SIGTERM; for the main thread of a program, as a library leaves them alone."""
    before = {number: signal.signal(number, _heed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        global _asked
        _asked = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block a first signal waits for `check`, or for the block's end."""
    global _waiting
    _waiting += 1
    try:
        yield
    finally:
        _waiting -= 1
    raise_if_requested()


def stop_requested() -> bool:
    """Whether a signal waits."""
    return _asked is not None


def raise_if_requested() -> None:
    """Raise Stopped if a signal waits."""
    if _asked is not None:
        raise StopRequest(_asked)


def _heed(number: int, frame: FrameType | None) -> None:
    global _asked
    by = signal.Signals(number)
    if _waiting and _asked is None:
        _asked = by
        return
    raise StopRequest(by)
