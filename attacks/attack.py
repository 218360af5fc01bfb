"""What every attack is: settings first, then a call on a net, images and labels."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from attacks.blocks import Blocks, Net
from attacks.bookmark import Bookmark
from attacks.checks import check_call, check_counts, check_input
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
    mark: Bookmark = field(default_factory=Bookmark)

    def begin(self, threat: ThreatModel, rows: Tensor, restart: int) -> Tensor:
        """Where a restart begins for some of the samples: the given start at first, else a random one."""
        if restart == 0 and self.start is not None:
            return self.start[rows]
        return threat.random_start(self.images[rows], self.ids[rows], seed=self.seed, restart=restart)

    def take(self, rows: Tensor) -> "Task":
        """The task on the samples at these places."""
        start = None if self.start is None else self.start[rows]
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], ids=self.ids[rows], start=start
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
        mark: Bookmark | None = None,
    ) -> AttackResult:
        """Attack a batch.

        start: where to begin instead of the attack's own start, same shape as `images`.
        sample_ids: int64 (N,), what a sample's random numbers hang on; by default its place in the batch.
        stop_when_broken: a sample that is misclassified leaves the batch, and costs nothing more.
        verdict: False saves the last forward pass, where only the images are wanted, as in training.
        check: False skips the checks of the input, which make a GPU wait.
        block: at most so many images go through the net at once (see `Blocks`); None: all that are left.
        mark: keeps where the attack stands, or goes on from where it stood, with all arguments as they were.

        The net is run in eval mode without gradients to its parameters; afterwards its modes, gradients,
        `requires_grad` and buffers are as they were. Raises InputError where the input makes no sense, where
        the net gives NaN, for a net of fewer classes than the attack needs, and for one without gradients
        where it needs them; ValueError for a `block` that is no size.
        """
        if check:
            check_call(net, seed)
            check_input(images, labels, start, sample_ids, self.threat)
        if block is not None:
            check_counts(block=block)
        # a caller's inference mode would leave no graph, nor can its tensors be in one
        with torch.inference_mode(False), inspected(net):
            images, labels = _usable(images).detach(), _usable(labels)
            ids = (
                torch.arange(len(images), device=images.device) if sample_ids is None else _usable(sample_ids)
            )
            start = None if start is None else _usable(start)
            task = Task(images, labels, ids, seed, start, stop_when_broken, verdict, mark or Bookmark())
            blocks = Blocks(net, block, labels if check else None, self.least_classes)
            with task.mark.level(
                lambda: {"forwards": blocks.forwards, "backwards": blocks.backwards}
            ) as kept:
                if kept is not None:
                    blocks.forwards, blocks.backwards = kept["forwards"], kept["backwards"]
                return self._run(blocks, task)

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


def _usable(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


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
