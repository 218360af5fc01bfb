"""Autocast of the simulated device: the operations of its two lists, as CUDA has them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

LOWER = ("conv2d", "linear", "matmul", "addmm", "mm", "bmm", "convolution")
UPPER = ("log_softmax.int", "nll_loss", "cross_entropy_loss", "sum", "rsqrt")
_libraries: list[Any] = []  # rules last as long as their library


def register_autocast(device: str) -> None:
    """Compute in the lower precision what LOWER names, in float32 what UPPER names, the rest as it comes."""
    library = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for names, lower in ((LOWER, True), (UPPER, False)):
        for name in names:
            packet, _, overload = name.partition(".")
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
            library.impl(name, _rule(operation, device, lower))
    rest = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel)
    _libraries.extend([library, rest])


def _rule(operation: Any, device: str, lower: bool) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def call(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(device) if lower else torch.float32

        def cast(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*tree_map(cast, args), **kwargs)

    return call
