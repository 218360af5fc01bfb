"""Descriptions of tickets, and what two of them have in common, layer by layer."""

import math
from typing import Any

import pandas as pd
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.models.title import network_title
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.ticket import Ticket


def layer_table(mask: Mask) -> pd.DataFrame:
    """A row a layer: `layer` (its weight's name), `shape`, `weights`, `kept`, `density` (a fraction),
    `dead_outputs` and `dead_inputs` (channels or units that no weight makes, or reads, which may be other
    than zero).
    """
    rows, support = [], mask.support
    for name, entries in mask.items():
        flat = support[name].reshape(*entries.shape[:2], -1)
        rows.append(
            {
                "layer": name,
                "shape": " x ".join(map(str, entries.shape)),
                "weights": entries.numel(),
                "kept": int(entries.sum()),
                "density": float(entries.double().mean()),
                "dead_outputs": int((~flat.any(2).any(1)).sum()),
                "dead_inputs": int((~flat.any(2).any(0)).sum()),
            }
        )
    return pd.DataFrame(rows)


def mask_overlap(one: Mask, other: Mask) -> pd.DataFrame:
    """Overlap of two masks of one network, a row a layer and a last one, `all`, for their sums.

    Columns: `layer`; `weights`; the numbers of weights that are kept by `one`, by `other` and by `both`;
    `by_chance` and `sd`, mean and standard deviation of `both` for random masks of these counts
    (hypergeometric distribution); `deviations`, how many `sd` the overlap lies above chance; `jaccard`, the
    distance 1 - both / either. Chance in the last row is that of the layers' sums: layer densities alone give
    no more. Raises InputError for masks of different networks.
    """
    for name in [*one, *other]:
        if name not in one or name not in other:
            raise InputError(f"the tickets are of different networks: only one has a weight {name}")
        if one[name].shape != other[name].shape:
            raise InputError(
                f"the tickets are of different networks: {name} is {tuple(one[name].shape)} in one and "
                f"{tuple(other[name].shape)} in the other"
            )
    rows, variances = [], []
    for name, entries in one.items():
        n, a, b = entries.numel(), int(entries.sum()), int(other[name].sum())
        both = int((entries & other[name]).sum())
        variances.append(a * b * (n - a) * (n - b) / (n * n * (n - 1)) if n > 1 else 0.0)
        rows.append({"layer": name, "weights": n, "one": a, "other": b, "both": both, "by_chance": a * b / n})
    table = pd.DataFrame(rows)
    table.loc[len(table)] = {"layer": "all", **table.drop(columns="layer").sum()}
    table["sd"] = [math.sqrt(v) for v in [*variances, sum(variances)]]
    table["deviations"] = (table.both - table.by_chance) / table.sd.where(table.sd > 0)
    table["jaccard"] = 1 - table.both / (table.one + table.other - table.both)
    return table.astype(dict.fromkeys(["weights", "one", "other", "both"], int))


def origin(ticket: Ticket) -> dict[str, str]:
    """Where a ticket comes from and what it cost, in words by heading.

    Raises InputError where the ticket's search fields make no sense.
    """
    model, recipe = ticket.model, recipes.from_table(ticket.search)
    shape = " x ".join(map(str, model.shape))
    search, method = recipe.search, make_pruning_method(recipe.search)
    network = f"{network_title(model.name, model.width)}, images {shape}, {model.classes} classes"
    if ticket.source:
        return {"network": network, "source": ticket.source, "hash": ticket.hash}
    return {
        "network": network,
        "data": f"{recipe.data.name}, fingerprint {ticket.data}",
        "threat": f"{recipe.threat.norm} {recipe.threat.eps}",
        "search": f"{method.describe()}, ratio {search.ratio:g} of the {_pruned(search)}",
        **({} if ticket.mask.basis is None else {"basis": f"coefficients of basis {ticket.mask.basis.kind}"}),
        "seed": str(ticket.seed),
        "cost": f"{ticket.passes:,} passes, {ticket.flops:.4g} FLOPs",
        **({"copied": "; ".join(map(_copied, ticket.copies))} if ticket.copies else {}),
        "hash": ticket.hash,
    }


def _copied(record: dict[str, Any]) -> str:
    """How a ticket got another depth: from which one, and its blocks by stage."""
    blocks = " | ".join(" ".join(map(str, stage)) for stage in record["blocks"])
    return f"from ticket {record['source']} of {record['network']}, {record['order']}: blocks {blocks}"


def describe_ticket(ticket: Ticket) -> str:
    """A text on a ticket: its origin, and a table of its layers with their sums in the last row."""
    table = layer_table(ticket.mask)
    sums = {name: int(table[name].sum()) for name in ("weights", "kept", "dead_outputs", "dead_inputs")}
    table.loc[len(table)] = {"layer": "all", "shape": "", "density": ticket.mask.density, **sums}
    table["density"] = [f"{100 * density:.2f} %" for density in table.density]
    heads = {"dead_outputs": "dead outputs", "dead_inputs": "dead inputs"}
    lines = [f"{heading:<8}{words}" for heading, words in origin(ticket).items()]
    return "\n".join([*lines, "", _align(table.rename(columns=heads))])


def compare_tickets(one: Ticket, other: Ticket) -> str:
    """A text on what two tickets of one network have in common.

    Raises InputError as `mask_overlap` does, and where only one of the inits has a tensor.
    """
    if one.mask.basis != other.mask.basis:
        raise InputError(
            "the tickets are sparse in different bases, so that positions mean different things in them: "
            "compare two of one basis"
        )
    table = mask_overlap(one.mask, other.mask)
    for name in [*one.init, *other.init]:
        if name not in one.init or name not in other.init:
            raise InputError(f"the tickets are of different networks: only one has a tensor {name}")
    columns: dict[str, object] = {
        "layer": table.layer,
        "weights": table.weights,
        "kept by one": table.one,
        "by the other": table.other,
        "by both": table.both,
    }
    # weights of whole channels are pruned together, so that counted singly they would meet beyond chance
    if not (_structured(one) or _structured(other)):
        pairs = zip(table.by_chance, table.sd, strict=True)
        columns["by chance"] = [f"{mean:,.1f} ± {sd:.1f}" for mean, sd in pairs]
        columns["deviations"] = ["" if math.isnan(d) else f"{d:+.1f}" for d in table.deviations]
    columns["Jaccard distance"] = [f"{distance:.3f}" for distance in table.jaccard]
    masks = "the same" if one.mask == other.mask else "different"
    equal = [name for name, value in one.init.items() if torch.equal(value, other.init[name])]
    inits = "the same" if len(equal) == len(one.init) else f"{len(equal)} of {len(one.init)} tensors alike"
    return f"masks: {masks}; inits: {inits}\n\n{_align(pd.DataFrame(columns))}"


def _structured(ticket: Ticket) -> bool:
    return recipes.from_table(ticket.search).search.granularity == "channel"


def _align(table: pd.DataFrame) -> str:
    """The table as text, `layer` and `shape` aligned to the left and other columns to the right."""
    cells = [
        list(table.columns),
        *([f"{x:,}" if isinstance(x, int) else str(x) for x in row] for row in table.values.tolist()),
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    left = {"layer", "shape"}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if head in left else cell.rjust(width)
            for cell, width, head in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in cells
    )


def _pruned(search: Search) -> str:
    """What a search prunes, in words."""
    if search.basis == "canonical":
        return f"{search.granularity}s"
    return "singular values" if search.basis.startswith("svd") else "coefficients"
