"""Linear mode connectivity: is the error between two trainings of one start as low as at both of them?

Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis" (arXiv 1912.05671, section
2). Two trainings start from the same weights and differ in the order of the data. The error of the weights
(1 - a) W1 + a W2 is measured for a from 0 to 1. The instability is by how much the highest error on the line
exceeds the mean of both ends. Tickets win where it is small, in that paper's trainings below two points.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.models.fold import fold
from robust_tickets.models.placement import place_net
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.evaluation_run import EvaluationRun, LoadedNet
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.statistics import estimate_statistics

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
        estimate_statistics(net, data, config, batches, Ledger("train", clock_for(machine.device)))
        view = LoadedNet(Path(f"point {number + 1} of {points}"), fold(net, shape))
        ledger = Ledger("evaluate", clock_for(machine.device))
        with ledger.measure():
            results = EvaluationRun(request, machine, view, data, ledger).run_attacks(recipe)
        errors = {ATTACKS[row.attack]: 1 - row.accuracy for row in results}
        rows.append({"place": place, **errors})
    return pd.DataFrame(rows)


def instability(errors: "pd.Series[float]") -> float:
    """By how much the highest error on a line exceeds the mean of its ends; at least 0."""
    return max(0.0, float(errors.max() - (errors.iloc[0] + errors.iloc[-1]) / 2))
