"""Threat models: a ball around the image, within the box of valid pixels."""

from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from .balls import Ball, L2Ball, LinfBall

_BALLS: dict[str, type[Ball]] = {"Linf": LinfBall, "L2": L2Ball}


@dataclass(frozen=True)
class ThreatModel:
    """Perturbations of at most `eps` in the norm `norm`, images within `bounds`.

    norm: "Linf", the largest change of a pixel, or "L2", the Euclidean length over all pixels and channels.
    eps: radius of the ball in the units of the pixels; with images in [0, 1] the usual values on CIFAR-10 are
        8/255 for Linf and 0.5 for L2.
    bounds: the lowest and the highest value of a pixel.

    Raises ValueError for another norm, for an eps that is not positive or, in Linf, wider than the box, and
    for empty bounds.
    """

    norm: str
    eps: float
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not isinstance(self.norm, str) or self.norm not in _BALLS:
            raise ValueError(f"norm {self.norm!r} is not supported: use 'Linf' or 'L2'")
        bounds: object = self.bounds
        if not (isinstance(bounds, tuple) and len(bounds) == 2 and all(isinstance(x, Real) for x in bounds)):
            raise ValueError(f"bounds must be two numbers such as (0, 1), got {self.bounds!r}")
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds {self.bounds} are empty: the first must lie below the second")
        eps: object = self.eps
        if isinstance(eps, bool) or not isinstance(eps, Real):
            raise ValueError(f"eps must be a number such as 8 / 255, got {self.eps!r}")
        if not 0 < self.eps < float("inf"):
            raise ValueError(f"eps must be positive and finite, got {self.eps}")
        if self.norm == "Linf" and self.eps > high - low:
            raise ValueError(
                f"eps {self.eps:g} is more than the whole box of pixels, [{low:g}, {high:g}]: give it in "
                "their units, as 8 / 255 for images in [0, 1], or give the bounds too"
            )

    def ball(self, images: Tensor) -> Ball:
        """The allowed points around a batch, for several projections or steps in a row."""
        return _BALLS[self.norm].around(images, self.eps, self.bounds)

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """An allowed point for each candidate. Idempotent up to rounding.

        Linf: the nearest one. L2: the perturbation is scaled to length eps where it is longer, then clipped
        to the box. That is the point of practice (the robustness library of Engstrom et al. 2019,
        torchattacks, foolbox), not the nearest one of ball and box together, which would need a search.

        candidates: (N, C, H, W), the points to project.
        images: (N, C, H, W), the centres of the balls.
        """
        return self.ball(images).project(candidates)

    def random_start(self, images: Tensor, sample_ids: Tensor, *, seed: int, restart: int = 0) -> Tensor:
        """A uniform point of each ball, clipped to the box (Madry et al. 2018, section 2.1).

        images: (N, C, H, W), the centres of the balls.
        sample_ids: int64 (N,); a sample's point follows from its id, the seed and the restart alone.
        """
        ball = self.ball(images)
        noise = ball.noise(tuple(images.shape[1:]), sample_ids, seed=seed, stream=restart)
        return ball.project(images + noise.mul_(self.eps).to(images))

    def allows(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Whether each candidate (N, C, H, W) lies in ball and box: bool (N,).

        The ball is widened by a rounding of every pixel in the images' type, since images + eps is rounded
        too.
        """
        low, high = self.bounds
        length = _BALLS[self.norm].length
        rounding = 4 * torch.finfo(images.dtype).eps * max(1.0, abs(low), abs(high))
        slack = rounding * float(length(torch.ones(1, *images.shape[1:])))
        inside = ((candidates >= low) & (candidates <= high)).flatten(1).all(1)
        return inside & (length(candidates - images) <= self.eps + slack)


def check_threat(threat: object) -> None:
    """Raise ValueError unless it is a threat model."""
    if not isinstance(threat, ThreatModel):
        raise ValueError(f"the threat must be a ThreatModel, as ThreatModel('Linf', 8 / 255), got {threat!r}")
