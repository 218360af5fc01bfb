"""The training methods alone, for training loops of the user's own: `robust_tickets.methods`.

    method = methods.TRADES(ThreatModel("Linf", 8 / 255), beta=6.0)
    loss = method.loss(net, images, labels)

Each registered method has a class here, by the name of its class: `PGD`, `NFGSM`, `LIET`, ...
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from robust_tickets import attacks
from robust_tickets.attacks.checks import check_input
from robust_tickets.base.errors import InputError
from robust_tickets.models.attack_view import AttackView, attack_view
from robust_tickets.models.fold import FoldedNet
from robust_tickets.recipe import schema
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.training.methods.base import Batch, Networks, Step
from robust_tickets.training.methods.cross_entropy import UpdateGradientMethod


class MethodAlone:
    """A training method that gives the loss of a batch, whatever loop it is in.

    method: its name in recipes.
    threat: the perturbations that the adversary may make.
    total_steps: length of the schedule in steps, for methods that change over it; 0: unknown.
    seed: of its random numbers; None: drawn from PyTorch's generator.
    settings: fields of the recipe's `train.<method>`.

    It remembers what its method does from step to step, and the network of its last call. Raises InputError
    for settings that make no sense, a threat model that the method is not defined for, and one that needs to
    know which training image each image is.
    """

    def __init__(
        self,
        method: str,
        threat: attacks.ThreatModel,
        *,
        total_steps: int = 0,
        seed: int | None = None,
        **settings: Any,
    ) -> None:
        cls = method_class(method)
        self._method = cls(schema.read(cls.Settings, settings, path=method))
        if self._method.remembers_images:
            raise InputError(
                f"the method {method} remembers each training image and how it was cropped: train by "
                "robust_tickets.train, or choose another method"
            )
        if threat.norm not in cls.norms:
            raise InputError(
                f"{method} is defined for {' or '.join(cls.norms)}, got a threat in {threat.norm}"
            )
        self._method.check(FieldNames())
        self._name, self._threat, self._total_steps = method, threat, total_steps
        self._seed = int(torch.randint(2**62, (), device="cpu")) if seed is None else seed
        self._number = 0  # of the step
        self._samples = 0  # that were attacked so far: each gets random numbers of its own
        self._classes = 0
        self._view: AttackView | None = None
        self._pending: Callable[[], None] | None = None

    def loss(
        self, net: nn.Module, images: Tensor, labels: Tensor, *, targets: Tensor | None = None
    ) -> Tensor:
        """Attack a batch, and give the loss to minimise, a scalar with a graph to the weights.

        net: from images (B, C, H, W) to logits (B, classes), in train mode.
        images: (B, C, H, W) floats within the threat model's bounds.
        labels: int64 (B,).
        targets: (B, classes), smoothed labels for the update; attacks keep the hard ones.

        A call is a step: go backward from its loss before the next call.
        """
        check_input(images, labels, None, None, self._threat)
        self.settle()
        if self._view is None or self._view.net is not net:
            self._view = attack_view(net)
            with torch.no_grad():
                self._classes = self._view(images[:1]).shape[1]
        step = _OwnStep(self._number, self._total_steps, self._classes, self._name)
        rows = torch.arange(len(images), device=images.device)
        batch = Batch(
            images,
            labels,
            rows + self._samples,
            self._threat,
            self._seed,
            step,
            rows,
            cast(Any, None),
            targets,
        )
        nets = Networks(net, cast(FoldedNet, self._view), net=net)
        adversarial = self._method.perturb(nets, batch)
        loss = self._method.loss(nets, batch, adversarial)
        self._number += 1
        self._samples += len(images)
        if loss.requires_grad:
            loss.register_hook(partial(self._after_backward, nets, batch))  # type: ignore[no-untyped-call]
        return loss

    def settle(self) -> None:
        """Take up what the last backward pass has shown; `loss` does so itself."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending()

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, for a checkpoint."""
        self.settle()
        own = {"number": self._number, "samples": self._samples, "seed": self._seed}
        return {**own, "method": self._method.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._method.load_state_dict(state["method"])
        self._number, self._samples, self._seed = state["number"], state["samples"], state["seed"]

    def __repr__(self) -> str:
        return f"<Method {self._name} in {self._threat}: {self._method.settings}>"

    def _after_backward(self, nets: Networks, batch: Batch, factor: Tensor) -> None:
        """Called as the backward pass begins, with the factor that the loss was scaled by."""

        def after_backward() -> None:
            if isinstance(self._method, UpdateGradientMethod):
                self._method.rescale(1 / factor)
            self._method.after_backward(nets, batch)

        self._pending = after_backward


@dataclass(frozen=True)
class _OwnStep(Step):
    """A step of a schedule whose length may be unknown: 0."""

    method: str = ""

    @property
    def progress(self) -> float:
        if not self.count:
            raise InputError(
                f"the method {self.method} changes over the schedule: give its length in steps as total_steps"
            )
        return min(1.0, self.number / self.count)


def __getattr__(name: str) -> Any:
    methods = _methods()
    if name not in methods:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}: choose from {', '.join(methods)}"
        )
    return partial(MethodAlone, methods[name])


def __dir__() -> list[str]:
    return [*_methods(), "MethodAlone"]


def _methods() -> dict[str, str]:
    """Names in recipes by the names of the classes."""
    return {method_class(name).__name__: name for name in METHODS}
