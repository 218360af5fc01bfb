"""Compares verdicts in float32: ours with torchattacks', and ours with and without shrinking batches."""

from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from robust_tickets.attacks import PGD, RunOptions, ThreatModel
from robust_tickets.attacks.losses import margin
from robust_tickets.models.fold import FoldedNet, fold

EPS, STEP, STEPS, RESTARTS, BATCH = 8 / 255, 2 / 255, 20, 5, 250
THREAT = ThreatModel("Linf", EPS)
ATTACK = PGD(THREAT, steps=STEPS, step_size=STEP)


def fold_channels_last(net: nn.Module) -> FoldedNet:
    """The network as our attacks run it: folded, channels last."""
    return fold(net.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def agreement(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """PGD-20 with restarts from the same starts: how many samples each library alone breaks.

    Ours counts every iterate; with torchattacks only the last one is classified.
    """
    ours, theirs = torch.zeros_like(labels) > 0, torch.zeros_like(labels) > 0
    folded = fold_channels_last(net)
    uniform = Tensor.uniform_
    for rows in torch.arange(len(labels)).split(BATCH):
        x, y = images[rows], labels[rows]
        for restart in range(RESTARTS):
            start = THREAT.random_start(x, rows, seed=0, restart=restart)
            noise = start - x
            # the one draw of torchattacks gives our noise
            Tensor.uniform_ = lambda tensor, low, high, noise=noise: tensor.copy_(noise)  # type: ignore[assignment]
            try:
                adversarial = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS)(x, y)
            finally:
                Tensor.uniform_ = uniform  # type: ignore[method-assign]
            with torch.no_grad():
                theirs[rows] |= net(adversarial).argmax(1) != y
            layout = x.to(memory_format=torch.channels_last)
            options = RunOptions(stop_when_broken=True, block=BATCH)
            result = ATTACK.run(folded, layout, y, start=start, seed=0, options=options)
            assert result.broken is not None
            ours[rows] |= result.broken
    return {"ours alone": int((ours & ~theirs).sum()), "torchattacks alone": int((theirs & ~ours).sum())}


def shrinking(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Verdicts with shrinking that differ from those without, by block size, and those samples' margins.

    A margin is the best wrong logit minus the right one at the last iterate of the run without shrinking.
    """
    folded = fold_channels_last(net)
    images = images.to(memory_format=torch.channels_last)
    ids = torch.arange(len(labels))
    all_broken, all_margins = [], []
    for rows in ids.split(BATCH):
        whole = ATTACK.run(folded, images[rows], labels[rows], sample_ids=rows, seed=0)
        assert whole.broken is not None
        all_broken.append(whole.broken)
        with torch.no_grad():
            all_margins.append(margin(folded(whole.images), labels[rows]))
    expected, at_end = torch.cat(all_broken), torch.cat(all_margins)
    counts, margins = {}, {}
    for block in (BATCH, 64, 7):
        options = RunOptions(stop_when_broken=True, block=block)
        result = ATTACK.run(folded, images, labels, sample_ids=ids, seed=0, options=options)
        assert result.broken is not None
        different = (result.broken != expected).nonzero()[:, 0].tolist()
        counts[str(block)] = len(different)
        margins |= {str(row): round(float(at_end[row]), 5) for row in different}
    return {"differ": counts, "margins": margins}
