"""Compares what attacks and validation see of a network in training with the network itself."""

import warnings

from torch import Tensor, nn

from robust_tickets.attacks.network import eval_mode, set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import FoldedNet
from robust_tickets.models.trial_pass import Shape, trial_images, trial_logits

_TOLERANCE = 0.05  # far above the rounding of a folded network


def check_view(net: nn.Module, folded: FoldedNet, shape: Shape) -> None:
    """Raise InputError where the logits of a network's view are not those of the network in eval mode.

    net: the network after some steps of a training; it is left as it is.
    folded: its view.
    shape: of an image, (C, H, W).

    So it is where training changes a number, a dict or a flag in the network that the checks before it cannot
    see change. Logits that are not finite, or others at the same call, prove nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's code, which warns when it is called in earnest
        try:
            twin, images = set_mode(copy_net(net), False), trial_images(net, shape)
            folded.refresh()
            with eval_mode(folded.view):
                seen = trial_logits(folded.view, images)
            logits, again = (trial_logits(twin, images) for _ in range(2))
        except Exception as error:  # the network's own code fails as it likes; the validation says it
            if is_device_error(error):
                raise
            return
    if logits.isfinite().all() and _same(logits, again) and not _same(logits, seen):
        raise InputError(
            "attacks and validation see another network than the one that is trained: training changes a "
            "value in it that is no parameter or buffer, as a number, a flag or a dict of weights: keep it "
            "in a buffer, by register_buffer, and write to it in place"
        )


def _same(logits: Tensor, others: Tensor) -> bool:
    return logits.shape == others.shape and bool(
        (logits - others).abs().max() <= _TOLERANCE * logits.abs().max()
    )
