"""Watchers in training: what goes wrong is said when it happens, and where."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import StageProgress

_NEVER = torch.iinfo(torch.int64).max
_SLOW = 1.5  # times the seconds a step of the fastest epoch
_LONG = 1.0  # seconds of an epoch's steps, below which other things than the machine's pace decide
_SEEING = 1.5  # times the share that a net gets which says one class: what it must have reached to lose it
_SHOWN: set[str] = set()  # warnings that every training of a process would repeat
_DEVIATIONS = 3.0  # of a share of so many images, before a fall is more than chance


class DivergedError(InputError):
    """Loss, gradients or weights are no longer finite."""


class Finite:
    """Remembers at which step the loss or a parameter's gradient was first not finite.

    To look makes no GPU wait; to ask does.
    """

    def __init__(self, net: nn.Module) -> None:
        self._named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
        self._first: Tensor | None = None

    @torch.no_grad()
    def look(self, step: int, loss: Tensor) -> None:
        """Look at the loss of a step, and at the gradients that it gave."""
        fine = torch.ones((), dtype=torch.bool, device=loss.device)
        finite = [fine if p.grad is None else p.grad.isfinite().all() for _, p in self._named]
        found = torch.stack([loss.detach().isfinite(), *finite])
        first = torch.full(found.shape, _NEVER, device=loss.device) if self._first is None else self._first
        self._first = torch.where(found, first, first.clamp(max=step))

    def broken(self) -> tuple[int, str] | None:
        """The first step at which something was not finite, and what that was; None if nothing was."""
        first = [] if self._first is None else self._first.tolist()
        step = min(first, default=_NEVER)
        if step == _NEVER:
            return None
        if first[0] == step:
            return step, "the loss"
        # gradients go from the last layer to the first: the last that is not finite was the first to be so
        names = [name for (name, _), at in zip(self._named, first[1:], strict=True) if at == step]
        return step, f"the gradient of {names[-1]}"


@torch.no_grad()
def not_finite(net: nn.Module, images: Tensor) -> str:
    """The parameter, or else the layer by the order of its call, whose values are not finite; or nothing."""
    for name, parameter in net.named_parameters():
        if not bool(parameter.isfinite().all()):
            return f"{name} is not finite"
    found: list[str] = []

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not found and not bool(output.isfinite().all()):
            found.append(f"what {name} gives is not finite")

    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: look(name, output))
        for name, layer in net.named_modules()
        if not any(True for _ in layer.children())
    ]
    try:
        net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return next(iter(found), "")


def collapsed(standing: Tensor, labels: Tensor) -> int | None:
    """The one class whose images alone are right, bool and int64 (N,), where there are several classes."""
    right = set(labels[standing.to(labels.device)].tolist())
    return right.pop() if len(right) == 1 and len(set(labels.tolist())) > 1 else None


class Pace:
    """Notices when steps take longer than they did."""

    def __init__(self) -> None:
        self._fastest = math.inf
        self._slow = False

    def slowed(self, seconds: float, steps: int) -> float | None:
        """How many times the fastest epoch's seconds a step took, where an epoch is the first slow one."""
        if seconds < _LONG or steps == 0:
            return None
        each = seconds / steps
        self._fastest = min(self._fastest, each)
        before, self._slow = self._slow, each > _SLOW * self._fastest
        return each / self._fastest if self._slow and not before else None


def overfitted(history: Sequence[dict[str, Any]], labels: Tensor) -> bool:
    """Catastrophic overfitting in the last epoch of a history, validated on images of these labels (N,).

    Robust accuracy under PGD fell to less than half of its best, by more than chance, while FGSM breaks no
    more than then: so do nets that are trained with a single step (Wong et al. 2020, "Fast is better than
    free", section 5.4).
    """
    if len(history) < 2 or "val_fgsm" not in history[-1]:
        return False
    now = history[-1]
    best = max(history[:-1], key=lambda record: float(record["val_robust"]))
    top, blind = best["val_robust"], float(labels.bincount().max()) / len(labels)
    if top < _SEEING * blind:
        return False
    chance = _DEVIATIONS * math.sqrt(top * (1 - top) / len(labels))
    return bool(now["val_robust"] < min(top / 2, top - chance) and now["val_fgsm"] >= best["val_fgsm"])


