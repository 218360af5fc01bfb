"""What a training method is: it turns a batch of clean images into the loss that is minimised.

Files of methods are importable without torch, since every `--help` lists their settings.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robust_tickets import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ALONE, ProcessGroup

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robust_tickets.data.augmentation import Augmentation
    from robust_tickets.data.dataset import Dataset
    from robust_tickets.models.fold import FoldedNet
    from robust_tickets.pruning.masking import Masking
    from robust_tickets.recipe.field_names import FieldNames


@dataclass(frozen=True)
class Step:
    """One step of a training.

    number: from 0.
    count: steps of the whole schedule.
    classes: classes of the images.
    """

    number: int
    count: int
    classes: int

    @property
    def progress(self) -> float:
        """Share of the schedule that is over, from 0 to 1."""
        return self.number / self.count


def steps_before(share: float, count: int) -> int:
    """Steps of a schedule of `count` before a share of it is over."""
    return math.ceil(share * count * (1 - 1e-12))  # rounding the product up must not add a step


@dataclass(frozen=True)
class Batch:
    """The clean images of one step, and what a method may need to know of the step.

    images: float32 (B, C, H, W) in [0, 1].
    labels: int64 (B,).
    ids: int64 (B,), what the random numbers of a sample belong to, together with `seed`.
    threat: the perturbations that the adversary may make.
    seed: seed of the attack's random numbers; it differs from epoch to epoch.
    step: where in the training it is.
    rows: int64 (B,), where the images stand among the training images.
    augmentation: how each image was cropped and flipped.
    targets: (B, classes), the labels as the update smooths them; attacks keep the hard ones. None: hard ones
        there too.
    group: the processes that share the batch, of which these are this one's images. What a method computes
        over images, but for a mean that it minimises, it asks of the group.
    """

    images: "Tensor"
    labels: "Tensor"
    ids: "Tensor"
    threat: "attacks.ThreatModel"
    seed: int
    step: Step
    rows: "Tensor"
    augmentation: "Augmentation"
    targets: "Tensor | None" = None
    group: ProcessGroup = ALONE

    @property
    def size(self) -> int:
        """Images of the whole batch, over all processes."""
        return len(self.labels) * self.group.size


class Networks:
    """The network of a training in the two forms that methods call.

    update: images (B, C, H, W) to logits (B, classes), in train mode, with a graph to the weights.
    folded: its view for attacks, in eval mode and out of the weights' graph, BatchNorms folded away.
    attack: what attacks call, where that is not `folded` itself (in another precision, or compiled).
    net: the network that `update` runs, for wrappers that move its weights for a while.
    masking: its mask; None: nothing is pruned.
    group: the processes that share the training.
    unshared: within it, a backward pass leaves gradients of this process's images alone.
    """

    def __init__(
        self,
        update: "Callable[[Tensor], Tensor]",
        folded: "FoldedNet",
        attack: "nn.Module | None" = None,
        net: "nn.Module | None" = None,
        masking: "Masking | None" = None,
        group: ProcessGroup = ALONE,
        unshared: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.update = update
        self._group, self._unshared = group, unshared
        self.masking = masking
        self._folded = folded
        self._attack = folded if attack is None else attack
        self._net = net

    @property
    def attack(self) -> "nn.Module":
        """The view for attacks, with the weights as they are now: every access folds them again."""
        self._folded.refresh()
        return self._attack

    @property
    def net(self) -> "nn.Module":
        """The network that is trained."""
        assert self._net is not None
        return self._net

    @contextmanager
    def gradients_of(self, weights: "Sequence[Tensor]") -> Iterator[None]:
        """For a backward pass to some weights: after the block they have the gradients of the whole batch."""
        with self._unshared():
            yield
        for weight in weights if self._group.size > 1 else ():
            if weight.grad is not None:
                weight.grad.copy_(self._group.mean(weight.grad))

    def replaced(
        self, update: "Callable[[Tensor], Tensor]", wrap: "Callable[[nn.Module], nn.Module]"
    ) -> "Networks":
        """The same networks, called through others: `update`, and what `wrap` makes of that for attacks."""
        twin = copy(self)
        twin.update, twin._attack = update, wrap(self._attack)
        return twin


@dataclass(frozen=True)
class StepPasses:
    """Passes of one step, by the ledger's phases."""

    attack: Passes
    update: Passes

    @property
    def whole(self) -> Passes:
        """Passes of both phases together."""
        passes = Passes()
        passes.add(self.attack)
        passes.add(self.update)
        return passes


@dataclass(frozen=True)
class NoSettings:
    """Settings of a method that has none."""


