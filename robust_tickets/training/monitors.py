"""Monitors of a training: each notices one thing that goes wrong, when it happens and where."""

import cmath
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine_load import slowdown_warning
from robust_tickets.base.progress import StageProgress
from robust_tickets.training.collapse import CollapseDetector

_NEVER = torch.iinfo(torch.int64).max
_SLOW = 1.5  # times the seconds a step of the fastest epoch
_OTHER_WORK = 0.1  # share by which the cost of a step may differ where paces are compared
_LEAST_SECONDS = 1.0  # of an epoch's steps; below it other things than the machine's pace decide
_ABOVE_CHANCE = 1.5  # times the accuracy of always the same class: what a network must reach to lose it
_DEVIATIONS = 3.0  # of a share of so many images: a smaller fall may be chance
_PAST_WARNINGS: set[str] = set()  # which every training of a process would repeat


class DivergedError(InputError):
    """Loss, gradients or weights are no longer finite."""


class FiniteMonitor:
    """Remembers the step at which the loss or a parameter's gradient was first not finite.

    `observe` makes no GPU wait; `first` does.
    """

    def __init__(self, net: nn.Module) -> None:
        self._parameters = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        self._steps: Tensor | None = None  # of the loss, then of each parameter

    @torch.no_grad()
    def observe(self, step: int, loss: Tensor) -> None:
        """Look at the loss of a step, and at the gradients that it gave."""
        if loss.device.type == "cpu" and self._sums_are_finite(loss):
            return
        # the largest of each, as NaN and inf stay in it: a few calls for all of them
        gradients = {name: p.grad for name, p in self._parameters if p.grad is not None and p.grad.numel()}
        norms = torch._foreach_norm(list(gradients.values()), float("inf")) if gradients else ()
        by_name, fine = dict(zip(gradients, norms, strict=True)), torch.zeros((), device=loss.device)
        largest = [by_name.get(name, fine).float() for name, _ in self._parameters]
        finite = torch.stack([loss.detach().float(), *largest]).isfinite()
        steps = torch.full(finite.shape, _NEVER, device=loss.device) if self._steps is None else self._steps
        self._steps = torch.where(finite, steps, steps.clamp(max=step))

    def _sums_are_finite(self, loss: Tensor) -> bool:
        """Whether loss and sums are finite: then each number is, as NaN and inf stay in a sum."""
        gradients = [p.grad.sum() for _, p in self._parameters if p.grad is not None]
        return all(map(cmath.isfinite, torch.stack([loss.detach(), *gradients]).tolist()))

    def first(self) -> tuple[int, str] | None:
        """The first step with something not finite, and what that was; None if there was none."""
        steps = [] if self._steps is None else self._steps.tolist()
        step = min(steps, default=_NEVER)
        if step == _NEVER:
            return None
        if steps[0] == step:
            return step, "the loss"
        # gradients go from the last layer to the first: the last that is not finite was the first to be so
        names = [name for (name, _), first in zip(self._parameters, steps[1:], strict=True) if first == step]
        return step, f"the gradient of {names[-1]}"


@torch.no_grad()
def not_finite(net: nn.Module, images: Tensor) -> str:
    """The first parameter, or else the first layer called, with values that are not finite; or nothing."""
    for name, parameter in net.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"{name} is not finite"
    layers: list[str] = []

    def check_output(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not layers and not bool(output.isfinite().all()):
            layers.append(f"the output of {name} is not finite")

    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: check_output(name, output))
        for name, layer in net.named_modules()
        if not any(True for _ in layer.children())
    ]
    try:
        net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return next(iter(layers), "")


def collapsed_class(right: Tensor, labels: Tensor) -> int | None:
    """The only class whose images are classified right, if it is one of several.

    right: bool (N,), which images are.
    labels: int64 (N,).
    """
    classes = set(labels[right.to(labels.device)].tolist())
    return classes.pop() if len(classes) == 1 and len(set(labels.tolist())) > 1 else None


class PaceMonitor:
    """Notices when steps of the same cost take longer than they did."""

    def __init__(self) -> None:
        self._seconds, self._flops, self._steps = 0.0, 0, 0
        self._fastest, self._work = math.inf, 0.0
        self._slow = False

    def begin(self, seconds: float, flops: int, steps: int) -> None:
        """Before the first epoch that is timed: what the training has taken so far."""
        self._seconds, self._flops, self._steps = seconds, flops, steps

    def slowed(self, seconds: float, flops: int, steps: int) -> float | None:
        """How many times as long as in the fastest epoch a step took, in the first of several slow epochs.

        Epochs whose steps cost another number of FLOPs, as after the switch of a curriculum, are a new pace.

        seconds, flops, steps: of the training's steps so far, at the end of an epoch.
        """
        epoch_seconds, epoch_steps = seconds - self._seconds, steps - self._steps
        work = (flops - self._flops) / max(epoch_steps, 1)
        self._seconds, self._flops, self._steps = seconds, flops, steps
        if epoch_seconds < _LEAST_SECONDS or epoch_steps == 0:
            return None
        if abs(work - self._work) > _OTHER_WORK * self._work:
            self._fastest, self._work, self._slow = math.inf, work, False
        pace = epoch_seconds / epoch_steps
        self._fastest = min(self._fastest, pace)
        before, self._slow = self._slow, pace > _SLOW * self._fastest
        return pace / self._fastest if self._slow and not before else None


