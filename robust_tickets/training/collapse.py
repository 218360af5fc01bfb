"""Notices catastrophic overfitting of single-step trainings from the update's own gradient, at no pass.

A network overfits catastrophically where it learns that an attack takes one step: the loss then falls at
the end of that step. So the gradient there, which the update's backward pass has, no longer points along the
step.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from robust_tickets import attacks
from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.data.dataset import Dataset
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, label_gradient
from robust_tickets.training.methods.cross_entropy import cross_entropy, label_gradient_shares
from robust_tickets.training.methods.pgd import usual_rel_step
from robust_tickets.training.wrappers.base import Wrapper

_DECAY = 0.95  # of the moving average
# runs/reference/bench/collapse: what healthy and collapsing trainings have
_HEALTHY, _COLLAPSED, _RECOVERED = 0.5, 0.3, 0.4
_EVERY = 10  # steps between two looks at the device, where the training acts on it
_NEVER = torch.iinfo(torch.int64).max
_STATE = ("alignment", "healthy", "collapsed", "since", "recovering", "overfitted")
_PREFIX = "collapse."


class CollapseDetector(Wrapper):
    """A single-step method, watched for catastrophic overfitting, and replaced by PGD where asked for.

    With s the point from which a method takes its step, x' the images of the update, g' the gradient of its
    loss to them, and sums over all pixels of the batch,

        alignment = sum(g' (x' - s)) / sum(|g' (x' - s)|)

    It is 1 on a linear network of two classes, and near 0 where the step leads nowhere, as in a network that
    has learnt nothing yet. Once its moving average, which begins at 0, has been above 0.5, it tells of a
    collapse where it falls below 0.3, and of a recovery above 0.4. Under label smoothing samples whose label
    has more than its target do not count, as g' points backwards there.

    inner: the method.
    steps: of PGD training until the network has recovered; 0: the method goes on.
    overfitted: set it to train by PGD until it is set to False again, whatever the gradients say.

    PGD begins with one step of eps from a uniform point, and the alignment is then that of this step.
    `passes` are those of the method, as if it never collapsed.
    """

    def __init__(self, inner: Method, steps: int) -> None:
        super().__init__(None, inner)
        self.steps = steps
        self.overfitted = False
        self._recorder = _Recorder()
        self._recovering = False
        self._alignment = torch.zeros((), dtype=torch.float32)
        self._healthy = self._collapsed = torch.zeros((), dtype=torch.bool)
        self._since = torch.full((), _NEVER)

    def prepare(self, data: Dataset) -> None:
        self._to(data.train.images.device)
        super().prepare(data)

    def perturb(self, nets: Networks, batch: Batch) -> Tensor:
        if self.steps and batch.step.number % _EVERY == 0:
            self._recovering = self.overfitted or bool(self._collapsed)  # a wait, once in so many steps
        if self._recovering:
            return self._climb(nets, batch)
        return self.inner.perturb(self._recorder.begin(nets, len(batch.labels)), batch)

    def loss(self, nets: Networks, batch: Batch, adversarial: Tensor) -> Tensor:
        if self._recovering:
            return cross_entropy(nets.update(adversarial), batch)
        return self.inner.loss(self._recorder.networks(nets), batch, adversarial)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        if self._recovering:
            return
        self.inner.after_backward(nets, batch)
        products = self._recorder.products(batch)
        if products is not None:
            self._observe(products, batch.step, batch.group)

    def images_of_update(self, adversarial: Tensor) -> Tensor:
        return adversarial if self._recovering else self.inner.images_of_update(adversarial)

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        if not self._recovering:
            return self.inner.passes_taken(samples, step)
        steps = self.steps * samples
        return StepPasses(Passes(steps, steps), Passes(forward=samples, full_backward=samples))

    def warning(self) -> str:
        """The first collapse since this was last asked for, in a line; "": none. Waits for the device."""
        step = int(self._since)
        self._since = torch.full_like(self._since, _NEVER)
        if step == _NEVER:
            return ""
        return (
            f"step {step}: catastrophic overfitting begins: at the images of the training attack the "
            f"gradient no longer points along its step{self.action}"
        )

    @property
    def action(self) -> str:
        """What is done about a collapse, as the end of a warning; "": nothing."""
        return f"; training by PGD-{self.steps} until it has recovered" if self.steps else ""

    def _climb(self, nets: Networks, batch: Batch) -> Tensor:
        """The images of PGD, whose first step is one of eps, as a single-step method takes it."""
        net, eps, ball = nets.attack, batch.threat.eps, batch.threat.ball(batch.images)
        size = eps * usual_rel_step(self.steps)
        with attacks.eval_mode(net):
            start = batch.threat.random_start(batch.images, batch.ids, seed=batch.seed)
            first = images = ball.step(start, label_gradient(net, start, batch.labels), eps)
            for number in range(1, self.steps):
                climb = label_gradient(net, images, batch.labels)
                if number == 1:
                    self._observe(climb * (first - start), batch.step, batch.group)
                images = ball.step(images, climb, size)
        return images

    @torch.no_grad()
    def _observe(self, products: Tensor, step: Step, group: ProcessGroup) -> None:
        """Follow the alignment; products: of gradient and perturbation, a pixel (B, C, H, W)."""
        total = group.sum(products.abs().sum())
        alignment = torch.where(total > 0, group.sum(products.sum()) / total, 1.0)
        self._alignment = _DECAY * self._alignment + (1 - _DECAY) * alignment.to(self._alignment)
        before = self._collapsed
        self._healthy = self._healthy | (self._alignment > _HEALTHY)
        self._collapsed = self._healthy & (self._alignment < torch.where(before, _RECOVERED, _COLLAPSED))
        noticed = self._collapsed & ~before
        self._since = torch.where(noticed, self._since.clamp(max=step.number), self._since)

    def _to(self, device: torch.device) -> None:
        for name in ("_alignment", "_healthy", "_collapsed", "_since"):
            setattr(self, name, getattr(self, name).to(device))

    def state_dict(self) -> dict[str, Tensor]:
        flags = torch.tensor(self._recovering), torch.tensor(self.overfitted)
        values = self._alignment, self._healthy, self._collapsed, self._since, *flags
        own = {_PREFIX + name: value for name, value in zip(_STATE, values, strict=True)}
        return {**own, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        own = {name: state[_PREFIX + name] for name in _STATE if _PREFIX + name in state}
        super().load_state_dict({n: value for n, value in state.items() if not n.startswith(_PREFIX)})
        device = self._alignment.device
        self._alignment = own.get("alignment", self._alignment)
        self._healthy = own.get("healthy", self._healthy)
        self._collapsed = own.get("collapsed", self._collapsed)
        self._since = own.get("since", self._since)
        self._recovering = bool(own.get("recovering", False))
        self.overfitted = bool(own.get("overfitted", False))
        self._to(device)


class _Recorder:
    """Hands a method its networks, and remembers where its step began and the images of its update."""

    def __init__(self) -> None:
        self._nets: Networks | None = None
        self._twin: Networks | None = None
        self._samples = 0
        self._start: Tensor | None = None
        self._points: list[Tensor] = []
        self._logits: Tensor | None = None

    def begin(self, nets: Networks, samples: int) -> Networks:
        """The networks for a new step on so many samples."""
        self._samples, self._start, self._points = samples, None, []
        return self.networks(nets)

    def networks(self, nets: Networks) -> Networks:
        """Networks that give what `nets` give."""
        if nets is not self._nets or self._twin is None:
            self._nets = nets
            self._twin = nets.replaced(self._update, lambda attack: _Recorded(attack, self._note_start))
        return self._twin

    def products(self, batch: Batch) -> Tensor | None:
        """Gradient times perturbation of each pixel after the backward pass; None: nothing to compare."""
        points, self._points = self._points, []
        if not points or points[-1].grad is None:
            return None
        # a method that steps within the update asks there from where, before it asks at the images
        start = points[0].detach() if self._start is None else self._start
        products = points[-1].grad * (points[-1].detach() - start)
        shares = None if self._logits is None else label_gradient_shares(self._logits, batch)
        return products if shares is None else products * (shares > 0)[:, None, None, None]

    def _note_start(self, images: Tensor) -> None:
        if len(images) == self._samples:  # others are not the images of the batch
            self._start = images.detach().clone()

    def _update(self, images: Tensor) -> Tensor:
        assert self._nets is not None
        if not images.requires_grad:
            images = images.detach().requires_grad_(True)
        images.retain_grad()
        logits = self._nets.update(images)
        self._points.append(images)
        self._logits = logits.detach()
        return logits


class _Recorded(nn.Module):
    """A network for attacks that tells which images it is called with."""

    def __init__(self, net: nn.Module, note: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.net, self._note = net, note
        self.training = False  # as the network for attacks is

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        self._note(images)
        return cast(Tensor, self.net(images))


def watch_collapse(method: Method, settings: Training) -> tuple[Method, CollapseDetector | None]:
    """The method with a detector round its innermost part, and that detector; None: it takes more steps."""
    if isinstance(method, Wrapper):
        method.inner, detector = watch_collapse(method.inner, settings)
        return method, detector
    if not method.single_step:
        return method, None
    detector = CollapseDetector(method, settings.overfitting_steps if settings.overfitting == "pgd" else 0)
    return detector, detector
