"""Verdicts in float32: ours against torchattacks' from the same starts; with shrinking against without."""

from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from attacks import PGD, ThreatModel
from attacks.losses import margin
from robust_tickets.models.fold import FoldedNet, fold

EPS, STEP, STEPS, RESTARTS, BATCH = 8 / 255, 2 / 255, 20, 5, 250
THREAT = ThreatModel("Linf", EPS)
ATTACK = PGD(THREAT, steps=STEPS, step_size=STEP)


def ready(net: nn.Module) -> FoldedNet:
    """A net as our attacks are given it: folded, channels last."""
    return fold(net.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def agreement(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """PGD-20 with restarts from the same starts: how many samples each side alone breaks.

    Ours counts every iterate, torchattacks' caller the last one.
    """
    ours, theirs = torch.zeros_like(labels) > 0, torch.zeros_like(labels) > 0
    folded = ready(net)
    uniform = Tensor.uniform_
    for rows in torch.arange(len(labels)).split(BATCH):
        x, y = images[rows], labels[rows]
        for restart in range(RESTARTS):
            start = THREAT.random_start(x, rows, seed=0, restart=restart)
            noise = start - x
            # their one draw of noise is ours
            Tensor.uniform_ = lambda made, low, high, noise=noise: made.copy_(noise)  # type: ignore[assignment]
            try:
                attacked = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS)(x, y)
            finally:
                Tensor.uniform_ = uniform  # type: ignore[method-assign]
            with torch.no_grad():
                theirs[rows] |= net(attacked).argmax(1) != y
            layout = x.to(memory_format=torch.channels_last)
            result = ATTACK.run(folded, layout, y, start=start, stop_when_broken=True, block=BATCH)
            assert result.broken is not None
            ours[rows] |= result.broken
    return {"ours alone": int((ours & ~theirs).sum()), "torchattacks alone": int((theirs & ~ours).sum())}


def shrinking(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Verdicts with shrinking that differ from those without, by block size, and those samples' margins.

    A margin is the best wrong logit minus the right one at the last iterate of the run without shrinking.
    """
    folded = ready(net)
    images = images.to(memory_format=torch.channels_last)
    ids = torch.arange(len(labels))
    broken, margins = [], []
    for rows in ids.split(BATCH):
        whole = ATTACK.run(folded, images[rows], labels[rows], sample_ids=rows)
        assert whole.broken is not None
        broken.append(whole.broken)
        with torch.no_grad():
            margins.append(margin(folded(whole.images), labels[rows]))
    expected, at = torch.cat(broken), torch.cat(margins)
    differ, listed = {}, {}
    for block in (BATCH, 64, 7):
        result = ATTACK.run(folded, images, labels, sample_ids=ids, stop_when_broken=True, block=block)
        assert result.broken is not None
        odd = (result.broken != expected).nonzero()[:, 0].tolist()
        differ[str(block)] = len(odd)
        listed |= {str(row): round(float(at[row]), 5) for row in odd}
    return {"differ": differ, "margins": listed}
