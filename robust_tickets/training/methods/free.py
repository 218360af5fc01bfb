"""Free adversarial training: batches are replayed, and one backward pass gives both gradients."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ALONE
from robust_tickets.recipe.schema import Count
from robust_tickets.training.methods.base import Batch, Networks, Step, StepPasses
from robust_tickets.training.methods.cross_entropy import UpdateGradientMethod

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FreeSettings:
    """The replays of method free."""

    replays: Count = 8
    """steps that a batch is taken for, one after the other"""


class Free(UpdateGradientMethod):
    """The perturbation climbs by the input gradient of the update itself, while a batch is replayed.

    Shafahi et al. 2019, "Adversarial Training for Free!", algorithm 1, for each of the `replays` steps on a
    batch:

        x' = x + d,   w <- w - lr dCE(f_w(x'), y) / dw,   d <- project(d + eps sign(dCE(f_w(x'), y) / dx'))

    Both gradients are of one backward pass. d begins at 0 and goes on to the next batch, place by place. An
    epoch has as many steps as any other method's, and sees one image in `replays` of the training images.
    Under an L2 threat the step is eps g / ||g||_2.
    """

    Settings = FreeSettings
    settings: FreeSettings

    def __init__(self, settings: FreeSettings) -> None:
        super().__init__(settings)
        self._shift: Tensor | None = None
        self._group = ALONE  # of the processes, each of which has its places' perturbations

    @property
    def replays(self) -> int:
        return self.settings.replays

    def attack_steps(self) -> int:
        return self.settings.replays

    def passes(self, samples: int, step: Step) -> StepPasses:
        """A forward and a full backward pass; the gradient to the images is part of it."""
        return StepPasses(Passes(), Passes(forward=samples, full_backward=samples))

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        if self._shift is None:
            return batch.images
        if len(self._shift) != len(batch.images):  # of a saved state, which has all places
            self._shift = self._shift[batch.group.part(batch.size)]
        self._shift = self._shift.to(batch.images)
        return (batch.images + self._shift).clamp_(*batch.threat.bounds)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        """Move the perturbation; what leaves the box of valid pixels is cut off."""
        images, gradient = self.images_and_gradient()
        ball, eps = batch.threat.ball(batch.images), batch.threat.eps
        self._shift = ball.step(images, gradient, eps) - batch.images
        self._group = batch.group

    def state_dict(self) -> "dict[str, Tensor]":
        return {} if self._shift is None else {"shift": self._group.gather(self._shift)}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "shift"})
        self._shift = state.get("shift")
