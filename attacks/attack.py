"""The interface of all attacks: built from settings, then called on a network, images and labels."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attacks.blocks import Blocks, Net
from attacks.checks import check_call, check_counts, check_input
from attacks.threat import ThreatModel


@dataclass(frozen=True)
class AttackResult:
    """The images, verdicts and passes of an attack on N samples.

    images: (N, C, H, W), the last iterate; with several restarts the one of highest loss; where a sample
        left the attack as it broke, the iterate that broke it.
    broken: bool (N,), True where an iterate within ball and box was misclassified; None without a verdict.
    forwards: samples that went forward through the network.
    backwards: samples whose gradient was computed, always to the image alone.
    broken_by: int64 (N,), the member of an ensemble that broke the sample, -1 where none did; None for
        other attacks.
    outside: samples for which a third-party attack gave an image outside ball or box.
    """

    images: Tensor
    broken: Tensor | None
    forwards: int
    backwards: int
    broken_by: Tensor | None = None
    outside: int = 0


@dataclass(frozen=True)
class RunOptions:
    """What a run does besides the attack's own steps.

    stop_when_broken: a misclassified sample leaves the batch and costs nothing more.
    verdict: False saves the last forward pass where only the images are wanted, as in training.
    check: False skips the checks of the input, which make a GPU wait.
    block: at most so many images go through the network at once (see `Blocks`); None: no limit.

    Raises ValueError for a `block` that is no size.
    """

    stop_when_broken: bool = False
    verdict: bool = True
    check: bool = True
    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None:
            check_counts(block=self.block)


@dataclass(frozen=True)
class Task:
    """The samples and the options of one run; for their meaning see `Attack.run`."""

    images: Tensor
    labels: Tensor
    ids: Tensor
    seed: int
    start: Tensor | None
    options: RunOptions

    def starts(self, threat: ThreatModel, rows: Tensor, restart: int) -> Tensor:
        """Where a restart begins for the samples `rows`: at the caller's start at first, else at random."""
        if restart == 0 and self.start is not None:
            return self.start[rows]
        return threat.random_start(self.images[rows], self.ids[rows], seed=self.seed, restart=restart)

    def select(self, rows: Tensor) -> "Task":
        """The same task on the samples `rows`."""
        start = None if self.start is None else self.start[rows]
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], ids=self.ids[rows], start=start
        )


class Attack(ABC):
    """An attack on any network whose images live in `threat.bounds`."""

    threat: ThreatModel
    least_classes: int = 2
    """How many classes a network must have for the attack to make sense."""

    def __call__(self, net: Net, images: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images for `images` (N, C, H, W) with `labels` (N,); short for `run(...).images`."""
        return self.run(net, images, labels, seed=seed, options=RunOptions(verdict=False)).images

    def run(
        self,
        net: Net,
        images: Tensor,
        labels: Tensor,
        *,
        start: Tensor | None = None,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        options: RunOptions = RunOptions(),
    ) -> AttackResult:
        """Attack a batch, and count what it took.

        net: from images (N, C, H, W) to logits (N, K).
        images: (N, C, H, W) floats within `threat.bounds`.
        labels: int64 (N,), the true classes.
        start: (N, C, H, W), where to begin instead of the attack's own start.
        sample_ids: int64 (N,), which random numbers a sample gets; by default its place in the batch.
        seed: of the random numbers, together with the sample's id and the restart.
        options: what to do besides the attack's own steps.

        The network is run in eval mode without gradients to its parameters; afterwards its modes, gradients,
        `requires_grad` and buffers are as they were. Raises InputError where the input makes no sense, where
        the network gives NaN, has fewer classes than the attack needs, or no gradient where one is needed.
        """
        if options.check:
            check_call(net, seed)
            check_input(images, labels, start, sample_ids, self.threat)
        # a caller's inference mode would leave no graph, nor can its tensors be in one
        with torch.inference_mode(False), eval_mode(net):
            images, labels = _graph_tensor(images).detach(), _graph_tensor(labels)
            ids = torch.arange(len(images), device=images.device) if sample_ids is None else sample_ids
            start = None if start is None else _graph_tensor(start)
            blocks = Blocks(net, options.block, labels if options.check else None, self.least_classes)
            return self._run(blocks, Task(images, labels, _graph_tensor(ids), seed, start, options))

    @abstractmethod
    def _run(self, net: Blocks, task: Task) -> AttackResult: ...

    @property
    @abstractmethod
    def passes_per_sample(self) -> int:
        """Forward and backward passes of a sample that nothing breaks; an estimate for third parties."""

    @property
    def settings(self) -> dict[str, object]:
        """What the attack was built with, defaults included, by the names of its arguments."""
        names = list(inspect.signature(type(self)).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({self.threat}{settings})"


def _graph_tensor(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


@contextmanager
def eval_mode(net: Net) -> Iterator[None]:
    """Put a module into eval mode and its parameters out of the graph, for the length of a `with` block.

    Each module's own mode is restored, so BatchNorm layers that the user froze stay frozen; and buffers, as
    some networks count their calls. A network that is no `nn.Module` is left alone: its parts are unknown.
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
    """Whether each sample is classified wrongly, bool (N,); NaN logits classify nothing."""
    return (logits.argmax(1) != labels) | logits.isnan().any(1)