def overfitted(history: Sequence[dict[str, Any]], labels: Tensor) -> bool:
    """Whether the last epoch of a history overfitted catastrophically.

    history: a record an epoch.
    labels: int64 (N,), of the validation images.

    Robust accuracy under PGD fell to less than half of its best, by more than chance, while that under FGSM
    is no lower than it was then: networks trained with a single step do so (Wong et al. 2020, "Fast is better
    than free", section 5.4).
    """
    if len(history) < 2 or "val_fgsm" not in history[-1]:
        return False
    last = history[-1]
    best = max(history[:-1], key=lambda record: float(record["val_robust"]))
    top, one_class = best["val_robust"], float(labels.bincount().max()) / len(labels)
    if top < _ABOVE_CHANCE * one_class:
        return False
    chance = _DEVIATIONS * math.sqrt(top * (1 - top) / len(labels))
    return bool(last["val_robust"] < min(top / 2, top - chance) and last["val_fgsm"] >= best["val_fgsm"])


class Monitor:
    """All monitors of one training: a divergence ends it, everything else is a warning.

    net: the network.
    stage: name of the stage, for messages.
    meter: shows warnings.
    rate: the learning rate at a step.
    """

    def __init__(
        self, net: nn.Module, stage: str, meter: StageProgress, rate: Callable[[int], float]
    ) -> None:
        self.warnings: list[str] = []
        self._net, self._stage, self._meter, self._rate = net, stage, meter, rate
        self._finite, self._pace = FiniteMonitor(net), PaceMonitor()

    def begin(self, warnings: Sequence[str], ledger: Ledger, step: int) -> None:
        """Before the first step.

        warnings: what will differ from the recipe, shown once in a process.
        ledger, step: of this training so far.
        """
        self._pace.begin(ledger.step_seconds, ledger.step_flops, step)
        for text in warnings:
            if text not in self.warnings:  # a training that resumes has it already
                self.warnings.append(text)
            if text not in _PAST_WARNINGS:
                _PAST_WARNINGS.add(text)
                self._meter.warn(text)

    def observe(self, step: int, loss: Tensor, images: Tensor) -> None:
        """After the gradients of a step on these images; on a CPU, which never waits, raises as `check`."""
        self._finite.observe(step, loss)
        if loss.device.type == "cpu":
            self.check(images)

    def check(self, images: Tensor | None = None) -> None:
        """Raise DivergedError if anything was not finite so far; images: those of the step just taken."""
        first = self._finite.first()
        if first is not None:
            step, value = first
            place = "" if images is None else not_finite(self._net, images)
            raise self.diverged(step, f"{value} is not finite" + (f", and {place}" if place else ""))

    def diverged(self, step: int, reason: str) -> DivergedError:
        """The error of a training that diverged at a step."""
        return DivergedError(
            f"the {self._stage} diverged at step {step}, at a learning rate of {self._rate(step):g}: "
            f"{reason}; lower the learning rate, search.lr or train.lr, or look for what makes the net's own "
            "values infinite"
        )

    def check_pace(self, epoch: int, ledger: Ledger, step: int) -> None:
        """After an epoch: warn if the machine has slowed down; ledger, step: of the training so far."""
        slow = self._pace.slowed(ledger.step_seconds, ledger.step_flops, step)
        if slow is not None:
            self._warn(f"epoch {epoch}: {slowdown_warning(slow)}")

    def check_collapse(
        self, history: Sequence[dict[str, Any]], right: Tensor, labels: Tensor, last: bool
    ) -> None:
        """Warn if the network classifies a single class right; right: bool (N,), labels: int64 (N,).

        Many trainings begin like that: it is a warning in the last epoch, and where accuracy was higher.
        """
        epoch, accuracy = history[-1]["epoch"], history[-1]["val_clean"]
        only = collapsed_class(right, labels)
        higher = any(record["val_clean"] >= 2 * accuracy for record in history[:-1])
        if only is not None and (higher or last):
            self._warn(
                f"epoch {epoch}: the net collapsed: of the validation images only class {only} is right"
            )

    def check_overfitting(
        self, history: Sequence[dict[str, Any]], labels: Tensor, detector: CollapseDetector | None
    ) -> bool:
        """Whether the last epoch overfitted catastrophically, which its detector is told.

        labels: int64 (N,), of validation.
        """
        collapse = "" if detector is None else detector.warning()
        if collapse:
            self._warn(collapse)
        in_validation = overfitted(history, labels)
        if detector is not None:
            detector.overfitted = in_validation
        if not in_validation:
            return collapse != ""
        last = history[-1]
        if not overfitted(history[:-1], labels):  # once, until it gets better
            self._warn(
                f"epoch {last['epoch']}: catastrophic overfitting: {last['val_fgsm']:.1%} of the validation "
                f"images are robust to FGSM, {last['val_robust']:.1%} to PGD"
                + ("" if detector is None else detector.action)
            )
        return True

    def tell_restored(self, epoch: int, best: int) -> None:
        """Say that the training ended after an epoch with the weights of the best one."""
        self._warn(f"epoch {epoch}: the training ends here, with the weights of epoch {best}, the best one")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._meter.warn(text)
