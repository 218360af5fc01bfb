"""What a forward pass costs."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """FLOPs of one image (C, H, W) through the net, as PyTorch counts them.

    A multiply and an add are two; convolutions and matrix products count, what is done element by element
    does not. The net is left as it was.
    """
    modes = [(module, module.training) for module in net.modules()]
    like = next(net.parameters())
    image = torch.zeros((1, *shape), dtype=like.dtype, device=like.device)
    try:
        net.eval()  # one image has no batch statistics
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(image)
    finally:
        for module, mode in modes:
            module.training = mode
    return int(counter.get_total_flops())
