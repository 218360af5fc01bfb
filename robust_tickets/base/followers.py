"""Starts the other processes of a group, on this machine or as torchrun has started them."""

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NoReturn

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine_load import count_as_own
from robust_tickets.base.process_group import (
    ALONE,
    CannotBeSentError,
    LostPeerError,
    ProcessGroup,
    join,
    leave,
)

_START_SECONDS = 300  # of a process that imports torch on a busy machine
_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 5.0  # of a process that breaks off a connection because it ends
_RANK, _SIZE, _LOCAL = "RANK", "WORLD_SIZE", "LOCAL_RANK"  # what torchrun sets


class _Local:
    """Processes of this machine, one for each device but the first.

    devices: torch devices, this process's first.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)
        self._children: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        store = tcp_store(0, is_leader=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        for rank, device in enumerate(devices[1:], 1):
            words = [str(store.port), str(rank), str(len(devices)), device]
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
            child = subprocess.Popen(
                [sys.executable, "-m", "robust_tickets.base.follower", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is the leader's to heed
            )
            self._children.append((child, errors))
        self._store = store

    def join(self) -> ProcessGroup:
        """The group of these processes. Raises InputError where one has ended."""
        try:
            self._wait()
            return join(self._store, 0, len(self.devices), self.devices[0])
        except BaseException as error:
            failure = self.failure(_LAST_WORDS_SECONDS) if isinstance(error, LostPeerError) else ""
            self.end()
            if failure:
                raise InputError(failure) from error
            raise

    def _wait(self) -> None:
        """Wait until all have imported what they need."""
        end = time.monotonic() + _START_SECONDS
        missing = {f"ready-{rank}" for rank in range(1, len(self.devices))}
        while missing := {key for key in missing if not self._store.check([key])}:
            failure = self.failure()
            if failure:
                raise InputError(failure)
            if time.monotonic() > end:
                raise InputError(f"the processes of {len(self.devices)} devices do not start: use fewer")
            time.sleep(_POLL_SECONDS)

    def failure(self, seconds: float = 0.0) -> str:
        """Which process has ended, and its last words, in a line; "": none has, in so many seconds."""
        end = time.monotonic() + seconds
        while self.are_alive and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        for (child, errors), device in zip(self._children, self.devices[1:], strict=True):
            if child.poll() is not None:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else f"status {child.returncode}"
                return f"the process of device {device} has ended: {reason}"
        return ""

    @property
    def are_alive(self) -> bool:
        """Whether all processes run."""
        return all(child.poll() is None for child, _ in self._children)

    def end(self) -> None:
        """End the processes at once."""
        for child, errors in self._children:
            child.kill()
            child.wait()
            errors.close()
        self._children.clear()
        count_as_own([])
        leave()


def tcp_store(port: int, *, is_leader: bool) -> Any:
    """The store at which the processes of this machine meet; port: 0: any."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore("127.0.0.1", port, is_master=is_leader, wait_for_workers=False)


@dataclass
class _State:
    """The group that this process leads.

    group: None: it leads none.
    local: its processes, where they were started here.
    torchrun: how many torchrun has started, where this process leads them; 1: it does not.
    out_of_step: whether an error has left the processes of torchrun in the midst of shared work.
    """

    group: ProcessGroup | None = None
    local: _Local | None = None
    torchrun: int = 1
    out_of_step: bool = False


_state = _State()


def torchrun_rank() -> int | None:
    """The number that torchrun gave this process; None where it is alone, or was started otherwise."""
    if int(os.environ.get(_SIZE, "1")) < 2 or not {_RANK, "MASTER_ADDR"} <= set(os.environ):
        return None
    return int(os.environ[_RANK])


def torchrun_size() -> int:
    """How many processes of torchrun this one leads, itself among them; 1: it leads none.

    A script that torchrun has started, and that calls this package, has processes of its own.
    """
    return _state.torchrun


def process_group(devices: Sequence[str]) -> ProcessGroup:
    """The group of these devices with this process as its leader; it lives until `end_followers`.

    devices: torch devices, this process's first. Under torchrun its processes are the group.

    Raises InputError where a process does not start.
    """
    if _state.torchrun > 1:
        if _state.out_of_step:
            raise LostProcessError(
                "an error has left the processes of torchrun out of step: give the same command again"
            )
        if _state.group is None:
            _state.group = join(None, 0, _state.torchrun, devices[0])
        return _state.group
    if len(devices) == 1:
        return ALONE
    local = _state.local
    if local is None or local.devices != tuple(devices) or not local.are_alive or _state.group is None:
        end_followers()
        local = _Local(devices)
        _state.group, _state.local = local.join(), local
        atexit.register(end_followers)
    return _state.group


def end_followers() -> None:
    """End the processes that were started here; the next group starts new ones."""
    local, _state.local = _state.local, None
    if local is not None:
        _state.group = None
        local.end()


@contextmanager
def shared_work(group: ProcessGroup, *harmless: type[Exception]) -> Iterator[None]:
    """A block that all processes of a group work on: an error in this one alone leaves them out of step.

    Processes that were started here are then ended; those of torchrun do nothing more.

    harmless: errors that all processes raise alike.
    """
    try:
        yield
    except BaseException as error:
        if group.size == 1 or not group.is_leader or isinstance(error, (CannotBeSentError, *harmless)):
            raise
        is_lost = isinstance(error, LostPeerError) or _names_backend(error)
        local = _state.local
        failure = local.failure(_LAST_WORDS_SECONDS) if local is not None and is_lost else ""
        _state.out_of_step = local is None
        end_followers()
        if not is_lost:
            raise
        what = failure or "a process of another device has ended"
        raise LostProcessError(f"{what}: give the same command again to resume") from error


class LostProcessError(InputError):
    """Another process has ended, and the group with it."""


def _names_backend(error: BaseException) -> bool:
    """Whether an error is of the connection between processes, as DDP raises it within a backward pass."""
    return isinstance(error, RuntimeError) and any(name in str(error) for name in ("gloo", "NCCL"))


def lead_torchrun(words: Sequence[str]) -> None:
    """Let torchrun's other processes end when this one does, also where it had nothing for them to do.

    words: of the command line.
    """
    import torch.distributed  # noqa: F401 - at the exit it would be too late

    _state.torchrun = int(os.environ[_SIZE])

    def dismiss() -> None:
        if _state.out_of_step:
            leave()
        else:
            process_group([_device(words)]).dismiss()

    atexit.register(dismiss)


def follow_torchrun(words: Sequence[str]) -> NoReturn:
    """Be one of torchrun's other processes, on the CPU or the GPU of its number on its machine.

    words: of the command line, which says what kind of device.
    """
    from robust_tickets.base.follower import follow

    follow(None, int(os.environ[_RANK]), int(os.environ[_SIZE]), _device(words))


def _device(words: Sequence[str]) -> str:
    """The device of this process of torchrun: of the kind that the command line names."""
    given = [word.partition("=")[2] for word in words if word.startswith("--device=")]
    given += [word for flag, word in pairwise(words) if flag == "--device"]
    kind = (given or ["cpu"])[-1].partition(":")[0]
    return kind if kind == "cpu" else f"{kind}:{os.environ.get(_LOCAL, '0')}"
