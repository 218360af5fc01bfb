"""Accuracy and loss on the images held out of a training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation import evaluate
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.models.fold import FoldedNet
from robust_tickets.training.config import TrainingConfig


@dataclass(frozen=True)
class Validation:
    """One look at the validation images.

    record: val_clean and val_robust (fractions), val_loss (mean cross-entropy on the clean images), and
    val_fgsm where that was asked for.
    right: bool (N,), which images are classified right without an attack.
    passes: what it took.
    """

    record: dict[str, Any]
    right: Tensor
    passes: Passes


def validate(
    folded: FoldedNet,
    split: Split,
    config: TrainingConfig,
    fgsm: bool,
    between: Callable[[], None],
    group: ProcessGroup = ALONE,
) -> Validation:
    """Attack the validation images with a PGD that is the same for every epoch and seed.

    fgsm: whether to attack them with FGSM too: a network robust to it and not to PGD has overfitted to single
    steps. between: called between chunks of images. group: the processes that share the chunks.

    Raises InputError where the network gives NaN.
    """
    folded.refresh()
    settings, channels_last = config.evaluate, config.compute.channels_last
    evaluation = EvaluationConfig(
        config.threat, settings.rel_step, settings.batch, channels_last=channels_last
    )
    attacks = {"val_robust": f"pgd-{settings.val_steps}"} | ({"val_fgsm": "fgsm"} if fgsm else {})
    rows = list(
        evaluate.evaluate(
            folded, split, list(attacks.values()), evaluation, advance=lambda *_: between(), group=group
        )
    )
    passes = Passes(forward=len(split))
    for row in rows:
        passes.add(row.passes)
    record = dict(zip(["val_clean", *attacks], (row.accuracy for row in rows), strict=True))
    record["val_loss"] = _clean_loss(folded, split, settings.batch, channels_last)
    return Validation(record, rows[0].robust, passes)


@torch.no_grad()
def _clean_loss(folded: FoldedNet, split: Split, batch: int, channels_last: bool) -> float:
    losses = [
        F.cross_entropy(folded(to_float(pixels, channels_last)), labels, reduction="none")
        for pixels, labels in zip(split.images.split(batch), split.labels.split(batch), strict=True)  # type: ignore[no-untyped-call]
    ]
    return float(torch.cat(losses).cpu().double().mean())
