"""The ticket: a saved init, a mask, and where they came from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import schema
from robust_tickets.runs import tensor_file
from robust_tickets.training.checkpoint import load_weights

KIND = "ticket"


@dataclass(frozen=True)
class Ticket:
    """A sparse sub-network and the weights that it begins from.

    `init` is the whole state dict of these, pruned ones included: of the untrained net, of step k where the
    search rewinds to that, or of the search's end where it fine-tunes; `mask` says which of them are kept.
    `search` is the part of the recipe that made it, `data` the fingerprint of the images, `passes` and
    `flops` what the search cost. Neither clock nor path is in it: the same search gives the same bytes.
    """

    model: ModelSpec
    init: dict[str, Tensor]
    mask: Mask
    search: dict[str, Any]
    data: str
    seed: int
    passes: int
    flops: int

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensor_file.save(path, KIND, self._tensors(), self._meta())

    @property
    def hash(self) -> str:
        """Sixteen hex digits of the content."""
        return tensor_file.content_hash(
            self._tensors(), {**self._meta(), "kind": KIND, "version": tensor_file.VERSION}
        )

    @classmethod
    def load(cls, path: Path) -> "Ticket":
        """Read a ticket. Raises InputError where it is absent, damaged or none."""
        tensors, meta = tensor_file.load(path, KIND)
        init = {n.removeprefix("init/"): t for n, t in tensors.items() if n.startswith("init/")}
        bits = {n.removeprefix("mask/"): t for n, t in tensors.items() if n.startswith("mask/")}
        try:
            order = tensor_file.field(meta, "mask", list)  # safetensors keeps tensors in an order of its own
            return cls(
                model=schema.read(ModelSpec, meta["model"], path="model"),
                init=init,
                mask=Mask.unpacked({n: bits[n] for n in order}, {n: init[n].shape for n in order}),
                search=tensor_file.field(meta, "search", dict),
                data=tensor_file.field(meta, "data", str),
                seed=tensor_file.field(meta, "seed", int),
                passes=tensor_file.field(meta, "passes", int),
                flops=tensor_file.field(meta, "flops", int),
            )
        except (KeyError, TypeError, InputError) as error:
            raise InputError(f"{path} is no whole ticket: {error}") from None

    def load_into(self, net: nn.Module) -> None:
        """Rewind a net to the ticket's init, in place; its mask is applied in training.

        Raises InputError with the first parameter that does not fit.
        """
        load_weights(net, self.init, KIND)
        self.mask.check_fits(net)

    def _tensors(self) -> dict[str, Tensor]:
        init = {f"init/{name}": tensor for name, tensor in self.init.items()}
        return init | {f"mask/{name}": bits for name, bits in self.mask.packed().items()}

    def _meta(self) -> dict[str, Any]:
        return {
            "model": asdict(self.model),
            "mask": list(self.mask),
            "density": self.mask.density,
            "search": self.search,
            "data": self.data,
            "seed": self.seed,
            "passes": self.passes,
            "flops": self.flops,
        }
