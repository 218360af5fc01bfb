"""Tells a network that gives probabilities instead of logits."""

import torch
from torch import Tensor, nn

from robust_tickets.attacks import eval_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.random_streams import use_seed


def probability_warnings(net: nn.Module, shape: tuple[int, int, int]) -> list[str]:
    """A line where the outputs of a network look like probabilities, which the loss takes for logits.

    net: the network, which is left as it was.
    shape: of an image, (C, H, W).

    They do if they lie in [0, 1] and sum to 1 (softmax), or reach both ends (sigmoid), for images of noise so
    strong that logits leave [0, 1]. Log-probabilities are logits.
    """
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    noise = 100 * torch.randn((16, *shape), generator=torch.Generator().manual_seed(0))
    try:
        with use_seed(0), eval_mode(net), torch.no_grad():
            outputs = net(noise.to(like.device, like.dtype))
    except Exception as error:  # the network's own code may refuse such images
        if is_device_error(error):
            raise
        return []
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or not _are_probabilities(outputs.float()):
        return []
    return [
        "the outputs of the network look like probabilities: training and attacks expect logits, and find "
        "less where a softmax or sigmoid is taken twice: leave out the network's last Softmax or Sigmoid"
    ]


def _are_probabilities(outputs: Tensor) -> bool:
    low, high, sums = float(outputs.min()), float(outputs.max()), outputs.sum(1)
    if low < 0 or not high <= 1 + 1e-3 or high == low:
        return False
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-2) or (low < 1e-2 and high > 1 - 1e-2)
