"""BulletTrain: images that the network is sure of get a short attack, images that it gets wrong none."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.training.methods.base import Batch, Networks, Step, StepPasses, input_gradient
from robust_tickets.training.methods.cross_entropy import CrossEntropyMethod, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_tickets.attacks.balls import Ball

_DECAY, _CAUTION = 0.9, 0.8  # of the moving average; the share of the robust images that is trusted


@dataclass(frozen=True)
class BulletSettings:
    """The attacks on the groups of images of method bullet."""

    steps: Count = 10
    """gradient steps on boundary images, which are right at the start and not among the surest"""
    rel_step: Positive = 0.25
    """their size as a share of eps"""
    robust_steps: Count = 2
    """gradient steps on robust images, the surest of those that are right at the start"""
    robust_rel_step: Positive = 0.75
    """their size as a share of eps"""


class Bullet(CrossEntropyMethod):
    """PGD training whose attack takes many steps on some images, few on others, and none on the rest.

    Hua et al. 2021, "BulletTrain: Accelerating Robust Neural Network Training via Boundary Example Mining".
    At a uniform point x' = x + n of the ball, z being the logits there,

        sigma = std(softmax(z)),   negative where z gives another class than y

    The share r of the images with the largest sigma are robust if sigma > 0, the others with sigma > 0 are
    boundary images, and the rest are outliers, which are trained on at x' itself. r begins at 0 and follows
    the share of robust images: r <- 0.9 r + 0.1 (0.8 accuracy at the images of the update). The steps are
    those of PGD:

        x' <- project(x' + rel_step eps sign(dCE(f_w(x'), y) / dx'))

    The forward pass that sorts is that of the first step of all images. After it each group is a smaller
    batch. A step costs 2 max(k, 1) + 3 passes an image with k steps; the sizes of the groups are read from
    the device once a step.
    """

    Settings = BulletSettings
    settings: BulletSettings

    def __init__(self, settings: BulletSettings) -> None:
        super().__init__(settings)
        self._share: Tensor | None = None
        self._accuracy: Tensor | None = None
        self._group_sizes = (0, 0)

    def attack_steps(self) -> int:
        return max(self.settings.steps, self.settings.robust_steps)

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        """A step for each image, and further ones for the images of the two groups that are attacked."""
        robust, boundary = self._group_sizes
        settings = self.settings
        steps = samples + robust * (settings.robust_steps - 1) + boundary * (settings.steps - 1)
        return StepPasses(Passes(steps, steps), Passes(forward=samples, full_backward=samples))

    @property
    def costs_at_most(self) -> bool:
        return True

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        net, images, labels, settings = nets.attack, batch.images, batch.labels, self.settings
        point = batch.threat.random_start(images, batch.ids, seed=batch.seed)
        ball, eps = batch.threat.ball(images), batch.threat.eps
        with attacks.eval_mode(net):
            logits, gradient = _logits_and_gradient(net, point, labels)
            robust, boundary = self._groups(logits, batch)
            for rows, steps, size in (
                (robust, settings.robust_steps, settings.robust_rel_step * eps),
                (boundary, settings.steps, settings.rel_step * eps),
            ):
                if len(rows):
                    start = ball.select(rows).step(point[rows], gradient[rows], size)
                    point[rows] = _climb(net, start, labels[rows], ball.select(rows), steps - 1, size)
        return point

    def _groups(self, logits: "Tensor", batch: Batch) -> "tuple[Tensor, Tensor]":
        """The places of this process's robust and boundary images, each in their order."""
        right = logits.argmax(1) == batch.labels
        sigma = logits.softmax(1).std(1) * torch.where(right, 1.0, -1.0)
        if self._share is None:
            self._share = torch.zeros((), device=logits.device)
        self._share = self._share.to(logits.device)
        sigma = batch.group.gather(sigma)
        order = sigma.argsort(descending=True, stable=True)
        attacked = (sigma > 0).sum()
        surest = (self._share * len(sigma)).ceil().long().minimum(attacked)
        # packing needs sizes on the host: the only wait of a step
        robust, attacked = torch.stack([surest, attacked]).tolist()
        self._group_sizes = robust, attacked - robust
        return _own(order[:robust], batch), _own(order[robust:attacked], batch)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        logits = nets.update(adversarial)
        self._accuracy = batch.group.mean((logits.detach().argmax(1) == batch.labels).float().mean())
        return cross_entropy(logits, batch)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        """Follow the share of images that are robust."""
        assert self._share is not None
        assert self._accuracy is not None
        self._share = _DECAY * self._share + (1 - _DECAY) * _CAUTION * self._accuracy

    def state_dict(self) -> "dict[str, Tensor]":
        return {} if self._share is None else {"share": self._share}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "share"})
        self._share = state.get("share")
        if self._share is not None and self._share.numel() != 1:
            raise InputError("the training state does not fit the method bullet: remove it")


def _own(places: "Tensor", batch: Batch) -> "Tensor":
    """Of places in the whole batch those of this process's images, as places among them, in order."""
    if batch.group.size > 1:
        share = batch.group.part(batch.size)
        places = places[(places >= share.start) & (places < share.stop)] - share.start
    return places.sort().values


def _logits_and_gradient(net: "nn.Module", images: "Tensor", labels: "Tensor") -> "tuple[Tensor, Tensor]":
    """The logits (N, classes), and the gradient of each image's own loss to it (N, C, H, W)."""
    outputs: list[Tensor] = []

    def loss(logits: "Tensor") -> "Tensor":
        outputs.append(logits.detach())
        return F.cross_entropy(logits, labels, reduction="none").sum()

    gradient = input_gradient(net, images, loss)
    return outputs[0], gradient


def _climb(
    net: "nn.Module", images: "Tensor", labels: "Tensor", ball: "Ball", steps: int, size: float
) -> "Tensor":
    """So many gradient steps from the images on, within the ball."""
    for _ in range(steps):
        _, gradient = _logits_and_gradient(net, images, labels)
        images = ball.step(images, gradient, size)
    return images
