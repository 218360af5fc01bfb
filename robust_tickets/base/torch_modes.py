"""PyTorch's modes of a caller, which are no concern of a public function."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from robust_tickets.base.lazy import torch


@contextmanager
def plain_modes() -> Iterator[None]:
    """Within the block gradients are on, and type, device and precision are those that PyTorch begins with.

    A caller's no_grad, inference_mode, autocast, default type and default device would else reach into what
    is computed here; they are as before afterwards.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)
