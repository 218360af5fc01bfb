"""A trained network rebuilt inside random ones: how far off it is, and whether its robustness is kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.models.relu_chain import Layer, Numbers, activations, relu_chain
from robust_tickets.tickets.strong_net import Bounds, RandomBlock, StrongNet, bounds, rebuild_all


@dataclass(frozen=True)
class Rebuilt:
    """A row of the table: one random network.

    candidates: random neurons an input of each layer; 0: the target itself.
    weights: those that are kept, of the target too.
    kept_ratio: these over the target's.
    random_weights: those of the random network before it is pruned.
    weight_error: the largest error of a weight, over the largest weight of its layer.
    logit_error: the largest difference to the target's logits, seen on the test images.
    logit_bound: the largest that it can be on any image within eps of a test image.
    same_class: share of the test images that both give the same class.
    clean, robust: accuracy, and that under PGD-20 with the margin loss, on this network and on the target,
        each image by whichever breaks it: at black pixels the pruned network's ReLUs have no gradient.
    transfer: share of images that the attack on the target leaves right by more than the bound, so that this
        network is right there too.
    certified: share of images whose class is proven for all images within eps (interval arithmetic).
    seconds: to find the subsets.
    """

    candidates: int
    weights: int
    kept_ratio: float
    random_weights: int
    weight_error: float
    logit_error: float
    logit_bound: float
    same_class: float
    clean: float
    robust: float
    transfer: float
    certified: float
    seconds: float


def rebuilt_networks(
    net: nn.Module,
    images: Split,
    threat: ThreatModel,
    candidates: Sequence[int],
    seed: int,
    log: Callable[[str], None] = lambda line: None,
    save: Callable[[int, Sequence[RandomBlock]], None] = lambda candidates, blocks: None,
) -> pd.DataFrame:
    """Rebuild a network inside random ones of several widths; the first row is the network itself.

    net: linear layers with ReLU between them.
    images: test images.
    threat: the adversary, in Linf, and of the attack.
    candidates: random neurons an input, one number a row.
    seed: of the random networks and of the attack.
    log: takes a line a row.
    save: takes the candidates and the blocks of each random network.

    Columns as `Rebuilt` has them. Raises InputError for another network, and for a random one that is too
    large.
    """
    target = _Target(net, images, threat, seed)
    rows = [target.row()]
    for count in candidates:
        row, blocks = target.rebuilt(count)
        save(count, blocks)
        log(f"{count} candidates: logits within {row.logit_bound:.2g}, {row.seconds:.1f} s")
        rows.append(row)
    return pd.DataFrame([asdict(row) for row in rows])


class _Target:
    """The network that is rebuilt, with what is measured of it once."""

    def __init__(self, net: nn.Module, images: Split, threat: ThreatModel, seed: int) -> None:
        net, self._seed = net.eval(), seed
        self._images, self._labels = to_float(images.images, channels_last=False), images.labels
        self._attack = PGD(threat, steps=20, loss="margin")
        _, *shape = self._images.shape
        self._layers = relu_chain(net, (shape[0], shape[1], shape[2]))
        flat = self._images.flatten(1).double().numpy()
        self._low, self._high = (flat - threat.eps).clip(0, 1), (flat + threat.eps).clip(0, 1)
        self._logits = activations(self._layers, flat)[-1]
        self._attacked = self._attack_on(net)
        attacked = self._attacked.flatten(1).double().numpy()
        self._attacked_logits = activations(self._layers, attacked)[-1]

    def row(self) -> Rebuilt:
        """The row of the network itself."""
        zero = np.zeros_like(self._logits)
        low, high, _ = bounds(self._layers, [], self._low, self._high)
        robust = _least_margins(self._attacked_logits, zero, self._labels) > 0
        return Rebuilt(
            candidates=0,
            weights=self._size,
            kept_ratio=1.0,
            random_weights=0,
            weight_error=0.0,
            logit_error=0.0,
            logit_bound=0.0,
            same_class=1.0,
            clean=_accuracy(self._logits, self._labels),
            robust=float(robust.mean()),
            transfer=float(robust.mean()),
            certified=_certified(Bounds(low, high, zero), self._labels),
            seconds=0.0,
        )

    def rebuilt(self, candidates: int) -> tuple[Rebuilt, Sequence[RandomBlock]]:
        """The row of a random network, and its blocks."""
        begin = time.perf_counter()
        blocks = rebuild_all(self._layers, candidates, self._seed)
        seconds = time.perf_counter() - begin
        net = StrongNet(blocks)
        with torch.no_grad():
            logits = net(self._images).numpy()
        ball = bounds(self._layers, blocks, self._low, self._high)
        difference = np.abs(logits - self._logits)
        if not bool((difference <= ball.error).all()):
            raise AssertionError("the bound of the logits does not hold: please report this")
        attacked = (self._attack_on(net), self._attacked)
        with torch.no_grad():
            robust = torch.stack([net(images).argmax(1) == self._labels for images in attacked]).all(0)
        transfer = _least_margins(self._attacked_logits, ball.error, self._labels) > 0
        kept = sum(block.count for block in blocks)
        row = Rebuilt(
            candidates=candidates,
            weights=kept,
            kept_ratio=kept / self._size,
            random_weights=sum(block.size for block in blocks),
            weight_error=max(map(_weight_error, self._layers, blocks)),
            logit_error=float(difference.max()),
            logit_bound=float(ball.error.max()),
            same_class=float((logits.argmax(1) == self._logits.argmax(1)).mean()),
            clean=_accuracy(logits, self._labels),
            robust=float(robust.double().mean()),
            transfer=float(transfer.mean()),
            certified=_certified(ball, self._labels),
            seconds=seconds,
        )
        return row, blocks

    @property
    def _size(self) -> int:
        """Weights and biases of the target, without pruned weights."""
        return sum(int(np.count_nonzero(layer.weight)) + layer.bias.size for layer in self._layers)

    def _attack_on(self, net: nn.Module) -> Tensor:
        return self._attack(net, self._images, self._labels, seed=self._seed).detach()


def _weight_error(layer: Layer, block: RandomBlock) -> float:
    target = np.column_stack([layer.weight, layer.bias])
    return float(np.abs(block.weight - target).max() / np.abs(target).max())


def _accuracy(logits: Numbers, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels.numpy()).mean())


def _least_margins(logits: Numbers, error: Numbers, labels: Tensor) -> Numbers:
    """By how much the right logit exceeds each other one at least, of logits that are off by `error` (N,)."""
    return _margins(logits - error, logits + error, labels)


def _certified(ball: Bounds, labels: Tensor) -> float:
    """The share of images whose right logit is the highest for all values within the bounds."""
    return float((_margins(ball.low - ball.error, ball.high + ball.error, labels) > 0).mean())


def _margins(low: Numbers, high: Numbers, labels: Tensor) -> Numbers:
    """The right logit's lower bound less the highest upper bound of the others (N,)."""
    rows, right = np.arange(len(labels)), labels.numpy()
    others = high.copy()
    others[rows, right] = -np.inf
    margins: Numbers = low[rows, right] - others.max(1)
    return margins
