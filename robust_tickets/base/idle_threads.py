"""How long OpenMP's idle threads spin before they sleep. OpenMP reads it from the environment, with torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_BOUND = "10000"
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def bound_spinning() -> None:
    """Bound the spinning in this process, before torch is loaded, unless the user has chosen something.

    Unbounded, it slows small networks many times beside another busy process (docs/speed.md).
    """
    if not set(_VARIABLES) & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = _BOUND


@contextmanager
def no_spinning_in_children() -> Iterator[None]:
    """Let idle threads of processes started in the block sleep at once, unless the user has chosen otherwise.

    Jobs that run at the same time then leave the cores to one another. GOMP_SPINCOUNT is removed from their
    environment, since libgomp prefers it to the policy.
    """
    before = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    if before in ({}, {"GOMP_SPINCOUNT": _BOUND}):
        os.environ.pop("GOMP_SPINCOUNT", None)
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        yield
    finally:
        for name in _VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(before)
