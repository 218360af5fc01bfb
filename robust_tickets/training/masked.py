"""A mask at work on a net, and on all that goes with the channels that it prunes whole."""

from torch import nn

from robust_tickets.errors import InputError
from robust_tickets.models import norms_after
from robust_tickets.pruning import Mask, Masking
from robust_tickets.pruning.channels import Shape, channel_groups
from robust_tickets.pruning.compact import along_dead


def masking_of(net: nn.Module, mask: Mask, shape: Shape) -> Masking:
    """The masking of a net for images (C, H, W). Raises InputError for a mask that does not fit."""
    mask.check_fits(net)
    try:
        groups = channel_groups(net, shape) if mask.any_dead else []
    except InputError:  # a net that cannot be followed: what stands right behind its convolutions is known
        groups = []
    along = along_dead(groups, mask, dict(net.named_parameters()))
    return Masking(net, mask, norms_after(net), along)
