"""The interface of all attacks: built from settings, then called on a network, images and labels."""

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .blocks import Blocks
from .checks import check_call, check_input
from .network import Net, eval_mode
from .task import AttackResult, RunOptions, Task

if TYPE_CHECKING:
    from .threat import ThreatModel


class Attack(ABC):
    """An attack on any network whose images live in `threat.bounds`."""

    threat: "ThreatModel"
    least_classes: int = 2
    """How many classes a network must have for the attack to make sense."""

    def __call__(self, net: Net, images: Tensor, labels: Tensor, *, seed: int | None = None) -> Tensor:
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
        seed: int | None = None,
        options: RunOptions = RunOptions(),
    ) -> AttackResult:
        """Attack a batch, and count what it took.

        net: from images (N, C, H, W) to logits (N, K).
        images: (N, C, H, W) floats within `threat.bounds`.
        labels: int64 (N,), the true classes.
        start: (N, C, H, W), where to begin instead of the attack's own start.
        sample_ids: int64 (N,), which random numbers a sample gets; by default its place in the batch.
        seed: of the random numbers, together with the sample's id and the restart; None: drawn from
            PyTorch's generator for the CPU, so that each call has its own.
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
            checked = labels if options.check else None
            blocks = Blocks(net, options.block, checked, self.least_classes, postpone=True)
            seed = self._fresh_seed() if seed is None else seed
            with blocks.checks():
                return self._run(blocks, Task(images, labels, _graph_tensor(ids), seed, start, options))

    def _fresh_seed(self) -> int:
        """A seed from PyTorch's generator, which is left alone where the attack draws nothing."""
        return int(torch.randint(2**63 - 1, (), device="cpu")) if self.is_random else 0

    @abstractmethod
    def _run(self, net: Blocks, task: Task) -> AttackResult: ...

    @property
    def is_random(self) -> bool:
        """Whether the attack draws random numbers, so that its seed matters."""
        return True

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
