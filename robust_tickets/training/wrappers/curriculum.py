"""A curriculum of steps: the method for the first share of a training, PGD to its end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.schema import Count, NotNegative, ShareOrZero
from robust_tickets.training.methods.base import Batch, Method, Networks, Step, StepPasses, steps_before
from robust_tickets.training.methods.pgd import PGD, PGDSettings, usual_rel_step
from robust_tickets.training.wrappers.base import Wrapper

if TYPE_CHECKING:
    from torch import Tensor

    from robust_tickets.recipe.field_names import FieldNames


@dataclass(frozen=True)
class CurriculumSettings:
    """The method first and PGD at the end, over any method."""

    share: ShareOrZero = 0.0
    """share of the steps that the method takes; PGD takes the others, to the end; 0: the method takes all"""
    steps: Count = 5
    """gradient steps of PGD"""
    rel_step: NotNegative = 0.0
    """their size as a share of eps; 0: 2 / steps, and at least 0.25"""


class Curriculum(Wrapper):
    """The method for a share of the steps, which may be the cheapest one, and PGD from there to the end.

    Li, Wang, Jana & Carin 2020, "Towards Understanding Fast Adversarial Training" (FastAdvW), with FGSM-RS
    as the method. For step t of T and PGD with a random start,

        min_w E CE(f_w(x'_t), y),   x'_t by the method where t < share T, else by PGD-`steps`

    In their FastAdv+ PGD is a remedy that ends when the network has recovered; here it stays.
    """

    Settings = CurriculumSettings
    settings: CurriculumSettings
    switch = "share"

    def __init__(self, settings: CurriculumSettings, inner: Method) -> None:
        super().__init__(settings, inner)
        size = settings.rel_step or usual_rel_step(settings.steps)
        self._pgd = PGD(PGDSettings(settings.steps, size, random_start=True))
        self._latest = inner

    def _method(self, step: Step) -> Method:
        return self.inner if step.number < self._switch(step.count) else self._pgd

    def _switch(self, count: int) -> int:
        """The first step of PGD, in a schedule of so many."""
        return steps_before(self.settings.share, count)

    def perturb(self, nets: Networks, batch: Batch) -> "Tensor":
        self._latest = self._method(batch.step)
        return self._latest.perturb(nets, batch)

    def loss(self, nets: Networks, batch: Batch, adversarial: "Tensor") -> "Tensor":
        return self._method(batch.step).loss(nets, batch, adversarial)

    def after_backward(self, nets: Networks, batch: Batch) -> None:
        self._method(batch.step).after_backward(nets, batch)

    def images_of_update(self, adversarial: "Tensor") -> "Tensor":
        return self._latest.images_of_update(adversarial)

    def attack_steps(self) -> int:
        return max(self.inner.attack_steps(), self.settings.steps)

    def passes(self, samples: int, step: Step) -> StepPasses:
        """Those of the method whose step it is."""
        return self._method(step).passes(samples, step)

    def passes_taken(self, samples: int, step: Step) -> StepPasses:
        return self._method(step).passes_taken(samples, step)

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        switch = max(begin, self._switch(count))
        whole, rest = (self.inner.schedule_passes(samples, b, count, classes) for b in (begin, switch))
        cost = self._pgd.schedule_passes(samples, switch, count, classes)
        cost.attack.add(whole.attack.minus(rest.attack))
        cost.update.add(whole.update.minus(rest.update))
        return cost

    def check(self, names: "FieldNames") -> None:
        super().check(names)
        if self.inner.replays > 1:
            raise InputError(
                f"{names('curriculum')} does not go with the method{names.of_owner}, which takes several "
                "steps on each batch: PGD would replay batches too; choose another method, or leave it out"
            )

    def check_length(self, names: "FieldNames", count: int) -> None:
        super().check_length(names, count)
        if self._switch(count) >= count:
            raise InputError(
                f"{names('curriculum.share')} {self.settings.share:g} leaves PGD no step of a schedule of "
                f"{count} step{'s' * (count != 1)}: choose a smaller share, or a longer schedule or budget"
            )
