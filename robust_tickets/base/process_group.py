"""The processes that share each training and each evaluation, one on each device."""

import gc
import importlib
import io
import os
import pickle
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch
from robust_tickets.base.machine_load import count_as_own

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_OWN_MODULE = "robust_tickets.base.follower"
_PATIENCE = timedelta(days=30)
_FAILURES = (RuntimeError, OSError)  # of a collective whose peer is gone


class ProcessGroup:
    """One process of several that compute the same training, each on its share of every batch.

    The leader, rank 0, runs the program; the others do nothing but the parts that it calls. Every method but
    `part` is a collective: all processes call it, in the same order.

    rank: number of this process.
    size: how many there are; 1: this process is alone, and each method gives back what it was given.
    device: torch device of this process.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, device

    @property
    def is_leader(self) -> bool:
        """Whether this process runs the program."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """The places of this process's share among so many samples, which the size divides."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: "Tensor") -> "Tensor":
        """The sum over all processes of a tensor of the same shape."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        self._do(lambda: _distributed().all_reduce(total))
        return total

    def mean(self, values: "Tensor") -> "Tensor":
        """The mean over all processes of a tensor of the same shape."""
        return values if self.size == 1 else self.sum(values) / self.size

    def gather(self, values: "Tensor") -> "Tensor":
        """The shares of all processes, one after another: (B / size, ...) to (B, ...)."""
        if self.size == 1:
            return values
        values = values.detach().contiguous()
        shares = [torch.empty_like(values) for _ in range(self.size)]
        self._do(lambda: _distributed().all_gather(shares, values))
        return torch.cat(shares)

    def gather_objects(self, value: T) -> list[T]:
        """What each process gave, by rank; anything that can be pickled."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        self._do(lambda: _distributed().all_gather_object(values, value, _on_hosts()))
        return values

    def share(self, value: T) -> T:
        """What the leader gave; anything that can be pickled."""
        if self.size == 1:
            return value
        box: list[Any] = [value if self.is_leader else None]
        self._do(lambda: _distributed().broadcast_object_list(box, 0, _on_hosts()))
        result: T = box[0]
        return result

    def share_flag(self, flag: bool) -> bool:
        """The leader's answer to a question of each step."""
        if self.size == 1:
            return flag
        answer = torch.tensor([flag], dtype=torch.uint8)  # on the host: no GPU waits
        self._do(lambda: _distributed().broadcast(answer, 0, _on_hosts()))
        return bool(answer)

    def copy_from_leader(self, tensors: "Sequence[Tensor]") -> None:
        """Give tensors, in place, the values that they have in the leader."""
        if self.size > 1:
            for tensor in tensors:
                self._do(lambda tensor=tensor: _distributed().broadcast(tensor, 0))  # type: ignore[misc]

    def call(self, function: str, *arguments: Any) -> None:
        """Let the other processes call a function of this package with this group and these arguments.

        function: as "package.module:name". The leader goes on at once, with its own part.
        Raises CannotBeSentError for arguments that cannot be pickled, or that another process cannot read.
        """
        if self.size == 1:
            return
        content = _pickled(arguments)
        self.share(function)
        self._broadcast_bytes(content)
        problems = [text for text in self.gather_objects("") if text]
        if problems:
            raise CannotBeSentError(f"another process cannot read the network: {problems[0]}")

    def follow(self) -> None:
        """Run what the leader calls until it calls nothing more. Of all other processes."""
        while True:
            function = self.share("")
            if not function:
                self._say_goodbye()
                return
            content = self._broadcast_bytes(b"")
            problem, arguments = "", ()
            try:
                # from the leader of these processes, and no file
                arguments = torch.load(io.BytesIO(content), map_location=self.device, weights_only=False)
            except Exception as error:  # whatever the user's module or its classes raise
                own = _OWN_MODULE in str(error)  # where pickle looks for classes of the leader's script
                reason = "a part of it is defined in the script itself" if own else f"{error}"
                problem = f"{reason}: define it in a module that a new process can import"
            if any(self.gather_objects(problem)):
                continue
            module, _, name = function.partition(":")
            try:
                getattr(importlib.import_module(module), name)(self, *arguments)
            except InputError:  # the leader has raised it too, and tells of it
                continue

    def dismiss(self) -> None:
        """Let the other processes end. Of the leader."""
        self.share("")
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Leave the group once all have heard that this is the end: none may close its connections before."""
        with suppress(LostPeerError):  # of one that has heard of all others, and is gone
            self.gather_objects("")
        leave()  # else its threads are still there when Python ends, which aborts

    def _broadcast_bytes(self, content: bytes) -> bytes:
        length = self.share(len(content))
        box = torch.empty(length, dtype=torch.uint8)
        if self.is_leader:
            box = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._do(lambda: _distributed().broadcast(box, 0, _on_hosts()))
        return content if self.is_leader else box.numpy().tobytes()

    def _do(self, collective: Callable[[], object]) -> None:
        """Raises LostPeerError where another process has ended."""
        try:
            collective()
        except _FAILURES as error:
            raise LostPeerError(str(error)) from error


class LostPeerError(Exception):
    """Another process of the group has ended, in the midst of shared work.

    No InputError, which the stages of a training take for a fault of its network.
    """


class CannotBeSentError(InputError):
    """Something cannot be sent to other processes, or read there. They wait for the next call."""


ALONE = ProcessGroup()
"""The group of a process that trains and evaluates by itself."""


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed


def _on_hosts() -> Any:
    """The group of the same processes over tensors in host memory."""
    return _joined[0]


_joined: list[Any] = []  # of the group that this process is in: that over host memory; None: there is but one


def join(store: Any, rank: int, size: int, device: str) -> ProcessGroup:
    """Join the processes that meet at a store of torch.distributed, or by torchrun's environment (None).

    Raises InputError where this process is in a group of its own.
    """
    distributed = _distributed()
    if distributed.is_initialized():
        raise InputError(
            "this process has called torch.distributed.init_process_group, and devices need a group of their "
            "own: leave out devices, or destroy that group first"
        )
    on_gpus = device.startswith("cuda")
    # the others wait as long as the leader does something else; in GPUs' groups nobody waits long
    patience = {} if on_gpus else {"timeout": _PATIENCE}
    backend = "nccl" if on_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, **patience)
    _joined.append(distributed.new_group(backend="gloo", timeout=_PATIENCE) if on_gpus else None)
    group = ProcessGroup(rank, size, device)
    here = socket.gethostname()
    peers = group.gather_objects((here, os.getpid()))
    count_as_own([pid for host, pid in peers if host == here and pid != os.getpid()])
    return group


def leave() -> None:
    """Leave the group whose other processes have ended, or are about to."""
    if not _joined:
        return
    gc.collect()  # reference cycles of ended trainings hold the group, and its threads with it
    if _joined.pop() is not None:  # a GPU may still wait for the others
        _distributed().distributed_c10d._abort_process_group()
    else:
        _distributed().destroy_process_group()


def _pickled(value: Any) -> bytes:
    content = io.BytesIO()
    try:
        torch.save(value, content)
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
        raise CannotBeSentError(
            "the network cannot be sent to the processes of other devices "
            f"({str(error).splitlines()[0]:.120}): build it of classes and functions of modules, without "
            "lambdas, or use one device"
        ) from None
    return content.getvalue()
