"""What a training knows of itself: accuracy and loss on the images held out of it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks import Bookmark, ThreatModel
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation import evaluate
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.models.fold import FoldedNet
from robust_tickets.recipe.fields import Evaluate


def validate(
    folded: FoldedNet,
    images: Split,
    threat: ThreatModel,
    settings: Evaluate,
    one_step: bool,
    channels_last: bool,
    ledger: Ledger,
    flops: int,
    mark: Bookmark,
) -> tuple[dict[str, Any], Tensor]:
    """What stands clean, and robust under a PGD that is the same for every epoch and seed; the clean loss.

    Gives val_clean and val_robust (fractions), val_loss (mean cross-entropy on the clean images), and
    val_fgsm where the training's attack takes `one_step`: where that stands while PGD falls, it has
    overfitted to such attacks. Then which images are right clean, bool (N,).
    """
    folded.refresh()
    judging = EvaluationConfig(threat, settings.rel_step, settings.batch, channels_last=channels_last)
    attacks = {"val_robust": f"pgd-{settings.val_steps}"} | ({"val_fgsm": "fgsm"} if one_step else {})
    rows = list(evaluate.evaluate(folded, images, list(attacks.values()), judging, mark=mark))
    for row in rows:
        ledger.count("validate", row.passes, flops)
    found = dict(zip(["val_clean", *attacks], (row.accuracy for row in rows), strict=True))
    loss = _clean_loss(folded, images, settings.batch, channels_last)
    ledger.count("validate", Passes(forward=len(images)), flops)
    return {**found, "val_loss": loss}, rows[0].standing


@torch.no_grad()
def _clean_loss(folded: FoldedNet, images: Split, batch: int, channels_last: bool) -> float:
    losses = [
        F.cross_entropy(folded(to_float(pixels, channels_last)), labels, reduction="none")
        for pixels, labels in zip(images.images.split(batch), images.labels.split(batch), strict=True)  # type: ignore[no-untyped-call]
    ]
    return float(torch.cat(losses).double().mean())
