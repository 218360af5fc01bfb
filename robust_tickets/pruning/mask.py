"""Which weights are there."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError


def prunable(net: nn.Module) -> dict[str, Tensor]:
    """The weights that may be pruned, by parameter name: those of convolutions and linear layers.

    A weight that several layers share is there once, by its first name. One that is computed from other
    parameters (torch.nn.utils.prune, parametrisations) is none of the net's parameters, and is left out.
    """
    own = {id(parameter): name for name, parameter in net.named_parameters()}
    layers = (m for m in net.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)))
    return {own[id(layer.weight)]: layer.weight for layer in layers if id(layer.weight) in own}


class Mask(Mapping[str, Tensor]):
    """Parameter name -> bool tensor of the weight's shape, True where it is kept. Never changed in place."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        self._kept = {name: tensor.to("cpu", torch.bool) for name, tensor in kept.items()}

    @classmethod
    def full(cls, net: nn.Module) -> "Mask":
        """The mask of a net in which nothing is pruned."""
        return cls({name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(net).items()})

    def __getitem__(self, name: str) -> Tensor:
        """The kept weights of one parameter."""
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        """Parameter names, in the net's order."""
        return iter(self._kept)

    def __len__(self) -> int:
        """How many parameters it covers."""
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        """Same parameters, same weights kept."""
        if not isinstance(other, Mask) or list(self) != list(other):
            return False
        return all(torch.equal(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]

    @property
    def size(self) -> int:
        """How many weights could be pruned."""
        return sum(kept.numel() for kept in self.values())

    @property
    def kept(self) -> int:
        """How many weights are kept."""
        return sum(int(kept.sum()) for kept in self.values())

    @property
    def density(self) -> float:
        """Kept over prunable weights; biases and BatchNorm are not counted."""
        return self.kept / self.size

    @property
    def any_dead(self) -> bool:
        """Whether a filter, or all that reads one of a layer's inputs, is pruned whole."""
        return any(
            not bool(kept.flatten(1).any(1).all() and kept.transpose(0, 1).flatten(1).any(1).all())
            for kept in self.values()
        )

    def with_entries(self, names: Sequence[str], kept: Tensor) -> "Mask":
        """The mask with all entries of some parameters replaced: bool, one behind the other."""
        parts = torch.split(kept, [self[name].numel() for name in names])
        new = {name: part.reshape(self[name].shape) for name, part in zip(names, parts, strict=True)}
        return Mask({name: new.get(name, self[name]) for name in self})

    def check_fits(self, net: nn.Module) -> None:
        """Raise InputError with the first parameter that net or mask lacks, or has in another shape."""
        weights = prunable(net)
        for name in [*weights, *self]:
            if name not in self:
                raise InputError(f"the mask does not fit the net: it has nothing for {name}")
            if name not in weights:
                raise InputError(f"the mask does not fit the net: the net has no weight {name}")
            if self[name].shape != weights[name].shape:
                raise InputError(
                    f"the mask does not fit the net: {name} is {tuple(self[name].shape)} in the mask, "
                    f"{tuple(weights[name].shape)} in the net"
                )

    def packed(self) -> dict[str, Tensor]:
        """One bit a weight: uint8 tensors of ceil(n / 8) bytes, by parameter name."""
        return {name: torch.from_numpy(np.packbits(kept.numpy().reshape(-1))) for name, kept in self.items()}

    @classmethod
    def unpacked(cls, bits: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> "Mask":
        """The mask that was packed. Raises InputError if the bits are too few or too many for the shapes."""
        kept = {}
        for name, packed in bits.items():
            n = shapes[name].numel()
            if packed.dtype != torch.uint8 or packed.shape != (-(-n // 8),):
                raise InputError(f"the packed mask of {name} does not fit its shape {tuple(shapes[name])}")
            kept[name] = torch.from_numpy(np.unpackbits(packed.numpy(), count=n).astype(bool)).reshape(
                shapes[name]
            )
        return cls(kept)
