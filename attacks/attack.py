"""What every attack is: settings first, then a call on a net, images and labels."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.blocks import Blocks, InputError, Net
from attacks.threat import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    `images` (N, C, H, W) is the last iterate (over restarts: the one of highest loss; once a sample is broken
    and `stop_when_broken` is set: the iterate that broke it). `broken` (N,) is True where an iterate inside
    ball and box was misclassified; it is None where no verdict was asked for. `forwards` and `backwards`
    count samples through the net; every backward is to the input only.

    `by` (N,) is which attack of an ensemble broke a sample, -1 where none did; None for other attacks.
    `outside` counts the samples for which a foreign attack gave an image outside ball or box.
    """

    images: Tensor
    broken: Tensor | None
    forwards: int
    backwards: int
    by: Tensor | None = None
    outside: int = 0


@dataclass(frozen=True)
class Task:
    """What an attack is run on: see `Attack.run`."""

    images: Tensor
    labels: Tensor
    ids: Tensor
    seed: int = 0
    start: Tensor | None = None
    stop: bool = False
    verdict: bool = True

    def begin(self, threat: ThreatModel, rows: Tensor, restart: int) -> Tensor:
        """Where a restart begins for some of the samples: the given start at first, else a random one."""
        if restart == 0 and self.start is not None:
            return self.start[rows]
        return threat.random_start(self.images[rows], self.ids[rows], seed=self.seed, restart=restart)

    def take(self, rows: Tensor) -> "Task":
        """The task on the samples at these places."""
        start = None if self.start is None else self.start[rows]
        return Task(
            self.images[rows], self.labels[rows], self.ids[rows], self.seed, start, self.stop, self.verdict
        )


class Attack(ABC):
    """An attack on any net whose images live in `threat.bounds`."""

    threat: ThreatModel
    least_classes: int = 2
    """How many classes a net must have for the attack to make sense."""

    def __call__(self, net: Net, images: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images for `images` (N, C, H, W) with `labels` (N,); short for `run(...).images`."""
        return self.run(net, images, labels, seed=seed, verdict=False).images

    def run(
        self,
        net: Net,
        images: Tensor,
        labels: Tensor,
        *,
        start: Tensor | None = None,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        stop_when_broken: bool = False,
        verdict: bool = True,
        check: bool = True,
        block: int | None = None,
    ) -> AttackResult:
        """Attack a batch.

        start: where to begin instead of the attack's own start, same shape as `images`.
        sample_ids: int64 (N,), what a sample's random numbers hang on; by default its place in the batch.
        stop_when_broken: a sample that is misclassified leaves the batch, and costs nothing more.
        verdict: False saves the last forward pass, where only the images are wanted, as in training.
        check: False skips the checks of the input, which make a GPU wait.
        block: at most so many images go through the net at once (see `Blocks`); None: all that are left.

        The net is run in eval mode without gradients to its parameters; afterwards its modes, gradients,
        `requires_grad` and buffers are as they were. Raises InputError where the input makes no sense, where
        the net gives NaN, and for a net without gradients where the attack needs them.
        """
        if check:
            _check(images, labels, start, sample_ids, self.threat)
        if sample_ids is None:
            sample_ids = torch.arange(len(images), device=images.device)
        task = Task(images.detach(), labels, sample_ids, seed, start, stop_when_broken, verdict)
        with inspected(net):
            return self._run(Blocks(net, block, labels if check else None), task)

    @abstractmethod
    def _run(self, net: Blocks, task: Task) -> AttackResult: ...

    @property
    def settings(self) -> dict[str, object]:
        """What the attack was built with, defaults included, by the names of its arguments."""
        names = list(inspect.signature(type(self)).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        """As it is built."""
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({self.threat}{settings})"


def check_counts(**counts: int) -> None:
    """Raise ValueError for a setting that counts something and is not at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


@contextmanager
def inspected(net: Net) -> Iterator[None]:
    """Within the block a module is in eval mode and its parameters are out of the graph; then all is put
    back.

    Each module's own mode is restored, so BatchNorm layers that the user froze stay frozen; and buffers, as
    some nets count their calls. A net that is no `nn.Module` is left alone: what it hides cannot be known.
    """
    if not isinstance(net, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in net.modules()]
    trainable = [p for p in net.parameters() if p.requires_grad]
    buffers = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in net.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        net.eval()
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
        for module, name, buffer, version, value in buffers:
            module._buffers[name] = buffer
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each sample is classified wrongly, bool (N,); logits that are no numbers classify nothing."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)


def _check(
    images: Tensor, labels: Tensor, start: Tensor | None, sample_ids: Tensor | None, threat: ThreatModel
) -> None:
    low, high = threat.bounds
    for name, given in (("images", images), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise InputError(
                f"{name} are a {type(given).__name__}, expected a torch.Tensor: convert them, as by "
                "torch.as_tensor or torch.stack"
            )
    if images.ndim < 2 or len(images) == 0:
        raise InputError(f"expected a batch of images (N, C, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}: convert them to floats within [{low:g}, {high:g}]")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"expected {len(images)} labels of type int64, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    odd = images.detach().isnan().flatten(1).any(1)
    if bool(odd.any()):
        raise InputError(
            f"{int(odd.sum())} of {len(images)} images hold values that are no numbers (NaN): look where "
            "they are read or made"
        )
    lowest, highest = float(images.detach().min()), float(images.detach().max())
    if not (low <= lowest and highest <= high):
        raise InputError(
            f"images lie in [{lowest:g}, {highest:g}], expected [{low:g}, {high:g}]: "
            "make normalisation the net's first layer, and attack the images before it"
        )
    if start is not None and (start.shape != images.shape or start.dtype != images.dtype):
        raise InputError(
            f"start is {start.dtype} of shape {tuple(start.shape)}, the images are {images.dtype} of shape "
            f"{tuple(images.shape)}: make them alike"
        )
    if start is not None and not bool(threat.allows(start, images).all()):
        raise InputError("start lies outside ball or box: project it first (ThreatModel.project)")
    if sample_ids is not None and (sample_ids.shape != labels.shape or sample_ids.dtype != torch.int64):
        raise InputError(
            f"expected {len(images)} sample ids of type int64, got {sample_ids.dtype} of shape "
            f"{tuple(sample_ids.shape)}"
        )
