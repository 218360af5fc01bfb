"""Checkpoints whose networks are switched at random, evaluated under attacks on all of them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.paths import follow_links
from robust_tickets.comparison.written_table import WrittenTable, write_beside
from robust_tickets.evaluation.attack_names import attack_names
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.evaluation.random_switch import switch_rows
from robust_tickets.models.user_net import NetFactory
from robust_tickets.report.switch import switch_text
from robust_tickets.stages.evaluation_run import LoadedNet
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.load_checkpoint import NetFile
from robust_tickets.training.checkpoint import Checkpoint


def evaluate_switch(
    paths: Sequence[Path],
    attacks: Sequence[str],
    limit: int,
    seed: int,
    machine: Machine,
    make: NetFactory | None = None,
) -> WrittenTable:
    """Evaluate the networks of several checkpoints as one whose sub-network is drawn for each image.

    Images, threat model and batch are those of the first checkpoint. Writes `<first>-switch-<hex>.csv`
    beside it.

    attacks: names of attacks and of sets of them.
    limit: test images, balanced over the classes; 0: all.
    seed: of the attacks' random numbers.
    make: builds the networks that are the user's own.

    Raises InputError for fewer than two checkpoints, and for those of other images.
    """
    nets = _load(paths, make)
    recipe = nets[0].checkpoint.resolved_recipe()
    experiment = Experiment(recipe, machine=machine)
    names = attack_names(attacks)
    experiment.prepare()
    images = experiment.load().test.first(limit)
    rel_step, batch = recipe.evaluate.rel_step, recipe.evaluate.batch
    config = EvaluationConfig(experiment.threat, rel_step, batch, seed, recipe.compute.channels_last)
    loaded = [LoadedNet.of(net, recipe, machine.device) for net in nets]
    views = [net.view for net in loaded]
    rows = switch_rows(views, images.to(machine.device), names, config, experiment.log)
    settings = [*(net.digest for net in loaded), *names, limit, seed]
    threat = f"{recipe.threat.norm} {recipe.threat.eps}"
    text = switch_text(rows, names, threat, len(nets), len(images))
    return write_beside(nets[0].path, "switch", settings, pd.DataFrame([asdict(row) for row in rows]), text)


def _load(paths: Sequence[Path], make: NetFactory | None) -> list[NetFile]:
    """The checkpoints, which must be of the same images."""
    if len(paths) < 2:
        raise InputError("a switch needs two networks to choose from at least: name two checkpoints or more")
    targets = [follow_links(path) for path in paths]
    twice = next((path for path in targets if targets.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice: name each network once, as each is drawn as often")
    checkpoints = [(path, Checkpoint.load(path)) for path in targets]
    nets = [NetFile(path, each, make if ":" in each.model.name else None) for path, each in checkpoints]
    first = nets[0].checkpoint
    for net in nets[1:]:
        if net.checkpoint.data != first.data:
            raise InputError(
                f"{net.path} was trained on other images than {nets[0].path} ({net.checkpoint.data}, not "
                f"{first.data}): name checkpoints of the same images"
            )
    return nets
