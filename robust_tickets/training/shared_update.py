"""The update's network of a training over several processes, by DistributedDataParallel."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robust_tickets.base.errors import InputError
from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.modes import restored_net, train_mode
from robust_tickets.models.synchronised_norms import synchronised_norms

_SEEDS = 3  # at which it is tried whether the same layers are used


class SharedUpdate(nn.Module):
    """A network for updates: after a backward pass its gradients are means over the processes.

    net: the network.
    group: the processes.
    images: (N, C, H, W), such as it will see.
    """

    def __init__(self, net: nn.Module, group: ProcessGroup, images: Tensor) -> None:
        super().__init__()
        self._net, self.group = net, group
        unused = _unused_parameters(net, images, group)
        _check_shares(net, images, group)
        # they have no gradient anywhere, and would be waited for
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            net, unused
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the option's name, which old versions know
            # buffers are equal by construction: BatchNorms see all batches
            self.wrapped = DistributedDataParallel(net, broadcast_buffers=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B / size, classes) of this process's share of a batch."""
        with synchronised_norms(self._net, self.group):
            return self.wrapped(images)  # type: ignore[no-any-return]


def _unused_parameters(net: nn.Module, images: Tensor, group: ProcessGroup) -> list[str]:
    """The parameters without a gradient after a pass in train mode; the network is left as it was.

    Raises InputError where these are others at another seed.
    """
    unused = []
    for seed in range(_SEEDS):
        with restored_net(net), use_seed(seed), synchronised_norms(train_mode(net), group):
            net(images).sum().backward()
            unused.append([n for n, p in net.named_parameters() if p.requires_grad and p.grad is None])
    if any(names != unused[0] for names in unused):
        raise InputError(
            "the network leaves out some of its layers in some steps, which several devices cannot share: "
            "train it on one device"
        )
    return unused[0]


@torch.no_grad()
def _check_shares(net: nn.Module, images: Tensor, group: ProcessGroup) -> None:
    """Raise InputError where logits on shares of a batch are not those on the whole; nothing else changes."""
    whole = group.gather(images)
    with restored_net(net):
        train_mode(net)
        with use_seed(0):
            expected = net(whole)
        with use_seed(1):
            draws = not torch.equal(expected, net(whole))
        with use_seed(0), synchronised_norms(net, group):
            shared = group.gather(net(images))
    # networks that draw numbers draw others for a share
    if not draws and not torch.allclose(shared, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max())):
        raise InputError(
            "the logits of an image depend on the other images of its batch by more than BatchNorms: train "
            "the network on one device"
        )
