"""The ticket and its file: an init, a mask, and where they came from."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.arguments import to_path
from robust_tickets.base.errors import InputError
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.title import network_title
from robust_tickets.models.weights import load_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import schema
from robust_tickets.runs import tensor_file
from robust_tickets.runs.downloads import local_file
from robust_tickets.tickets.basis_file import basis_record, basis_tensors, load_basis

KIND = "ticket"


@dataclass(frozen=True, repr=False)
class Ticket:
    """A sparse sub-network and the weights that it starts from.

    model: the network.
    init: the whole state dict that it starts from, pruned weights included: of the untrained network, of step
        k where the search rewinds to that, or of the search's end where the learning rate alone is rewound.
    mask: the weights that are kept.
    search: the part of the recipe that decides which ticket is found.
    data: fingerprint of the images.
    seed: seed of the search.
    passes, flops: what the search cost.
    copies: how blocks were copied, a record each time that its depth was changed (`elastic.change_depth`).
    source: where it comes from, if no search of this package found it; `search` is then empty.

    It holds neither clock nor path: the same search gives the same bytes.
    """

    model: ModelSpec
    init: dict[str, Tensor]
    mask: Mask
    search: dict[str, Any]
    data: str
    seed: int
    passes: int
    flops: int
    copies: tuple[dict[str, Any], ...] = ()
    source: str = ""

    def __repr__(self) -> str:
        search = self.search.get("search", {})
        words = [f"density {self.mask.density:.3g}", f"seed {self.seed}", f"hash {self.hash}"]
        if "rounds" in search:
            words.insert(1, f"{search['rounds']} round{'s' * (search['rounds'] != 1)}")
        return f"<Ticket of {self.model.name}: {', '.join(words)}>"

    def save(self, path: Path | str, *, packed: bool = False) -> None:
        """Write the file, whole or not at all; packed: in less room where many weights are zero."""
        tensor_file.save(to_path("path", path), KIND, self._tensors(), self._meta(), packed=packed)

    def without_pruned(self) -> "Ticket":
        """The ticket with zeros for its pruned weights, which are not trained; its controls need them."""
        mask, basis = self.mask, self.mask.basis
        init = {
            name: torch.where(mask[name], value, 0.0).to(value.dtype) if name in mask else value
            for name, value in self.init.items()
        }
        if basis is not None:
            init |= {name: basis.project(name, self.init[name], entries) for name, entries in mask.items()}
        return replace(self, init=init)

    @property
    def lacks_pruned(self) -> bool:
        """Whether all its pruned weights are zeros, as in a sparse file."""
        if self.mask.basis is not None:  # of which there is none
            return False
        pruned = [self.init[name][~entries] for name, entries in self.mask.items()]
        return any(len(part) for part in pruned) and not any(bool(part.any()) for part in pruned)

    @property
    def hash(self) -> str:
        """Sixteen hex digits of the content."""
        return tensor_file.content_hash(
            self._tensors(), {**self._meta(), "kind": KIND, "version": tensor_file.VERSION}
        )

    @classmethod
    def load(cls, path: Path | str) -> "Ticket":
        """Read a ticket file.

        path: of the file, or its address as text: https:// or hf://, with the file's checksum after it as
            #sha256=HEX (docs/how-to/share.md).

        Raises InputError where it is absent, damaged, no ticket, or not what its checksum says.
        """
        tensors, meta = tensor_file.load(local_file("path", path), KIND)
        init, bits = _part(tensors, "init/"), _part(tensors, "mask/")
        try:
            order = tensor_file.field(meta, "mask", list)  # safetensors sorts tensors in its own way
            shapes = {n: init[n].shape for n in order}
            basis = load_basis(meta["basis"], tensors, shapes) if "basis" in meta else None
            return cls(
                model=schema.read(ModelSpec, meta["model"], path="model"),
                init=init,
                mask=Mask.unpack({n: bits[n] for n in order}, shapes, basis),
                search=tensor_file.field(meta, "search", dict),
                data=tensor_file.field(meta, "data", str),
                seed=tensor_file.field(meta, "seed", int),
                passes=tensor_file.field(meta, "passes", int),
                flops=tensor_file.field(meta, "flops", int),
                copies=tuple(tensor_file.field(meta, "copies", list)) if "copies" in meta else (),
                source=tensor_file.field(meta, "source", str) if "source" in meta else "",
            )
        except (KeyError, TypeError, InputError) as error:
            raise InputError(
                f"{path} is no whole ticket ({error}): search again, or take another file"
            ) from None

    def apply(self, net: nn.Module, *, compact: bool = True) -> nn.Module:
        """The network to train in a loop of one's own: rewound and pruned, without its dead channels.

        net: a network of the ticket's architecture; its weights are replaced.
        compact: remove dead channels; the network that is returned is then another one.

        `keep_sparse` keeps it sparse. Raises InputError for a network that does not fit.
        """
        from robust_tickets.tickets.own_loop import apply_ticket

        return apply_ticket(self, net, compact=compact)

    @classmethod
    def from_pruned(cls, net: nn.Module, shape: tuple[int, int, int]) -> "Ticket":
        """The ticket of a network that torch.nn.utils.prune has pruned: its masks and weights as they are.

        net: stays as it is. Rewind it before, where the ticket is to start from the init.
        shape: channels, height and width of an image.

        Raises InputError for a network in which nothing is pruned.
        """
        from robust_tickets.tickets.pruned_by_torch import ticket_of

        return ticket_of(net, shape)

    def prune(self, net: nn.Module) -> nn.Module:
        """Prune a network by torch.nn.utils.prune, in place; returns it.

        Its pruned layers have `weight_orig`, the ticket's init, and `weight_mask`. Raises InputError for a
        network that does not fit.
        """
        from robust_tickets.tickets.pruned_by_torch import prune_net

        return prune_net(self, net)

    def load_into(self, net: nn.Module) -> None:
        """Load the ticket's init into a network; the mask is applied in training.

        Raises InputError with the first parameter that does not fit.
        """
        load_weights(net, self.init, f"{KIND} of {network_title(self.model.name, self.model.width)}")
        self.mask.check_fits(net)

    def _tensors(self) -> dict[str, Tensor]:
        init = {f"init/{name}": tensor for name, tensor in self.init.items()}
        basis = basis_tensors(self.mask.basis) if self.mask.basis is not None else {}
        return init | {f"mask/{name}": bits for name, bits in self.mask.pack().items()} | basis

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
            **({"copies": list(self.copies)} if self.copies else {}),
            **({"source": self.source} if self.source else {}),
            **({"basis": basis_record(self.mask.basis)} if self.mask.basis is not None else {}),
        }


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
