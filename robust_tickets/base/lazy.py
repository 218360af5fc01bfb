"""torch, imported at its first use, so that help, messages and tables do not wait for it."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.nn import functional as F
else:

    class _Lazy:
        """A module that is imported when an attribute of it is used."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    torch, nn, F = _Lazy("torch"), _Lazy("torch.nn"), _Lazy("torch.nn.functional")

__all__ = ["F", "nn", "torch"]
