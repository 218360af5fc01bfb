"""The view of a network that attacks are faster on, for training loops of the user's own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import FoldedNet, fold
from robust_tickets.models.placement import check_backward


class AttackView(nn.Module):
    """A network in eval mode, its BatchNorms folded into convolutions, without gradients to its weights.

    It shares the network's memory and is the same function. It is folded at its first call, when the size of
    images is known, and again after the network has changed.

    net: the network; it stays as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        # in lists, so that they are no part of a module that has this one
        self._net = [net]
        self._folded: list[FoldedNet] = []
        self._structure: list[Any] = []
        self._versions: list[tuple[int, int]] = []
        self.eval()

    def extra_repr(self) -> str:
        """What it is a view of."""
        return f"of {type(self.net).__name__}{'' if self._folded else ', not folded yet'}"

    @property
    def net(self) -> nn.Module:
        """The network."""
        return self._net[0]

    def refresh(self) -> None:
        """Fold the weights as they are now; for changes that PyTorch does not count, as those of `.data`."""
        self._versions = _versions(self._tensors())
        for folded in self._folded:
            folded.refresh()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W), those of the network in eval mode."""
        tensors = self._tensors()
        structure = [*self.net.modules(), *((tensor.device, tensor.dtype) for tensor in tensors)]
        if structure != self._structure:  # at first, where the network was moved, or a layer replaced
            if any(_has_channels_last(tensor) for tensor in tensors):
                check_backward(self.net)
            channels, height, width = images.shape[1:]
            self._folded, self._structure = [fold(self.net, (channels, height, width))], structure
            self._versions = _versions(tensors)
        elif self._versions != _versions(tensors):
            self.refresh()
        (folded,) = self._folded
        return folded(images)  # type: ignore[no-any-return]

    def _tensors(self) -> list[Tensor]:
        return [*self.net.parameters(), *self.net.buffers()]


def _versions(tensors: Sequence[Tensor]) -> list[tuple[int, int]]:
    """What changes when a tensor is written to, or takes another's memory."""
    return [(tensor._version, tensor.data_ptr()) for tensor in tensors]


def _has_channels_last(weight: Tensor) -> bool:
    """Whether a tensor on the CPU is stored with its channels last, seen by strides.

    `is_contiguous` says yes to both formats where a kernel has one weight, or a layer one channel.
    """
    if weight.device.type != "cpu" or weight.ndim != 4:
        return False
    return weight.stride() != torch.empty(weight.shape, device="meta").stride()


def attack_view(net: nn.Module) -> AttackView:
    """The view of a network to attack in a training loop of one's own: the same function in less time.

        view = attack_view(net)
        adversarial = attack(view, images, labels)

    It follows the network as optimisers change it. On a CPU, `net.to(memory_format=torch.channels_last)`
    beforehand saves more. Raises InputError for a network that cannot be copied, and at its first call for
    one whose backward pass would hang in that format.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}, expected an nn.Module")
    return AttackView(net)
