"""Ctrl-C and SIGTERM: the first waits until nothing is lost by stopping, a second stops at once."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from robust_tickets.base.streams import complain
from robust_tickets.base.thread_value import ThreadValue

_signal: signal.Signals | None = None
_deferrals = 0
_unwanted: ThreadValue[Callable[[], bool]] = ThreadValue()


class StopRequest(KeyboardInterrupt):
    """A signal asked the process to stop, or whoever has the work done wants it no more."""

    def __init__(self, signal_: signal.Signals) -> None:
        super().__init__(signal_.name)
        self.signal = signal_


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """If a signal ends the block, print how to resume and exit with 130 or 143, as other programs do."""
    try:
        yield
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, StopRequest) else signal.SIGINT
        complain(f"robust-tickets: stopped by {number.name}; run the same command again to resume")
        sys.exit(128 + number)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Handle SIGINT and SIGTERM within the block; for programs alone, in their main thread."""
    before = {number: signal.signal(number, _handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        global _signal
        _signal = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Let a first signal wait until `raise_if_requested` is called, or until the end of the block."""
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
    raise_if_requested()


@contextmanager
def no_interrupts_in_children() -> Iterator[None]:
    """Let processes and threads that start in the block never hear of Ctrl-C, where the system can.

    A terminal sends it to all processes at once, but it is for this one, which stops the others as it
    should. It comes after the block where it was pressed within.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker  # there is none where there are no masks

    resource_tracker.ensure_running()  # once started, by whichever thread, it would lift the block there
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listening(is_unwanted: Callable[[], bool]) -> AbstractContextManager[None]:
    """Stop the work of the block as a signal would when it is no longer wanted; for this thread alone.

    For threads, which get no signals.
    """
    return _unwanted.set_to(is_unwanted)


def stop_requested() -> bool:
    """Whether a signal is waiting, or the work of this thread is no longer wanted."""
    return _signal is not None or _is_unwanted()


def raise_if_requested() -> None:
    """Raise StopRequest if a signal is waiting, or the work of this thread is no longer wanted."""
    if _signal is not None:
        raise StopRequest(_signal)
    if _is_unwanted():
        raise StopRequest(signal.SIGTERM)


def _is_unwanted() -> bool:
    return _unwanted.value is not None and _unwanted.value()


def _handle(number: int, frame: FrameType | None) -> None:
    global _signal
    wait = _deferrals > 0 and _signal is None
    _signal = signal.Signals(number)  # also if it is raised now: Python ignores exceptions in some callbacks
    if not wait:
        raise StopRequest(_signal)
