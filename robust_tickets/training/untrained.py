"""A sub-network that is not trained: what are its weights worth as they are?"""

from torch import nn

from robust_tickets.base import signals
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.models.view_check import check_view
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import TrainingResult
from robust_tickets.training.statistics import estimate_statistics
from robust_tickets.training.validation import validate


def keep_untrained(
    net: nn.Module, mask: Mask | None, data: Dataset, config: TrainingConfig, session: Session
) -> TrainingResult:
    """Prune a network in place, estimate its BatchNorm statistics, and validate it once.

    Arguments as `loop.fit` has them. The result has one record, of epoch 0.
    """
    ledger, shape = session.ledger, data.spec.shape
    if mask is not None:
        masking_for(net, mask, shape).mask_parameters()
    estimate_statistics(net, data, config, config.average_batches, ledger)
    folded = fold(net, shape)
    with ledger.phase("validate"):
        check_view(net, folded, shape)
        validation = validate(folded, data.val, config, fgsm=False, between=signals.raise_if_requested)
    ledger.count("validate", validation.passes, forward_flops(net, shape))
    ledger.settle()
    cost = {"passes": ledger.charged_passes, "flops": ledger.charged_flops}
    record = {"epoch": 0, "step": 0, **validation.record, **cost}
    session.meter.note(f"clean {record['val_clean']:.1%}  robust {record['val_robust']:.1%}")
    return TrainingResult(
        best=copy_state(net), best_epoch=0, last=copy_state(net), last_epoch=0, history=[record]
    )
