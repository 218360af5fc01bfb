"""Linear mode connectivity: is the error between two trainings of one start as low as at both of them?

Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis" (arXiv 1912.05671, section
2). Two trainings start from the same weights and differ in the order of the data. The error of the weights
(1 - a) W1 + a W2 is measured for a from 0 to 1. The instability is by how much the highest error on the line
exceeds the mean of both ends. Tickets win where it is small, in that paper's trainings below two points.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.random_streams import step_seed, use_seed
from robust_tickets.models.fold import fold
from robust_tickets.models.modes import train_mode
from robust_tickets.models.norm_statistics import averaging_statistics, moving_batchnorms
from robust_tickets.models.placement import place_net
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.evaluation_run import EvaluationRun, LoadedNet
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.training_batches import training_batches

STABLE = 0.02
"""Instability below which Frankle et al. 2020 call a start stable."""

ATTACKS = {"clean": "clean_error", "pgd-20": "robust_error"}
"""What is measured -> its column."""


def interpolate(one: Mapping[str, Tensor], other: Mapping[str, Tensor], place: float) -> dict[str, Tensor]:
    """The state on the line between two: (1 - place) one + place other; whole numbers are those of `one`.

    At 0 and at 1 it is an end, bit for bit, and what is 0 in both is 0. Raises InputError for states of other
    names or shapes.
    """
    odd = next((n for n in one if n not in other or one[n].shape != other[n].shape), None)
    if odd is not None or one.keys() != other.keys():
        raise InputError("the two checkpoints are of different networks: train both from one start")
    return {
        name: torch.lerp(value, other[name], place) if value.is_floating_point() else value.clone()
        for name, value in one.items()
    }


def line_errors(
    experiment: Experiment, ends: tuple[Checkpoint, Checkpoint], training: Training, points: int, batches: int
) -> pd.DataFrame:
    """The errors on test images at equally spaced points between two checkpoints.

    ends: the checkpoints; both were trained from one start.
    training: settings of the training, whose method attacks the images of the statistics.
    points: how many, both ends included.
    batches: training batches that the BatchNorm statistics of each point are estimated on.

    Columns: place, from 0 to 1; clean_error and robust_error (under PGD-20), fractions of the recipe's
    `evaluate.images` test images. Raises InputError as `interpolate` does.
    """
    recipe, machine = experiment.recipe, experiment.machine
    data, shape = experiment.load(), experiment.spec.shape
    config = experiment.config(training, batches, ends[0].seed)
    net = place_net(ends[0].net(experiment.make), recipe.compute, machine.device)
    request = EvaluationRequest(tuple(ATTACKS), limit=recipe.evaluate.images, sanity=False)
    rows = []
    for number in range(points):
        place = number / (points - 1)
        load_weights(net, interpolate(ends[0].state, ends[1].state, place), "line")
        estimate_statistics(net, experiment, config, batches)
        view = LoadedNet(Path(f"point {number + 1} of {points}"), fold(net, shape))
        ledger = Ledger("evaluate", clock_for(machine.device))
        with ledger.measure():
            results = EvaluationRun(request, machine, view, data, ledger).run_attacks(recipe)
        errors = {ATTACKS[row.attack]: 1 - row.accuracy for row in results}
        rows.append({"place": place, **errors})
    return pd.DataFrame(rows)


def estimate_statistics(net: nn.Module, experiment: Experiment, config: TrainingConfig, batches: int) -> None:
    """Estimate a network's BatchNorm statistics on so many training batches, attacked as the training does.

    The attack sees the network in eval mode, so statistics of the images as they are come first.
    """
    norms = moving_batchnorms(train_mode(net))
    if not norms:
        return
    data, method = experiment.load(), make_method(config.settings)
    method.prepare(data)
    kept = list(islice(training_batches(data, config, epoch=1, step=0), batches))
    _pass_through(net, [batch.images for batch in kept], config.seed)
    nets = Networks(net, fold(net, data.spec.shape))
    attacked = [method.perturb(nets, batch) for batch in kept]
    _pass_through(net, attacked, config.seed)


@torch.no_grad()
def _pass_through(net: nn.Module, images: list[Tensor], seed: int) -> None:
    """Make the statistics those of these images."""
    with averaging_statistics(moving_batchnorms(train_mode(net))):
        for place, batch in enumerate(images):
            with use_seed(step_seed(seed, place)):
                net(batch)


def instability(errors: "pd.Series[float]") -> float:
    """By how much the highest error on a line exceeds the mean of its ends; at least 0."""
    return max(0.0, float(errors.max() - (errors.iloc[0] + errors.iloc[-1]) / 2))
