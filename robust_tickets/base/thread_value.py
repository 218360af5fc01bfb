"""A value that each thread has for itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class ThreadValue(Generic[T]):
    """A value that a block sets for its own thread; None in every other one."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def value(self) -> T | None:
        """What the innermost block of this thread has set."""
        return getattr(self._local, "value", None)

    @contextmanager
    def set_to(self, value: T) -> Iterator[None]:
        """Set the value for the length of a `with` block."""
        before = self.value
        self._local.value = value
        try:
            yield
        finally:
            self._local.value = before