class Monitor:
    """All watchers of one training: what diverges is stopped, other things are said at once and kept.

    stage, rate: what it is called, and its learning rate at a step, for messages. last: keeps the last good
    state, called once something has diverged.
    """

    def __init__(
        self,
        net: nn.Module,
        stage: str,
        meter: StageProgress,
        rate: Callable[[int], float],
        last: Callable[[], None] = lambda: None,
    ) -> None:
        self.warnings: list[str] = []
        self._net, self._stage, self._meter, self._rate, self._last = net, stage, meter, rate, last
        self._finite, self._pace = Finite(net), Pace()

    def foresee(self, warnings: Sequence[str]) -> None:
        """Before the first step: what will be otherwise than asked for; shown once in a process."""
        for text in warnings:
            if text not in self.warnings:  # a training that goes on has said it
                self.warnings.append(text)
            if text not in _SHOWN:
                _SHOWN.add(text)
                self._meter.warn(text)

    def step(self, step: int, loss: Tensor, images: Tensor) -> None:
        """After the gradients of a step on these images; on a CPU, which never waits, raises as `check`."""
        self._finite.look(step, loss)
        if loss.device.type == "cpu":
            self.check(images)

    def check(self, images: Tensor | None = None) -> None:
        """Raise DivergedError if anything was not finite so far; images: those of the step just taken."""
        broken = self._finite.broken()
        if broken is not None:
            step, what = broken
            where = "" if images is None else not_finite(self._net, images)
            raise self.diverged(step, f"{what} is not finite" + (f", and {where}" if where else ""))

    def diverged(self, step: int, what: str) -> DivergedError:
        """What to raise where a training diverged at a step; the last good state is kept."""
        self._last()
        return DivergedError(
            f"the {self._stage} diverged at step {step}, at a learning rate of {self._rate(step):g}: {what}; "
            "lower the learning rate, search.lr or train.lr, or look for what makes the net's own values "
            "infinite"
        )

    def pace(self, epoch: int, seconds: float, steps: int) -> None:
        """After an epoch: the seconds that its steps took."""
        slow = self._pace.slowed(seconds, steps)
        if slow is not None:
            self._warn(
                f"epoch {epoch}: the machine slowed down: a step took {slow:.1f} times as long as before"
            )

    def classes(
        self, history: Sequence[dict[str, Any]], standing: Tensor, labels: Tensor, last: bool
    ) -> None:
        """After the last epoch of a history: which validation images are right, bool (N,).

        That one class alone is right is the way of many beginnings: it is said where a net got more of them
        before, and at the end.
        """
        epoch, now = history[-1]["epoch"], history[-1]["val_clean"]
        only = collapsed(standing, labels)
        more = any(record["val_clean"] >= 2 * now for record in history[:-1])
        if only is not None and (more or last):
            self._warn(
                f"epoch {epoch}: the net collapsed: of the validation images only class {only} is right"
            )

    def overfitted(self, history: Sequence[dict[str, Any]], labels: Tensor) -> bool:
        """Whether the last epoch of a history overfitted catastrophically; labels: of its images."""
        if not overfitted(history, labels):
            return False
        now = history[-1]
        if not overfitted(history[:-1], labels):  # said once, until it gets better
            self._warn(
                f"epoch {now['epoch']}: catastrophic overfitting: FGSM leaves {now['val_fgsm']:.1%} of the "
                f"validation images standing, PGD {now['val_robust']:.1%}"
            )
        return True

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._meter.warn(text)
