"""LIET: one step from a start that the labels give, and consistent outputs."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import F, torch
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.schema import Count, Positive
from robust_tickets.training.methods.base import Batch, Networks, Step, StepPasses, label_gradient
from robust_tickets.training.methods.consistency import ConsistencyMethod, ConsistencySettings

if TYPE_CHECKING:
    from torch import Tensor

    from robust_tickets.data.dataset import Dataset

_LEAST, _MOST = 0.1, 0.5  # share of the start that is noise


@dataclass(frozen=True)
class LIETSettings(ConsistencySettings):
    """The start and the loss of method liet."""

    weight: Positive = 100.0
    """weight of the Jensen-Shannon divergence at the end of the schedule; it rises linearly from 0"""
    refresh: Count = 20
    """steps after which the starts of the classes are computed anew"""


class LIET(ConsistencyMethod):
    """One step from the perturbation that turns a grey image away from the class, mixed with noise.

    Pan et al. 2025, "Mitigating Catastrophic Overfitting in Fast Adversarial Training via Label Information
    Elimination": every `refresh` steps, for each class c, in eval mode,

        LI_c = eps sign(dCE(f_w(grey), c) / dgrey)

    The start s of an image of class y is LI_y, a share r ~ U(0.1, 0.5) of its values replaced by
    U(-eps, eps), and added or subtracted with equal chance. Then, p being the softmax of the logits z,

        z_0 = f_w(x + s),   x' = project(x + s + eps sign(dCE(z_0, y) / ds)),   z_1 = f_w(x'),
        min_w E [ CE(z_1, y) + weight (t / T) JSD(p_0, p_1) ]

    It remembers nothing of an image. Their non-uniform label smoothing is `label_smoothing` with
    `smoothing random`. Defined for Linf.
    """

    Settings = LIETSettings
    settings: LIETSettings

    def __init__(self, settings: LIETSettings) -> None:
        super().__init__(settings)
        self._starts: Tensor | None = None

    def prepare(self, data: "Dataset") -> None:
        if data.spec.classes < 2:
            raise InputError("train.method liet needs at least 2 classes: choose another method")

    def passes(self, samples: int, step: Step) -> StepPasses:
        """As `ConsistencyMethod`; in every `refresh`-th step the passes of a grey image a class besides."""
        return self._with_starts(
            super().passes(samples, step), int(step.number % self.settings.refresh == 0), step
        )

    def schedule_passes(self, samples: int, begin: int, count: int, classes: int) -> StepPasses:
        step, refresh = Step(begin, count, classes), self.settings.refresh
        refreshed = -(-count // refresh) - -(-begin // refresh)  # multiples of `refresh` in [begin, count)
        return self._with_starts(super().passes(samples * (count - begin), step), refreshed, step)

    def _with_starts(self, cost: StepPasses, times: int, step: Step) -> StepPasses:
        cost.attack.add(Passes(times * step.classes, times * step.classes))
        return cost

    def weight(self, step: Step) -> float:
        return self.settings.weight * step.progress

    def divergence(self, first: "Tensor", second: "Tensor") -> "Tensor":
        log_p, log_q = F.log_softmax(first, 1), F.log_softmax(second, 1)
        log_mean = torch.logaddexp(log_p, log_q) - math.log(2)
        both = (F.kl_div(log_mean, one, reduction="batchmean", log_target=True) for one in (log_p, log_q))
        return torch.stack(list(both)).mean()

    def start(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import uniform

        eps, images = batch.threat.eps, batch.images
        if batch.step.number % self.settings.refresh == 0:
            self._starts = self._class_starts(nets, batch)
        elif self._starts is None:  # a training that begins within its schedule: noise alone until then
            self._starts = images.new_zeros(batch.step.classes, *images.shape[1:])
        self._starts = self._starts.to(images)
        chosen = self._starts[batch.labels]
        share, side = uniform((2,), batch.ids, seed=batch.seed, stream=1)[..., None, None, None].unbind(1)
        share = _LEAST + (_MOST - _LEAST) * share
        numbers = uniform(tuple(images.shape[1:]), batch.ids, seed=batch.seed)
        # a number below the share replaces a value, and is uniform there
        noise = (2 * numbers / share - 1).to(images)
        mixed = torch.where((numbers < share).to(images.device), noise, chosen)
        return eps * torch.where((side < 0.5).to(images.device), mixed, -mixed)

    def _class_starts(self, nets: Networks, batch: Batch) -> "Tensor":
        """The sign of each class's gradient at a grey image, (classes, C, H, W)."""
        net, classes = nets.attack, batch.step.classes
        grey = batch.images.new_full((classes, *batch.images.shape[1:]), sum(batch.threat.bounds) / 2)
        labels = torch.arange(classes, device=batch.images.device)
        with attacks.eval_mode(net):
            return label_gradient(net, grey, labels).sign()

    def state_dict(self) -> "dict[str, Tensor]":
        return {} if self._starts is None else {"starts": self._starts}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        super().load_state_dict({name: value for name, value in state.items() if name != "starts"})
        self._starts = state.get("starts")
