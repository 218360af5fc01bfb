"""Square attack, a random search that asks for logits alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from attacks.attack import Attack, AttackResult, Task, misclassified
from attacks.blocks import Blocks
from attacks.bookmark import State
from attacks.checks import check_counts, check_number, check_threat
from attacks.errors import InputError
from attacks.found import Found
from attacks.losses import margin
from attacks.noise import uniform
from attacks.threat import ThreatModel

Draw = Callable[[int], Tensor]
"""So many uniform numbers for each sample, float64 (N, size); asked again it gives the same ones again."""

_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_STREAMS_A_RESTART = 2**20


class Square(Attack):
    """The Square attack, which needs no gradients (Andriushchenko et al. 2020, "Square Attack: a
    query-efficient black-box adversarial attack via random search").

    Changes the image within a random square window, and keeps the change where it raises the margin loss:
    their algorithm 1 with the windows of algorithm 2 in Linf and of algorithm 3 in L2. As in AutoAttack
    (Croce & Hein 2020), the windows shrink after fixed numbers of queries, whatever `queries` is.

    threat: the ball; queries: forward passes of a sample in a restart, the look at the start included, at
    least 1; p: the share of the image's pixels in the first windows, in (0, 1]; restarts: how many random
    starts, at least 1. Raises ValueError for settings that make no sense, and InputError for images that are
    not (N, C, H, W). Of each restart the image of highest loss is taken, not the last one. A given start
    replaces that of the first restart.

        attack = Square(ThreatModel("Linf", 8 / 255), queries=1000)
        adversarial = attack(net, images, labels)
    """

    def __init__(
        self, threat: ThreatModel, *, queries: int = 5000, p: float = 0.8, restarts: int = 1
    ) -> None:
        check_threat(threat)
        check_counts(queries=queries, restarts=restarts)
        check_number("p", p, lambda x: 0 < x <= 1, "a share of the image above 0, at most 1")
        self.threat = threat
        self.queries = queries
        self.p = p
        self.restarts = restarts

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        if task.images.ndim != 4:
            raise InputError(
                f"square changes windows of pixels: expected images (N, C, H, W), got shape "
                f"{tuple(task.images.shape)}"
            )
        found = Found(task)
        for restart, rows in found.restarts(self.restarts):
            self._search(net, task, restart, rows, found)
        return found.result(net)

    def _search(self, net: Blocks, task: Task, restart: int, rows: Tensor, found: Found) -> None:
        """One restart, for the samples that are `rows` of the batch."""
        images, labels, ids = task.images[rows], task.labels[rows], task.ids[rows]
        ball = self.threat.ball(images)
        windows = _WINDOWS[self.threat.norm](images, self.threat.eps)
        best, wrong = images, torch.zeros_like(labels, dtype=torch.bool)
        highest = torch.full_like(labels, -torch.inf, dtype=images.dtype)
        query = first = 0

        def now() -> State:
            return {"query": query, "best": best, "highest": highest, "wrong": wrong}

        with task.mark.level(now) as kept:
            if kept is not None:
                first, best, highest, wrong = (kept[name] for name in now())
            for query in range(first, self.queries):
                task.mark.offer()
                # Not restart * queries + query: a longer search begins as a shorter one does, in every
                # restart.
                draw = _numbers(ids, task.seed, restart * _STREAMS_A_RESTART + query)
                if query > 0:
                    side = windows.side(share(self.p, query))
                    candidate = ball.project(windows.change(images, best, side, draw))
                elif restart == 0 and task.start is not None:
                    candidate = task.start[rows]
                else:
                    candidate = ball.project(windows.start(images, draw))
                logits = net.logits(candidate)
                losses, now_wrong = margin(logits, labels), misclassified(logits, labels)
                # The verdict beside the loss: they differ where margins tie at 0, or logits are no numbers.
                better = (losses > highest) | (now_wrong & ~wrong)
                best = torch.where(better[:, None, None, None], candidate, best)
                highest = torch.where(better, losses, highest)
                wrong = wrong | now_wrong
                keep = found.look(rows, candidate, now_wrong)
                if len(keep) == 0:
                    return
                if len(keep) < len(rows):
                    images, labels, ids, rows = images[keep], labels[keep], ids[keep], rows[keep]
                    best, highest, wrong, ball = best[keep], highest[keep], wrong[keep], ball.rows(keep)
        found.offer(rows, best, highest)


def share(p: float, query: int) -> float:
    """The share of the image's pixels in the window of a query; query 0 is the look at the start.

    Halved after 10, 50, 200, ... changes, AutoAttack's schedule for 10,000 queries.
    """
    return p / 2.0 ** sum(query - 1 > changes for changes in _HALVED_AFTER)


def _numbers(ids: Tensor, seed: int, stream: int) -> Draw:
    return lambda size: uniform((size,), ids, seed=seed, stream=stream)


class Windows(ABC):
    """What the search changes in one norm, on images (N, C, H, W) of one shape; before any projection."""

    def __init__(self, like: Tensor, eps: float) -> None:
        self.channels, self.height, self.width = like.shape[1:]
        self.eps = eps
        self._rows = torch.arange(self.height, device=like.device)
        self._columns = torch.arange(self.width, device=like.device)

    @abstractmethod
    def side(self, share: float) -> int:
        """Pixels along a window that is about that share of the image."""

    @abstractmethod
    def start(self, images: Tensor, draw: Draw) -> Tensor:
        """Where the search begins, shaped as the images."""

    @abstractmethod
    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """The best points so far, changed within a window of that side, another for each sample."""

    def _corner(self, numbers: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """First row and first column of each sample's window, int64 (N, 1), from numbers (N, 2).

        From 0 to H - side, that included: AutoAttack's code rounds down from one less, so that no window that
        is smaller than the image ever holds a pixel of its last row or column.
        """
        top = (numbers[:, :1] * (self.height - side + 1)).long()
        left = (numbers[:, 1:] * (self.width - side + 1)).long()
        return top, left

    def _inside(self, corner: tuple[Tensor, Tensor], side: int) -> Tensor:
        """Which pixels lie in the windows, bool (N, 1, H, W)."""
        (top, left), rows, columns = corner, self._rows, self._columns
        vertical = (rows >= top) & (rows < top + side)
        horizontal = (columns >= left) & (columns < left + side)
        return (vertical[:, :, None] & horizontal[:, None, :])[:, None]


class LinfWindows(Windows):
    """Every pixel at the ball's edge: vertical stripes at first, then squares of one sign a channel."""

    def side(self, share: float) -> int:
        """At least 1."""
        side = max(round(math.sqrt(share * self.height * self.width)), 1)
        return min(side, self.height, self.width)

    def start(self, images: Tensor, draw: Draw) -> Tensor:
        """Stripes of width 1."""
        numbers = draw(self.channels * self.width).reshape(-1, self.channels, 1, self.width)
        return images + self.eps * _signs(numbers, images)

    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """All of a window at one edge; algorithm 2 adds 2 eps and projects, which is the same."""
        numbers = draw(2 + self.channels)
        inside = self._inside(self._corner(numbers[:, :2], side), side)
        edge = images + self.eps * _signs(numbers[:, 2:, None, None], images)
        return torch.where(inside, edge, best)


class L2Windows(Windows):
    """Mass moves from one window to another, where it takes the shape `bumps` beside the one it had."""

    def __init__(self, like: Tensor, eps: float) -> None:
        super().__init__(like, eps)
        self._like = like[:0]
        self._bumps: dict[int, Tensor] = {}

    def side(self, share: float) -> int:
        """Odd and at least 3, where the image is that large."""
        side = max(round(math.sqrt(share * self.height * self.width)), 3)
        return min(side + (side % 2 == 0), self.height, self.width)

    def start(self, images: Tensor, draw: Draw) -> Tensor:
        """Tiles of a fifth of the image, each a pair of bumps of a random sign a channel, length eps in all.

        As many tiles as fit, in the middle: five by five in square images of the usual sizes.
        """
        side = max(min(self.height, self.width) // 5, 1)
        down, across = self.height // side, self.width // side
        numbers = draw(down * across * (1 + self.channels)).reshape(-1, 1 + self.channels, down, across)
        tiles = self._turned(numbers[:, :1], side).reshape(-1, 1, down, across, side, side)
        tiles = tiles * _signs(numbers[:, 1:, :, :, None, None], images)
        shift = torch.zeros_like(images)
        top, left = (self.height - down * side) // 2, (self.width - across * side) // 2
        shift[:, :, top : top + down * side, left : left + across * side] = tiles.transpose(3, 4).reshape(
            -1, self.channels, down * side, across * side
        )
        return images + shift * (
            self.eps / math.sqrt(self.channels * down * across)
        )  # each tile has length 1

    def change(self, images: Tensor, best: Tensor, side: int, draw: Draw) -> Tensor:
        """Algorithm 3: the first window takes the second one's mass, and what the box had left unused."""
        numbers = draw(5 + self.channels)
        first, second = self._corner(numbers[:, :2], side), self._corner(numbers[:, 2:4], side)
        shift = best - images
        either = self._inside(first, side) | self._inside(second, side)
        unused = (self.eps**2 - shift.square().sum((1, 2, 3))).clamp(min=0)
        mass = unused[:, None] / self.channels + (shift.square() * either).sum((2, 3))
        places = self._places(first, side)
        old = shift.flatten(2).gather(2, places)
        new = self._turned(numbers[:, 4:5], side) * _signs(numbers[:, 5:, None], images)
        new = _at_length_one(new + _at_length_one(old)) * mass.sqrt()[:, :, None]
        shift = shift.masked_fill(self._inside(second, side), 0).flatten(2).scatter(2, places, new)
        return images + shift.reshape(images.shape)

    def _places(self, corner: tuple[Tensor, Tensor], side: int) -> Tensor:
        """The windows' pixels, row by row, as places in flattened channels: int64 (N, C, side * side)."""
        (top, left), rows, columns = corner, self._rows[:side], self._columns[:side]
        places = (top + rows)[:, :, None] * self.width + (left + columns)[:, None, :]
        return places.reshape(-1, 1, side * side).expand(-1, self.channels, -1)

    def _turned(self, numbers: Tensor, side: int) -> Tensor:
        """Bumps for each number, lying or upright: (*numbers.shape, side * side)."""
        if side not in self._bumps:
            upright = bumps(side)
            self._bumps[side] = torch.stack([upright, upright.T]).flatten(1).to(self._like)
        return self._bumps[side][(numbers < 0.5).long()]


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
    """-1 or 1 for each uniform number, in the type of `like`."""
    return 1 - 2 * (numbers < 0.5).to(like.dtype)


def _at_length_one(windows: Tensor) -> Tensor:
    """Each channel's window (N, C, pixels) at length 1; zero stays zero."""
    length = torch.linalg.vector_norm(windows, dim=2, keepdim=True)
    return windows / torch.where(length > 0, length, 1.0)


_WINDOWS: dict[str, type[Windows]] = {"Linf": LinfWindows, "L2": L2Windows}
