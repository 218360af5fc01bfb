"""Tells a network that cannot be trained with batches of one image."""

import torch
from torch import nn

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.modes import train_mode
from robust_tickets.models.placement import blank_image


def check_batch_of_one(net: nn.Module, shape: tuple[int, int, int], field: str) -> None:
    """Raise InputError for a network that fails on a batch of one in train mode, as BatchNorms over it do.

    shape: of an image, (C, H, W).
    field: the batch's name in messages.
    """
    view, image = train_mode(copy_net(net)), blank_image(net, shape)
    try:
        with use_seed(0), torch.no_grad():
            logits = view(image)
    except Exception as error:  # the network's own code fails as it likes
        if is_device_error(error):
            raise
        reason = str(error).partition("\n")[0][:200]
    else:
        if logits.ndim == 2:
            return
        reason = f"logits of shape {tuple(logits.shape)}, expected (1, classes)"
    raise InputError(
        f"{field} 1 is too small for the network, as BatchNorms without several values a channel and "
        f"squeeze() are ({reason}): set {field} to 2 or more"
    )
