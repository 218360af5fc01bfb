"""The changes that Square tries within windows of the image; a class for each norm."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[int], Tensor]
"""So many uniform numbers for each sample, float64 (N, size), as `noise.uniform` gives them; the same ones at
every call."""


class Windows(ABC):
    """The start and the changes of the search in one norm, on images (N, C, H, W) of one shape, unprojected.

    like: images, for shape, type and device.
    eps: the radius of the ball.
    """

    def __init__(self, like: Tensor, eps: float) -> None:
        self.channels, self.height, self.width = like.shape[1:]
        self.eps = eps
        self._rows = torch.arange(self.height, device=like.device)
        self._columns = torch.arange(self.width, device=like.device)

    @abstractmethod
    def side(self, share: float) -> int:
        """Pixels along a window that is about this share of the image."""

    @abstractmethod
    def start(self, images: Tensor, draw: Draw) -> Tensor:
        """Where the search begins, (N, C, H, W)."""

    @abstractmethod
    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """The best points (N, C, H, W), changed within a window of this side, one a sample."""

    def _corner(self, numbers: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """First row and first column of each sample's window, int64 (N, 1), from numbers (N, 2).

        From 0 to H - side, that included. AutoAttack's code rounds down from one less, so that no window
        smaller than the image ever holds a pixel of its last row or column.
        """
        top = (numbers[:, :1] * (self.height - side + 1)).long()
        left = (numbers[:, 1:] * (self.width - side + 1)).long()
        return top.to(self._rows.device), left.to(self._rows.device)

    def _inside(self, corner: tuple[Tensor, Tensor], side: int) -> Tensor:
        """Whether each pixel lies in its sample's window, bool (N, 1, H, W)."""
        (top, left), rows, columns = corner, self._rows, self._columns
        vertical = (rows >= top) & (rows < top + side)
        horizontal = (columns >= left) & (columns < left + side)
        return (vertical[:, :, None] & horizontal[:, None, :])[:, None]


class LinfWindows(Windows):
    """Every pixel at the ball's edge: vertical stripes at first, then squares of one sign a channel."""

    def side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self.height * self.width)), 1)
        return min(side, self.height, self.width)

    def start(self, images: Tensor, draw: Draw) -> Tensor:
        numbers = draw(self.channels * self.width).reshape(-1, self.channels, 1, self.width)
        return images + self.eps * _signs(numbers, images)

    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """Algorithm 2: all of a window at one edge, which is the same as adding 2 eps and projecting."""
        numbers = draw(2 + self.channels)
        inside = self._inside(self._corner(numbers[:, :2], side), side)
        edge = images + self.eps * _signs(numbers[:, 2:, None, None], images)
        return torch.where(inside, edge, best)


class L2Windows(Windows):
    """Mass moves from one window to another, where `bumps` are added to the shape it had."""

    def __init__(self, like: Tensor, eps: float) -> None:
        super().__init__(like, eps)
        self._like = like[:0]
        self._bumps: dict[int, Tensor] = {}

    def side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self.height * self.width)), 3)
        return min(side + (side % 2 == 0), self.height, self.width)

    def start(self, images: Tensor, draw: Draw) -> Tensor:
        """Tiles of a fifth of the image, each a pair of bumps of a random sign a channel, length eps in all.

        As many tiles as fit, in the middle: five by five in square images of the usual sizes.
        """
        side = max(min(self.height, self.width) // 5, 1)
        down, across = self.height // side, self.width // side
        numbers = draw(down * across * (1 + self.channels)).reshape(-1, 1 + self.channels, down, across)
        tiles = self._turn_bumps(numbers[:, :1], side).reshape(-1, 1, down, across, side, side)
        tiles = tiles * _signs(numbers[:, 1:, :, :, None, None], images)
        shift = torch.zeros_like(images)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        shift[:, :, top : top + down * side, left : left + across * side] = tiles.transpose(3, 4).reshape(
            -1, self.channels, down * side, across * side
        )
        each_tile = self.eps / math.sqrt(self.channels * down * across)  # a tile has length 1
        return images + shift * each_tile

    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """Algorithm 3: the first window takes the second one's mass, and what the ball had left unused."""
        numbers = draw(5 + self.channels)
        first, second = self._corner(numbers[:, :2], side), self._corner(numbers[:, 2:4], side)
        shift = best - images
        either = self._inside(first, side) | self._inside(second, side)
        unused = (self.eps**2 - shift.square().sum((1, 2, 3))).clamp(min=0)
        mass = unused[:, None] / self.channels + (shift.square() * either).sum((2, 3))
        places = self._places(first, side)
        old = shift.flatten(2).gather(2, places)
        new = self._turn_bumps(numbers[:, 4:5], side) * _signs(numbers[:, 5:, None], images)
        new = _unit_length(new + _unit_length(old)) * mass.sqrt()[:, :, None]
        shift = shift.masked_fill(self._inside(second, side), 0).flatten(2).scatter(2, places, new)
        return images + shift.reshape(images.shape)

    def _places(self, corner: tuple[Tensor, Tensor], side: int) -> Tensor:
        """The windows' pixels, row by row, as places in flattened channels: int64 (N, C, side * side)."""
        (top, left), rows, columns = corner, self._rows[:side], self._columns[:side]
        places = (top + rows)[:, :, None] * self.width + (left + columns)[:, None, :]
        return places.reshape(-1, 1, side * side).expand(-1, self.channels, -1)

    def _turn_bumps(self, numbers: Tensor, side: int) -> Tensor:
        """Bumps for each number, lying or upright: (*numbers.shape, side * side)."""
        if side not in self._bumps:
            upright = bumps(side)
            self._bumps[side] = torch.stack([upright, upright.T]).flatten(1).to(self._like)
        return self._bumps[side][(numbers < 0.5).long().to(self._like.device)]


def bumps(side: int) -> Tensor:
    """A positive bump above a negative one, float64 (side, side) of length 1 (section 3.3, eta)."""
    upper = side // 2
    both = torch.cat([_bump(upper, side), -_bump(side - upper, side)])
    return both / both.square().sum().sqrt()


def _bump(height: int, width: int) -> Tensor:
    """Falls from the middle in square rings, length 1: ring r is the sum of 1 / (k + 1)^2 over k >= r."""
    rings = max(height, width) // 2 + 1
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    levels = (1 / torch.arange(1, rings + 1, dtype=torch.float64).square()).flip(0).cumsum(0).flip(0)
    bump = levels[torch.maximum(down[:, None], across)]
    return bump / bump.square().sum().sqrt()


def _signs(numbers: Tensor, like: Tensor) -> Tensor:
    """-1 or 1 for each uniform number, in the type of `like` and on its device."""
    return 1 - 2 * (numbers < 0.5).to(like)


def _unit_length(windows: Tensor) -> Tensor:
    """Each channel's window (N, C, pixels) at length 1; zero stays zero."""
    length = torch.linalg.vector_norm(windows, dim=2, keepdim=True)
    return windows / torch.where(length > 0, length, 1.0)


WINDOWS: dict[str, type[Windows]] = {"Linf": LinfWindows, "L2": L2Windows}
"""The changes of each norm."""
