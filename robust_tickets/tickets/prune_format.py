"""A ticket as plain tensors, for use without this package."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from robust_tickets.runs import files
from robust_tickets.tickets.ticket import Ticket


def export_ticket(ticket: Ticket, out: Path) -> list[Path]:
    """Write three files under the name `out`: the state dict, the masks, and both as PyTorch prunes.

    `<out>-init.safetensors` is the state dict that the ticket begins from, pruned weights included;
    `<out>-masks.safetensors` bool tensors by the weight's name, True where it is kept;
    `<out>-prune.safetensors` a state dict for a net on whose pruned layers
    `torch.nn.utils.prune.identity(layer, "weight")` was called: `weight_orig` and `weight_mask` (float) in
    the weight's place.
    """
    init = {name: value.clone().contiguous() for name, value in ticket.init.items()}
    masks = {name: kept.contiguous() for name, kept in ticket.mask.items()}
    pruned = {name: value for name, value in init.items() if name not in masks}
    for name, kept in masks.items():
        pruned[f"{name}_orig"] = init[name].clone()
        pruned[f"{name}_mask"] = kept.to(init[name].dtype)
    written = []
    for suffix, tensors in (("init", init), ("masks", masks), ("prune", pruned)):
        file = out.with_name(f"{out.name}-{suffix}.safetensors")
        files.write(file, lambda part, tensors=tensors: _save(tensors, part))  # type: ignore[misc]
        written.append(file)
    return written


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file)
