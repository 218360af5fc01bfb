"""The update's network of a training over several processes, by DistributedDataParallel."""

import warnings

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.modes import restored_net, train_mode
from robust_tickets.models.synchronised_norms import synchronised_norms


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
    """The parameters without a gradient after a pass in train mode; the network is left as it was."""
    with restored_net(net), use_seed(0), synchronised_norms(train_mode(net), group):
        net(images).sum().backward()
        return [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
