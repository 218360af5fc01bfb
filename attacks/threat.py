"""What the adversary may do: a ball around the image, inside the box of valid pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.noise import uniform


@dataclass(frozen=True)
class ThreatModel:
    """Perturbations of at most `eps` in the norm `norm`, images within `bounds`.

    `eps` has the units of the pixels: with images in [0, 1] the usual CIFAR-10 setting is 8/255. Raises
    ValueError for a norm other than "Linf", for an eps that is not positive, or for empty bounds.
    """

    norm: str
    eps: float
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Check the three values."""
        if self.norm != "Linf":
            raise ValueError(f"norm {self.norm!r} is not supported: use 'Linf'")
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds {self.bounds} are empty: the first must lie below the second")
        if not 0 < self.eps < float("inf"):
            raise ValueError(f"eps must be positive and finite, got {self.eps}")

    def interval(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest value that each pixel may take: two tensors of the images' shape."""
        low, high = self.bounds
        return (images - self.eps).clamp_(low, high), (images + self.eps).clamp_(low, high)

    def project(self, candidates: Tensor, images: Tensor) -> Tensor:
        """The nearest allowed point to each candidate; both of shape (N, C, H, W). Idempotent."""
        lowest, highest = self.interval(images)
        return candidates.clamp(lowest, highest)

    def random_start(self, images: Tensor, sample_ids: Tensor, *, seed: int, restart: int = 0) -> Tensor:
        """A uniform point of each ball, clipped to the box (Madry et al. 2018, section 2.1)."""
        noise = uniform(tuple(images.shape[1:]), sample_ids, seed=seed, stream=restart)
        noise = noise.mul_(2).sub_(1).mul_(self.eps).to(images.dtype)
        return self.project(images + noise, images)

    def allows(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Whether each candidate lies in ball and box: bool (N,).

        The ball is widened by a rounding of the images' type, since images + eps is rounded too.
        """
        low, high = self.bounds
        slack = 4 * torch.finfo(images.dtype).eps * max(1.0, abs(low), abs(high))
        distance = (candidates - images).abs().flatten(1).amax(1)
        inside = ((candidates >= low) & (candidates <= high)).flatten(1).all(1)
        return inside & (distance <= self.eps + slack)
