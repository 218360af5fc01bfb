"""The two balls of the field, each cut with the box of valid pixels, around a batch of images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .noise import in_unit_ball, uniform


class Ball(ABC):
    """The points within reach of the adversary around each image of a batch (N, C, H, W)."""

    @classmethod
    @abstractmethod
    def around(cls, images: Tensor, eps: float, bounds: tuple[float, float]) -> Self:
        """The ball of radius eps around each image (N, C, H, W), within the bounds of its pixels."""

    @abstractmethod
    def project(self, candidates: Tensor) -> Tensor:
        """A point of ball and box for each candidate (N, C, H, W); one that lies inside stays where it is."""

    @abstractmethod
    def step(
        self, current: Tensor, gradient: Tensor, size: float | Tensor, *, spare: Tensor | None = None
    ) -> Tensor:
        """Each point moved along the norm's steepest ascent, then projected.

        current: (N, C, H, W), the points.
        gradient: (N, C, H, W); only its direction counts, however small it is; zero and NaN move nothing.
        size: length of the step in the units of eps, one for all or (N, 1, 1, 1).
        spare: a tensor like `current` whose memory the result may take.
        """

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The ball around the images `rows`, int64."""

    @staticmethod
    @abstractmethod
    def length(shift: Tensor) -> Tensor:
        """The norm of each sample's perturbation, (N,)."""

    @staticmethod
    @abstractmethod
    def noise(shape: tuple[int, ...], sample_ids: Tensor, *, seed: int, stream: int) -> Tensor:
        """A uniform point of the ball of radius 1 for each sample, float64 (N, *shape).

        On the device of `sample_ids`, or on the host where that has no float64.
        """


@dataclass(frozen=True)
class LinfBall(Ball):
    """Perturbations of no pixel by more than eps: ball and box are one interval a pixel, computed once."""

    lowest: Tensor
    highest: Tensor

    @classmethod
    def around(cls, images: Tensor, eps: float, bounds: tuple[float, float]) -> Self:
        return cls((images - eps).clamp_(*bounds), (images + eps).clamp_(*bounds))

    def project(self, candidates: Tensor) -> Tensor:
        return candidates.clamp(self.lowest, self.highest)

    def step(
        self, current: Tensor, gradient: Tensor, size: float | Tensor, *, spare: Tensor | None = None
    ) -> Tensor:
        return torch.sign(gradient, out=spare).mul_(size).add_(current).clamp_(self.lowest, self.highest)

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.lowest[rows], self.highest[rows])

    @staticmethod
    def length(shift: Tensor) -> Tensor:
        return shift.abs().flatten(1).amax(1)

    @staticmethod
    def noise(shape: tuple[int, ...], sample_ids: Tensor, *, seed: int, stream: int) -> Tensor:
        return uniform(shape, sample_ids, seed=seed, stream=stream).mul_(2).sub_(1)


@dataclass(frozen=True)
class L2Ball(Ball):
    """Perturbations of a Euclidean norm, over all pixels and channels, of at most eps."""

    images: Tensor
    eps: float
    bounds: tuple[float, float]

    @classmethod
    def around(cls, images: Tensor, eps: float, bounds: tuple[float, float]) -> Self:
        return cls(images, eps, bounds)

    def project(self, candidates: Tensor) -> Tensor:
        # a clip moves towards the image, so it stays in the ball
        shift = candidates - self.images
        length = _per_sample(self.length(shift), shift)
        scaled = self.images + shift * (self.eps / length)  # NaN at length 0, and not taken there
        return torch.where(length > self.eps, scaled, candidates).clamp_(*self.bounds)

    def step(
        self, current: Tensor, gradient: Tensor, size: float | Tensor, *, spare: Tensor | None = None
    ) -> Tensor:
        # over its largest entry first: a confident network's gradient is so small that its square is zero
        gradient = gradient.nan_to_num()
        gradient = gradient / _positive(_per_sample(gradient.abs().flatten(1).amax(1), gradient))
        length = _positive(_per_sample(self.length(gradient), gradient))
        return self.project(current + size * (gradient / length))

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.images[rows], self.eps, self.bounds)

    @staticmethod
    def length(shift: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(shift.flatten(1), dim=1)
        return length

    @staticmethod
    def noise(shape: tuple[int, ...], sample_ids: Tensor, *, seed: int, stream: int) -> Tensor:
        return in_unit_ball(shape, sample_ids, seed=seed, stream=stream)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) in a shape that goes with `like` (N, ...)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _positive(lengths: Tensor) -> Tensor:
    """Lengths to divide by: 1 for 0, so that zero over zero stays zero."""
    return torch.where(lengths > 0, lengths, 1.0)
