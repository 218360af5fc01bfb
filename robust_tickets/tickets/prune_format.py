"""Export of a ticket: as plain tensors, for use without this package, or as a small ticket file."""

from pathlib import Path

from safetensors.torch import save_file

from robust_tickets.runs import files
from robust_tickets.tickets.ticket import Ticket


def export_files(out: Path, *, sparse: bool = False) -> list[Path]:
    """The files of an export under the name `out`."""
    suffixes = ["sparse"] if sparse else ["init", "masks", "prune"]
    return [out.with_name(f"{out.name}-{suffix}.safetensors") for suffix in suffixes]


def export_ticket(ticket: Ticket, out: Path) -> list[Path]:
    """Write three files under the name `out`; gives their paths.

    `<out>-init.safetensors`: the state dict that the ticket starts from, pruned weights included.
    `<out>-masks.safetensors`: bool tensors by the weight's name, True where it is kept.
    `<out>-prune.safetensors`: both as PyTorch prunes, a state dict for a network on whose pruned layers
    `torch.nn.utils.prune.identity(layer, "weight")` was called, with `weight_orig` and `weight_mask` (float)
    in place of the weight.
    """
    ticket.mask.check_canonical("ticket export")
    init = {name: value.clone().contiguous() for name, value in ticket.init.items()}
    masks = {name: entries.contiguous() for name, entries in ticket.mask.items()}
    prune = {name: value for name, value in init.items() if name not in masks}
    for name, entries in masks.items():
        prune[f"{name}_orig"] = init[name].clone()
        prune[f"{name}_mask"] = entries.to(init[name].dtype)
    paths = export_files(out)
    for path, tensors in zip(paths, (init, masks, prune), strict=True):
        files.write(path, lambda part, tensors=tensors: save_file(tensors, part))  # type: ignore[misc]
    return paths


def export_sparse(ticket: Ticket, out: Path) -> Path:
    """Write a ticket file `<out>-sparse.safetensors` of mask bits and kept values; gives its path.

    It is read like any other ticket and trains to the same bits, but it is no source of controls, which need
    the pruned weights.
    """
    ticket.mask.check_canonical("a sparse file")
    (path,) = export_files(out, sparse=True)
    ticket.without_pruned().save(path, packed=True)
    return path
