"""Any attack of torchattacks under the interface of this package."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .attack import Attack
from .blocks import NO_GRADIENT, Blocks
from .checks import check_counts
from .errors import InputError
from .network import misclassified
from .noise import uniform
from .task import AttackResult, Task
from .third_party import (
    check_argument,
    check_norm,
    class_arguments,
    class_named,
    estimate_passes,
    quiet,
)
from .threat import ThreatModel, check_threat


class TorchAttack(Attack):
    """An attack of torchattacks (Kim 2020, "Torchattacks: A PyTorch Repository for Adversarial Attacks",
    arXiv 2010.01950).

    threat: the ball that counts; its bounds must be (0, 1), torchattacks knows no others.
    name: the class in torchattacks.
    arguments: those of the class, without the network. Where they are not given, `eps` (there also
        `max_epsilon`) and `norm` are the threat's, `n_classes` is the network's (a larger one is lowered to
        it), and `seed` follows from the run's. Steps and step sizes keep the defaults of torchattacks.

    Raises ValueError for an unknown class or argument, for arguments that the class refuses, for classes that
    need more than a network and settings (MultiAttack, LGV), and for those that search a ball of another
    norm. Some classes minimise a distance and take no eps at all (CW, DeepFool).

    Images are not projected: where one is outside ball or box, or NaN, the sample keeps its clean image, and
    `AttackResult.outside` counts it. `broken` is whether the image in the result is misclassified, asked once
    after the attack. The samples are attacked in their order in blocks (see `Attack.run`). For each block all
    generators are seeded from the run's seed and the id of the block's first sample, and put back afterwards:
    other blocks draw other numbers. `stop_when_broken` saves nothing. What the attack prints is dropped.
    `run` raises InputError for a `start`, and where the attack fails.

        attack = TorchAttack(ThreatModel("L2", 0.5), "CW", c=1, steps=50)
        result = attack.run(net, images, labels)
    """

    def __init__(self, threat: ThreatModel, name: str, **arguments: object) -> None:
        check_threat(threat)
        if not isinstance(name, str):
            raise ValueError(f"the name of an attack of torchattacks must be text, as 'CW', got {name!r}")
        if tuple(threat.bounds) != (0, 1):
            low, high = threat.bounds
            raise ValueError(
                f"torchattacks attacks images within [0, 1] only, the bounds are [{low:g}, {high:g}]: "
                "scale the images, and make scaling back the network's first layer"
            )
        self.threat = threat
        self.name = name
        self.arguments = arguments
        self._class = class_named(name)
        self._defaults = class_arguments(name, self._class)
        self.least_classes = 4 if name in ("APGDT", "AutoAttack") else 2
        check_norm(name, self._class, self._defaults, threat.norm)
        for argument, value in arguments.items():
            check_argument(name, argument, value, self._defaults)
        try:
            with quiet():
                self._build(_Model(Blocks(nn.Identity()), torch.zeros(1, 1, 1, 1)), 10, seed=0)
        except Exception as error:
            raise ValueError(f"torchattacks.{name} refuses its arguments: {_first_line(error)}") from error

    @property
    def settings(self) -> dict[str, object]:
        """The name and all arguments but those that come from threat, network and seed, defaults included."""
        context = ("eps", "max_epsilon", "norm", "n_classes", "seed")
        defaults = {name: value for name, value in self._defaults.items() if name not in context}
        return {"name": self.name, **defaults, **self.arguments}

    @property
    def passes_per_sample(self) -> int:
        """An estimate from the arguments that count steps, queries and restarts, and a last look."""
        return estimate_passes(self.name, self._defaults | self.arguments) + 1

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        if task.start is not None:
            raise InputError(
                f"torchattacks.{self.name} has a start of its own: leave out start, or use attacks.PGD"
            )
        n, adversarial = len(task.images), task.images.clone()
        classes = net.logits(task.images[:1]).shape[1]  # this also checks network and labels
        net.read()
        for rows in torch.split(torch.arange(n, device=task.images.device), net.size or n):
            adversarial[rows] = self._attack(net, task.select(rows), classes)
        allowed = self.threat.allows(adversarial, task.images)
        images = torch.where(allowed.reshape(-1, *[1] * (adversarial.ndim - 1)), adversarial, task.images)
        broken = misclassified(net.logits(images), task.labels) if task.options.verdict else None
        (outside,) = net.read((~allowed).sum())
        return AttackResult(images, broken, net.forwards, net.backwards, outside=outside)

    def _attack(self, net: Blocks, block: Task, classes: int) -> Tensor:
        """The images that the attack returns for one block, in the shape and type of the block's."""
        model = _Model(net, block.images)
        seed = int(uniform((1,), block.ids[:1], seed=block.seed) * 2**32)
        # a copy, which it may overwrite, and row-major, as it takes views of images and gradients
        images = block.images.clone(memory_format=torch.contiguous_format)
        try:
            with _seeded(seed), quiet(), torch.enable_grad():
                adversarial = self._build(model, classes, seed)(images, block.labels.clone())
        except (InputError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:
            if error is model.error:  # the network's own, not the attack's
                raise
            raise InputError(self._failure(error, images.dtype)) from error
        if not isinstance(adversarial, Tensor) or adversarial.shape != images.shape:
            is_tensor = isinstance(adversarial, Tensor)
            got = f"shape {tuple(adversarial.shape)}" if is_tensor else f"a {type(adversarial).__name__}"
            raise InputError(
                f"torchattacks.{self.name} gave {got} for images of shape {tuple(images.shape)}, expected "
                "the same shape: it does not fit these images"
            )
        return adversarial.detach().to(block.images)

    def _build(self, model: nn.Module, classes: int, seed: int) -> Any:
        eps = self.threat.eps
        context = {
            "eps": eps,
            "max_epsilon": eps,
            "norm": self.threat.norm,
            "n_classes": classes,
            "seed": seed,
        }
        arguments: dict[str, Any] = {name: v for name, v in context.items() if name in self._defaults}
        arguments |= self.arguments
        if "n_classes" in arguments:
            arguments["n_classes"] = min(arguments["n_classes"], classes)
        return self._class(model, **arguments)

    def _failure(self, error: Exception, dtype: torch.dtype) -> str:
        message = f"torchattacks.{self.name} failed: {_first_line(error)}"
        if dtype == torch.float32:
            return message
        return (
            f"{message} (the images are {dtype}, and parts of torchattacks compute in float32 whatever they "
            "are given: hand over network and images in float32)"
        )


def fab_t(threat: ThreatModel, *, steps: int = 100) -> TorchAttack:
    """FAB, targeted at the 9 classes next to the label, as in AutoAttack's standard set.

    Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack"; the
    targets are those of Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks". Fewer targets for a network of fewer classes.

    threat: the ball and the box of valid pixels.
    steps: for each target, at least 1.

    Raises ValueError for fewer steps.
    """
    check_counts(steps=steps)
    # torchattacks aims at n_classes - 1 targets
    return TorchAttack(threat, "FAB", steps=steps, multi_targeted=True, n_restarts=1, n_classes=10)


class _Model(nn.Module):
    """The network as torchattacks wants it: a module with modes and a parameter that shows its device.

    The network hides behind it, so that modes are changed and gradients left here alone. A gradient to
    anything but the images is never computed, though torchattacks calls `backward`. Passes are added to
    `blocks`.
    """

    def __init__(self, blocks: Blocks, images: Tensor) -> None:
        super().__init__()
        self.blocks = blocks
        self.place = nn.Parameter(images.new_empty(0), requires_grad=False)
        self.error: Exception | None = None
        self._sample = images.dtype, images.shape[1:]
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() and images.requires_grad:
            logits: Tensor = _ToImages.apply(images, self)
            return logits
        with torch.no_grad():
            return self.logits(images)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) of the images' type, counted; `error` is what the network raised on such images."""
        try:
            logits = self.blocks.call(images)
        except Exception as error:
            if (images.dtype, images.shape[1:]) == self._sample:
                self.error = error
            raise
        self.blocks.forwards += len(images)
        return logits.to(images.dtype)


class _ToImages(torch.autograd.Function):
    """Logits whose backward goes through the network to the images, and to nothing else."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, model: _Model) -> Tensor:
        point = images.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = model.logits(point)
        ctx.point, ctx.logits, ctx.blocks = point, logits, model.blocks
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = None
        if ctx.logits.requires_grad:  # kept, since FAB and DeepFool go back through one graph several times
            (gradient,) = torch.autograd.grad(
                ctx.logits, ctx.point, gradients, retain_graph=True, allow_unused=True
            )
        if gradient is None:
            raise InputError(NO_GRADIENT)
        ctx.blocks.backwards += len(gradient)
        return gradient.contiguous(), None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Begin all global generators at `seed` within the block, then put them back."""
    kind, devices = "cuda", list[int]()
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        assert accelerator is not None
        kind, devices = accelerator.type, list(range(torch.accelerator.device_count()))
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices, device_type=kind):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
