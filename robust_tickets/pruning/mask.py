"""The mask of a network: which of its weights are kept."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import mismatches
from robust_tickets.pruning.basis import Basis
from robust_tickets.pruning.layers import prunable_weights


class Mask(Mapping[str, Tensor]):
    """Parameter names, in the network's order -> bool tensors, True where a weight is kept. Immutable.

    basis: in which it keeps coefficients; None: it keeps weights.
    """

    def __init__(self, entries: Mapping[str, Tensor], basis: Basis | None = None) -> None:
        self.basis = basis
        self._entries = {name: entry.to("cpu", torch.bool) for name, entry in entries.items()}

    @classmethod
    def full(cls, net: nn.Module) -> "Mask":
        """The mask of a network in which nothing is pruned."""
        return cls({name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable_weights(net).items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask) or list(self) != list(other) or self.basis != other.basis:
            return False
        return all(torch.equal(self[name], other[name]) for name in self)

    def __repr__(self) -> str:
        return f"<Mask of {len(self)} weights: {self.count:,} of {self.size:,} entries kept>"

    __hash__ = None  # type: ignore[assignment]

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(entry.numel() for entry in self.values())

    @property
    def count(self) -> int:
        """Number of weights that are kept."""
        return sum(int(entry.sum()) for entry in self.values())

    @property
    def density(self) -> float:
        """Share of the prunable weights that is kept; biases and BatchNorms are not counted."""
        return self.count / self.size

    @property
    def has_dead_channels(self) -> bool:
        """Whether a whole filter is pruned, or every weight that reads one of a layer's inputs.

        Of coefficients: no, since such channels are not looked for.
        """
        return self.basis is None and any(
            not bool(entry.flatten(1).any(1).all() and entry.transpose(0, 1).flatten(1).any(1).all())
            for entry in self.values()
        )

    def with_entries(self, names: Sequence[str], entries: Tensor) -> "Mask":
        """The mask with the entries of some parameters replaced, given as one flat bool tensor."""
        parts = torch.split(entries, [self[name].numel() for name in names])
        new = {name: part.reshape(self[name].shape) for name, part in zip(names, parts, strict=True)}
        return Mask({name: new.get(name, self[name]) for name in self}, self.basis)

    @property
    def support(self) -> "Mask":
        """The weights that can be other than zero, as a mask of weights."""
        if self.basis is None:
            return self
        return Mask({name: self.basis.support(name, entries) for name, entries in self.items()})

    def check_canonical(self, purpose: str) -> None:
        """Raise InputError for a mask of coefficients; purpose: what needs one of weights, in messages."""
        if self.basis is not None:
            raise InputError(
                f"the ticket keeps coefficients of the basis {self.basis.kind}, and {purpose} needs one that "
                "keeps weights: search with search.basis canonical"
            )

    def check_fits(self, net: nn.Module) -> None:
        """Raise InputError with the first parameter that network and mask do not share in the same shape."""
        mistakes = mismatches(self, prunable_weights(net))
        if mistakes:
            raise InputError(f"the mask does not fit the network, {mistakes[0]}: use the network's own mask")

    def pack(self) -> dict[str, Tensor]:
        """One bit a weight: uint8 tensors of ceil(n / 8) bytes, by parameter name."""
        return {n: torch.from_numpy(np.packbits(entry.numpy().reshape(-1))) for n, entry in self.items()}

    @classmethod
    def unpack(
        cls, bits: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], basis: Basis | None = None
    ) -> "Mask":
        """The mask that `pack` gave. Raises InputError where the number of bits does not fit the shapes."""
        entries = {}
        for name, packed in bits.items():
            shape, n = shapes[name], shapes[name].numel()
            if packed.dtype != torch.uint8 or packed.shape != (-(-n // 8),):
                raise InputError(f"the packed mask of {name} does not fit its shape {tuple(shape)}")
            unpacked = np.unpackbits(packed.numpy(), count=n).astype(bool)
            entries[name] = torch.from_numpy(unpacked).reshape(shape)
        return cls(entries, basis)
