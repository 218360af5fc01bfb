"""FGSM-PGI: each training image's perturbation is remembered, and the next step begins there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import F, torch
from robust_tickets.recipe.schema import Count, Positive, ShareOrZero
from robust_tickets.training.methods.base import Batch, Networks, Step
from robust_tickets.training.methods.consistency import ConsistencyMethod, ConsistencySettings

if TYPE_CHECKING:
    from torch import Tensor

    from robust_tickets.data.dataset import Dataset


@dataclass(frozen=True)
class PGISettings(ConsistencySettings):
    """The memory and the loss of method pgi."""

    weight: Positive = 10.0
    """weight of the squared difference of the logits"""
    momentum: ShareOrZero = 0.3
    """share of an image's older gradients that the next one is added to"""
    reset: Count = 40
    """epochs after which memory and momentum begin anew"""


class PGI(ConsistencyMethod):
    """One step from the perturbation that the image had before, which moves along the sum of its gradients.

    Jia et al. 2022, "Prior-Guided Fast Adversarial Training" (FGSM-MEP), algorithm 3, for an image i with
    memory M_i and gradient sum m_i:

        z_0 = f_w(x + M_i),   g = dCE(z_0, y) / dx,   x' = project(x + M_i + eps sign(g)),   z_1 = f_w(x'),
        m_i <- momentum m_i + g / |g|_1,   M_i <- project(M_i + eps sign(m_i)),
        min_w E [ CE(z_1, y) + weight mean((z_1 - z_0)^2) ]

    M_i begins at eps sign(U(-1, 1)), anew every `reset` epochs. The memory belongs to the whole image: each
    epoch's crop and flip is applied to it, and what the crop showed is written back. (The authors' code
    keeps it in the frame of the crop, which another crop no longer fits.) It takes 4 bytes a pixel value of
    the training set, and they are part of each state. Their label smoothing is `label_smoothing`. Defined
    for Linf.
    """

    Settings = PGISettings
    settings: PGISettings

    def __init__(self, settings: PGISettings) -> None:
        super().__init__(settings)
        # in units of eps, where 16 bits are exact at the bounds; |g| is divided by its mean, for the same
        self._memory = self._momentum = torch.zeros(0)
        self._fresh = torch.zeros(0, dtype=torch.bool)

    @property
    def remembers_images(self) -> bool:
        return True

    def prepare(self, data: "Dataset") -> None:
        """Make room for the memory of so many training images."""
        shape, device = data.train.images.shape, data.train.images.device
        self._memory = torch.zeros(shape, dtype=torch.float16, device=device)
        self._momentum = torch.zeros_like(self._memory)
        self._fresh = torch.ones(len(data.train), dtype=torch.bool, device=device)

    def weight(self, step: Step) -> float:
        return self.settings.weight

    def divergence(self, first: "Tensor", second: "Tensor") -> "Tensor":
        return F.mse_loss(second, first)

    def start(self, nets: Networks, batch: Batch) -> "Tensor":
        from robust_tickets.attacks.noise import uniform

        rows = batch.rows
        self._begin_anew(batch)
        signs = uniform(tuple(batch.images.shape[1:]), batch.ids, seed=batch.seed).sub_(0.5).sign_()
        fresh = self._fresh[rows][:, None, None, None]
        self._memory[rows] = torch.where(fresh, signs.to(self._memory), self._memory[rows])
        return batch.threat.eps * batch.augmentation.apply(self._memory[rows]).to(batch.images)

    def observe(self, batch: Batch, gradient: "Tensor") -> None:
        rows, crop = batch.rows, batch.augmentation
        memory, momentum = self._memory[rows].float(), self._momentum[rows].float()
        gradient = gradient / batch.group.mean(gradient.abs().mean()).clamp(min=1e-30)
        total = gradient + self.settings.momentum * crop.apply(momentum)
        moved = (crop.apply(memory) + total.sign()).clamp_(-1, 1)
        # the next epoch may give an image to another process, so that all have the whole memory
        rows, gather = batch.group.gather(rows), batch.group.gather
        self._momentum[rows] = gather(crop.write_back(total, momentum).to(self._momentum))
        self._memory[rows] = gather(crop.write_back(moved, memory).to(self._memory))
        self._fresh[rows] = False

    def _begin_anew(self, batch: Batch) -> None:
        """Forget everything in the first step of every `reset`-th epoch."""
        epoch, step = divmod(batch.step.number, len(self._fresh) // batch.size)
        if step == 0 and epoch % self.settings.reset == 0:
            self._momentum.zero_()
            self._fresh.fill_(True)

    def state_dict(self) -> "dict[str, Tensor]":
        return {"memory": self._memory, "momentum": self._momentum, "fresh": self._fresh}

    def load_state_dict(self, state: "dict[str, Tensor]") -> None:
        own = self.state_dict()
        if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in state.items()}:
            raise InputError("the training state does not fit the method PGI: remove it")
        for name, value in own.items():
            value.copy_(state[name])