class Method(ABC):
    """One way to turn a batch into a loss.

    settings: an instance of the class attribute `Settings`, whose fields become the recipe's
    `train.<method>.<field>` and `search.<method>.<field>`. `norms` are those of the threat models for which
    the method is defined. What a method remembers from step to step is part of `state_dict`.

    A step calls `perturb`, `loss`, the backward pass, and `after_backward`. A wrapper may call `loss` twice,
    so what a method remembers changes in the other two.
    """

    Settings: ClassVar[type] = NoSettings
    norms: tuple[str, ...] = ("Linf", "L2")

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        """The images to train on, like `batch.images`."""

    @abstractmethod
    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        """The loss to minimise, a scalar with a graph to the weights; `adversarial` is from `perturb`."""

    def after_backward(self, nets: Networks, batch: Batch) -> None:  # noqa: B027
        """Called between the backward pass of the loss and the optimiser's step; most have nothing to do."""

    def images_of_update(self, adversarial: "Tensor") -> "Tensor":
        """The images that the step just taken has updated the weights on; `adversarial` is from `perturb`.

        Methods whose `loss` moves the images override it.
        """
        return adversarial

    @abstractmethod
    def attack_steps(self) -> int:
        """Gradient steps of the attack on an image; 0: images are not attacked."""

    @abstractmethod
    def passes(self, samples: int, step: Step) -> StepPasses:
        """What a step on so many samples costs, known before any step.

        It is exact where `passes_taken` is not overridden, and else the most that a step can cost.
        """

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        """What the step just taken has cost; called after its `perturb`, before the next one.

        Methods whose cost depends on the images or on the network override it.
        """
        return self.passes(samples, step)

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        """What the steps from `begin` on of a schedule of `count` cost together, on so many samples each.

        Methods whose steps differ in cost override it.
        """
        return self.passes(samples * (count - begin), Step(begin, count, classes))

    def check(self, names: "FieldNames") -> None:  # noqa: B027
        """Raise InputError where settings make no sense together; names: of the recipe's fields."""

    def check_length(self, names: "FieldNames", count: int) -> None:  # noqa: B027
        """Raise InputError for a schedule of `count` steps that is too short; `names` as in `check`."""

    def prepare(self, data: "Dataset") -> None:  # noqa: B027
        """Called before the first step of a training on these images, or before the state is loaded."""

    def begin(self, masking: "Masking | None") -> None:  # noqa: B027
        """Called before the first step, or once a state is loaded; masking: the network's, if pruned."""

    def state_dict(self) -> "dict[str, Tensor]":
        """Everything that the method remembers between steps; empty for most."""
        return {}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        """Take over what `state_dict` gave. Raises InputError for the state of another method."""
        if state:
            raise InputError(f"the training state does not fit the method {type(self).__name__}: remove it")

    @property
    def replays(self) -> int:
        """How many steps are taken on each batch, one after the other."""
        return 1

    @property
    def remembers_images(self) -> bool:
        """Whether it remembers something of each training image, which `Batch.rows` tells apart."""
        return False

    @property
    def moves_mask(self) -> bool:
        """Whether it moves the mask of the network that it trains."""
        return False

    @property
    def ties_batch(self) -> bool:
        """Whether its loss is of the batch as a whole, so that several devices cannot share one."""
        return False

    @property
    def costs_at_most(self) -> bool:
        """Whether `passes` are the most that a step can cost, and `passes_taken` may be less."""
        return False

    @property
    def single_step(self) -> bool:
        """Whether its attack takes one gradient step, which a network can learn to fool."""
        return self.attack_steps() == 1

    @property
    def attacks(self) -> bool:
        """Whether it attacks the images, so that they depend on the threat model."""
        return self.attack_steps() > 0


def run_attack(attack: "attacks.Attack", nets: Networks, batch: Batch) -> "Tensor":
    """The images that an attack makes of a batch, by the batch's own random numbers."""
    # images and labels are right by construction, and a check would make a GPU wait
    options = attacks.RunOptions(verdict=False, check=False)
    images, labels, ids = batch.images, batch.labels, batch.ids
    return attack.run(nets.attack, images, labels, sample_ids=ids, seed=batch.seed, options=options).images


def input_gradient(net: "nn.Module", images: "Tensor", loss: "Callable[[Tensor], Tensor]") -> "Tensor":
    """The gradient of a loss of the logits to the images (B, C, H, W), without any to the weights.

    loss: logits (B, classes) to a scalar; the sum over samples, so that no sample feels its batch.
    """
    point = images.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(net(point)), point)
    return gradient


def label_gradient(net: "nn.Module", images: "Tensor", labels: "Tensor") -> "Tensor":
    """The gradient of each image's own cross-entropy with its hard label to the images (B, C, H, W)."""
    return input_gradient(net, images, lambda logits: F.cross_entropy(logits, labels, reduction="sum"))
