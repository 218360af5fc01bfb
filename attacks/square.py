"""Square attack, a random search that asks for logits alone."""

import torch
from torch import Tensor

from .attack import Attack
from .blocks import Blocks
from .checks import check_counts, check_number
from .errors import InputError
from .losses import margin
from .network import misclassified
from .noise import uniform
from .record import AttackRecord
from .task import AttackResult, Task
from .threat import ThreatModel, check_threat
from .windows import WINDOWS, Draw

_HALVE_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_STREAMS_A_RESTART = 2**20


class Square(Attack):
    """The Square attack, which needs no gradients (Andriushchenko et al. 2020, "Square Attack: a
    query-efficient black-box adversarial attack via random search").

    Changes the image within a random square window, and keeps the change where it raises the margin loss:
    their algorithm 1 with the windows of algorithm 2 in Linf and of algorithm 3 in L2. As in AutoAttack
    (Croce & Hein 2020), the windows shrink after fixed numbers of queries, whatever `queries` is. Of each
    restart the image of highest loss is taken, not the last one.

    threat: the ball and the box of valid pixels.
    queries: forward passes of a sample in a restart, the one at the start included, at least 1.
    p: the share of the image's pixels in the first windows, in (0, 1].
    restarts: number of random starts, at least 1; a start that `run` is given replaces the first.

    Raises ValueError for settings that make no sense, InputError for images that are not (N, C, H, W).

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

    @property
    def passes_per_sample(self) -> int:
        """A forward a query."""
        return self.restarts * self.queries

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        if task.images.ndim != 4:
            raise InputError(
                f"square changes windows of pixels: expected images (N, C, H, W), got shape "
                f"{tuple(task.images.shape)}"
            )
        record = AttackRecord(task, net)
        for restart, rows in record.restarts(self.restarts):
            self._search(net, task, restart, rows, record)
        return record.result()

    def _search(self, net: Blocks, task: Task, restart: int, rows: Tensor, record: AttackRecord) -> None:
        """Algorithm 1 from one start, for the samples `rows` of the task."""
        images, labels, ids = task.images[rows], task.labels[rows], task.ids[rows]
        ball = self.threat.ball(images)
        windows = WINDOWS[self.threat.norm](images, self.threat.eps)
        best, best_wrong = images, torch.zeros_like(labels, dtype=torch.bool)
        best_loss = torch.full_like(labels, -torch.inf, dtype=images.dtype)
        for query in range(self.queries):
            # not restart * queries + query: in every restart a longer search begins as a shorter one does
            draw = _draw(ids, task.seed, restart * _STREAMS_A_RESTART + query)
            if query > 0:
                side = windows.side(window_share(self.p, query))
                candidate = ball.project(windows.change(images, best, side, draw))
            elif restart == 0 and task.start is not None:
                candidate = task.start[rows]
            else:
                candidate = ball.project(windows.start(images, draw))
            logits = net.logits(candidate)
            loss, wrong = margin(logits, labels), misclassified(logits, labels)
            # the verdict beside the loss: they differ where margins tie at 0, and for NaN
            better = (loss > best_loss) | (wrong & ~best_wrong)
            best = torch.where(better[:, None, None, None], candidate, best)
            best_loss = torch.where(better, loss, best_loss)
            best_wrong = best_wrong | wrong
            left = record.note(rows, candidate, wrong)
            if len(left) == 0:
                return
            if len(left) < len(rows):
                images, labels, ids, rows = images[left], labels[left], ids[left], rows[left]
                best, best_loss, best_wrong = best[left], best_loss[left], best_wrong[left]
                ball = ball.select(left)
        record.keep_highest(rows, best, best_loss)


def window_share(p: float, query: int) -> float:
    """The share of the image's pixels in the window of a query; query 0 is the look at the start.

    Halved after 10, 50, 200, ... changes, AutoAttack's schedule for 10,000 queries.
    """
    return p / 2.0 ** sum(query - 1 > changes for changes in _HALVE_AFTER)


def _draw(ids: Tensor, seed: int, stream: int) -> Draw:
    return lambda size: uniform((size,), ids, seed=seed, stream=stream)
