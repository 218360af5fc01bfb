"""A checkpoint rebuilt inside random networks, with the table beside it."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.comparison.written_table import WrittenTable, write_beside
from robust_tickets.models.user_net import NetFactory
from robust_tickets.report.strong import strong_text
from robust_tickets.runs import files
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.strong import rebuilt_networks
from robust_tickets.tickets.strong_net import RandomBlock, block_tensors
from robust_tickets.training.checkpoint import Checkpoint


def rebuild_checkpoint(
    file: Path,
    candidates: Sequence[int],
    limit: int,
    seed: int,
    machine: Machine,
    make: NetFactory | None = None,
    save: Path | None = None,
) -> WrittenTable:
    """Rebuild the network of a checkpoint; writes `<checkpoint>-strong-<hex>.csv` beside it.

    candidates: random neurons an input, a row each.
    limit: test images, balanced over the classes; 0: all.
    seed: of the random networks.
    make: builds a network of the user's own.
    save: folder for the random networks and their masks, `<candidates>.safetensors`; None: they are dropped.

    Raises InputError for a network or a threat model that the bound does not cover.
    """
    checkpoint = Checkpoint.load(file)
    recipe = checkpoint.resolved_recipe()
    if recipe.threat.norm != "Linf":
        raise InputError(
            f"the bound is for threat.norm Linf, and {file} was trained for {recipe.threat.norm}"
        )
    experiment = Experiment(recipe, machine=machine)
    experiment.prepare()
    test = experiment.load().test
    images = test.first(limit) if limit else test

    def write(count: int, blocks: Sequence[RandomBlock]) -> None:
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            tensors = block_tensors(blocks)
            files.write(save / f"{count}.safetensors", lambda part: save_file(tensors, part))

    rows = rebuilt_networks(
        checkpoint.net(make), images, experiment.threat, candidates, seed, experiment.log, write
    )
    text = strong_text(rows, str(recipe.threat.eps), len(images))
    return write_beside(file, "strong", [*candidates, len(images), seed], rows, text)
