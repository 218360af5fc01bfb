"""Moves a network to its device and memory format, and makes images that go with it."""

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Compute


def place_net(net: nn.Module, compute: Compute, device: str) -> nn.Module:
    """Move a network to a torch device, in the recipe's memory format, in place; gives the network.

    Raises InputError for a network whose backward pass would hang, and one that the device cannot hold.
    """
    if device == "cpu" and compute.channels_last:
        check_backward(net)
    layout = torch.channels_last if compute.channels_last else torch.contiguous_format
    if any(parameter.ndim == 5 for parameter in net.parameters()):
        # `to` would refuse channels_last for the weights of three-dimensional convolutions
        net.to(device=device)
        for parameter in net.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)
        return net
    try:
        return net.to(device=device, memory_format=layout)  # type: ignore[call-overload, no-any-return]
    except TypeError as error:  # float64, which some GPUs lack
        raise InputError(
            f"the network cannot be moved to {device} ({str(error).splitlines()[0]}): make its weights and "
            "buffers float32, or give --device cpu"
        ) from error


def blank_image(net: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """A black image (1, C, H, W) of the network's device and type: that of its first real parameter.

    shape: of the image, (C, H, W).
    """
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.zeros((1, *shape), dtype=like.dtype, device=like.device)


def check_backward(net: nn.Module) -> None:
    """Raise InputError for a layer whose backward pass never returns on some CPUs with channels last.

    net: on the CPU, its weights with channels last, now or soon.

    Seen with oneDNN's AVX2 kernels (torch 2.14.1): 1x1 convolutions of stride 2 from 3 to 6 channels.
    """
    for name, layer in net.named_modules():
        if (
            isinstance(layer, nn.Conv2d)
            and (set(layer.kernel_size), set(layer.stride)) == ({1}, {2})
            and layer.in_channels in range(3, 7)
        ):
            raise InputError(
                f"{name} is a 1x1 convolution of stride 2 from {layer.in_channels} channels, whose backward "
                "pass never returns on some CPUs with channels last: set compute.channels_last to false (in "
                "a loop of your own: keep torch.contiguous_format), or give the layer 8 channels"
            )
