"""How dense each layer of the tickets is."""

from statistics import mean
from typing import Any

from robust_tickets.report.figures import legend_below, new_figure, styled
from robust_tickets.report.pictures.picture import Picture, set_title
from robust_tickets.report.pictures.searches import searches, seed_colour
from robust_tickets.runs.directory import RunDirectory

_LONGEST = 28
"""Characters of a layer's name; of longer ones the end is shown."""


def layer_densities(run: RunDirectory, seed: int) -> dict[str, float]:
    """The share of weights that a seed's ticket keeps, by layer in the network's order.

    Raises InputError for a ticket that cannot be read.
    """
    import numpy as np

    from robust_tickets.runs import tensor_file  # needs torch

    tensors, meta = tensor_file.load(run.search(seed).ticket, "ticket")
    densities = {}
    for name in meta["mask"]:  # in the network's order, with a bit for each weight
        kept = int(np.unpackbits(tensors[f"mask/{name}"].numpy()).sum())
        densities[name.removesuffix(".weight")] = kept / tensors[f"init/{name}"].numel()
    return densities


@styled
def layers_figure(run: RunDirectory) -> Any:
    """A bar a layer at the mean over seeds, and a point for each seed."""
    by_seed = {seed: layer_densities(run, seed) for seed in searches(run)}
    names = list(next(iter(by_seed.values())))
    figure = new_figure(9, 3.9)
    ax = figure.subplots()
    means = [100 * mean(densities[name] for densities in by_seed.values()) for name in names]
    ax.bar(range(len(names)), means, width=0.66, color="#BBD3E6", edgecolor="#0072B2", label="mean")
    for number, (seed, densities) in enumerate(by_seed.items()):
        ax.plot(
            range(len(names)),
            [100 * densities[name] for name in names],
            linestyle="none",
            markersize=4,
            **seed_colour(number),
            label=f"seed {seed}",
        )
    texts = [name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}" for name in names]
    ax.set_xticks(
        range(len(names)),
        texts,
        rotation=90 if len(names) > 12 else 40,
        ha="center" if len(names) > 12 else "right",
    )
    ax.set_ylabel("weights kept, %")
    ax.set_ylim(0, 105)
    legend_below(figure, columns=6)
    set_title(figure, run, "Density of the tickets by layer")
    return figure


def _missing(run: RunDirectory) -> str:
    seeds = searches(run)
    if not seeds:
        return "No arm has a ticket."
    absent = [seed for seed in seeds if not run.search(seed).ticket.is_file()]
    if absent:
        return (
            "The tickets are not in the run directory: to see how dense their layers are, put back "
            f"seed-{absent[0]}/search/ticket.safetensors."
        )
    return ""


LAYERS = Picture(
    "layers",
    "Density by layer",
    lambda run: (
        "The share of each layer's weights that the search kept, from the network's input to its output."
    ),
    layers_figure,
    _missing,
)
