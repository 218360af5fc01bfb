"""What is in a ticket, and how much two of them have in common, layer by layer."""

import math

import pandas as pd
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.tickets.ticket import Ticket


def layer_table(mask: Mask) -> pd.DataFrame:
    """A row a layer: its weight's name and shape, weights, kept, density (a fraction), dead outputs and
    inputs (channels or units that no kept weight gives, or reads).
    """
    rows = []
    for name, kept in mask.items():
        flat = kept.reshape(kept.shape[0], kept.shape[1], -1)
        rows.append(
            {
                "layer": name,
                "shape": " x ".join(map(str, kept.shape)),
                "weights": kept.numel(),
                "kept": int(kept.sum()),
                "density": float(kept.double().mean()),
                "dead_outputs": int((~flat.any(2).any(1)).sum()),
                "dead_inputs": int((~flat.any(2).any(0)).sum()),
            }
        )
    return pd.DataFrame(rows)


def mask_overlap(one: Mask, other: Mask) -> pd.DataFrame:
    """A row a layer, and one for all: what both keep, beside what two masks of these counts would by chance.

    `by_chance` and `sd` are mean and standard deviation of the hypergeometric distribution (of all: of the
    layers' sums, so that layer densities alone show no more than chance); `deviations` is how many of these
    the overlap lies above it; `jaccard` is the distance 1 - both / either. Raises InputError for masks of
    different nets.
    """
    for name in [*one, *other]:
        if name not in one or name not in other:
            raise InputError(f"the tickets are of different nets: only one has a weight {name}")
        if one[name].shape != other[name].shape:
            raise InputError(
                f"the tickets are of different nets: {name} is {tuple(one[name].shape)} in one and "
                f"{tuple(other[name].shape)} in the other"
            )
    rows, variances = [], []
    for name, kept in one.items():
        n, a, b = kept.numel(), int(kept.sum()), int(other[name].sum())
        both = int((kept & other[name]).sum())
        variances.append(a * b * (n - a) * (n - b) / (n * n * (n - 1)) if n > 1 else 0.0)
        rows.append({"layer": name, "weights": n, "one": a, "other": b, "both": both, "by_chance": a * b / n})
    table = pd.DataFrame(rows)
    whole = table.drop(columns="layer").sum()
    table.loc[len(table)] = {"layer": "all", **whole}
    table["sd"] = [math.sqrt(v) for v in [*variances, sum(variances)]]
    table["deviations"] = (table.both - table.by_chance) / table.sd.where(table.sd > 0)
    table["jaccard"] = 1 - table.both / (table.one + table.other - table.both)
    counts = ["weights", "one", "other", "both"]
    return table.astype(dict.fromkeys(counts, int))


def origin(ticket: Ticket) -> dict[str, str]:
    """Where a ticket came from and what it cost, in words by heading.

    Raises InputError where what it says of its search makes no sense.
    """
    model, what = ticket.model, recipes.from_table(ticket.search)
    search = what.search
    made = (
        f"{search.pruning_method}, {search.densities if search.pruning_method == 'random' else search.method}"
    )
    if search.pruning_method == "imp":
        budget = f"{search.iterations} steps" if search.iterations else f"{search.epochs} epochs"
        made += f", {search.rounds} x {budget} at lr {search.lr:g}"
        made += f" or until masks lie within {search.stop_distance:g}" if search.stop_distance else ""
        made += f", then {search.after}"
        made += f" to step {search.rewind_iterations}" if search.rewind_iterations else ""
        made += f" to epoch {search.rewind_epochs}" if search.rewind_epochs else ""
    width = "" if ":" in model.name else f" at width {model.width:g}"
    return {
        "net": f"{model.name}{width}, images {' x '.join(map(str, model.shape))}, {model.classes} classes",
        "data": f"{what.data.name}, fingerprint {ticket.data}",
        "threat": f"{what.threat.norm} {what.threat.eps}",
        "search": f"{made}, ratio {search.ratio:g} of the {search.granularity}s",
        "seed": str(ticket.seed),
        "cost": f"{ticket.passes:,} passes, {ticket.flops:.4g} FLOPs",
        "hash": ticket.hash,
    }


def describe_ticket(ticket: Ticket) -> str:
    """A ticket for people: where it came from, its layers, and all of it in a last row."""
    table = layer_table(ticket.mask)
    whole = {"layer": "all", "shape": "", "density": ticket.mask.density}
    whole |= {
        column: int(table[column].sum()) for column in ("weights", "kept", "dead_outputs", "dead_inputs")
    }
    table.loc[len(table)] = whole
    table["density"] = [f"{100 * density:.2f} %" for density in table.density]
    heads = {"dead_outputs": "dead outputs", "dead_inputs": "dead inputs"}
    about = [f"{heading:<8}{said}" for heading, said in origin(ticket).items()]
    return "\n".join([*about, "", _lined_up(table.rename(columns=heads))])


def compare_tickets(one: Ticket, other: Ticket) -> str:
    """Two tickets of one net for people. Raises InputError as `overlap` does, and where the inits differ in
    what tensors they have.
    """
    table = mask_overlap(one.mask, other.mask)
    for name in [*one.init, *other.init]:
        if name not in one.init or name not in other.init:
            raise InputError(f"the tickets are of different nets: only one has a tensor {name}")
    columns: dict[str, object] = {
        "layer": table.layer,
        "weights": table.weights,
        "kept by one": table.one,
        "by the other": table.other,
        "by both": table.both,
    }
    # weights of whole channels stand and fall together, so that counted singly they would meet beyond chance
    if not (_of_channels(one) or _of_channels(other)):
        pairs = zip(table.by_chance, table.sd, strict=True)
        columns["by chance"] = [f"{mean:,.1f} ± {sd:.1f}" for mean, sd in pairs]
        columns["deviations"] = ["" if math.isnan(d) else f"{d:+.1f}" for d in table.deviations]
    columns["Jaccard distance"] = [f"{distance:.3f}" for distance in table.jaccard]
    shown = pd.DataFrame(columns)
    masks = "the same" if one.mask == other.mask else "other"
    same = [name for name, value in one.init.items() if torch.equal(value, other.init[name])]
    inits = "the same" if len(same) == len(one.init) else f"{len(same)} of {len(one.init)} tensors alike"
    return f"masks: {masks}; inits: {inits}\n\n{_lined_up(shown)}"


def _of_channels(ticket: Ticket) -> bool:
    return recipes.from_table(ticket.search).search.granularity == "channel"


def _lined_up(table: pd.DataFrame) -> str:
    """Columns of text to the left, of numbers to the right."""
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
