"""What a pass costs in seconds on this machine, from a few steps on random images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from robust_tickets.attacks import PGD, RunOptions
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Dataset, Spec, Split
from robust_tickets.models.fold import fold
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages import costs
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.timed_training import first_steps, steps_ledger

_FLOPS = 1e12  # some ten seconds on a small machine
_LEAST_BATCH = 2  # BatchNorm needs more than one image


def training_pass_seconds(experiment: Experiment, training: Training, flops: int) -> float:
    """Seconds of one forward pass's worth of training.

    flops: of a forward pass of the network.
    """
    device = experiment.machine.device
    classes = experiment.spec.classes
    step = costs.step_passes(replace(training, batch=1), 1, classes).cost * flops
    batch, steps = _batch(device, training.batch, step), first_steps(device)
    train, one = _random_images(experiment, batch * steps), _random_images(experiment, 1)
    data = Dataset(experiment.spec, experiment.spec.title, train, one, one, "")
    for _ in range(2):  # the first time warms up
        ledger = steps_ledger(experiment, replace(training, batch=batch), None, data, steps)
    cost = sum(ledger.passes[phase].cost for phase in ledger.passes if phase in ("attack", "update"))
    return ledger.step_seconds / cost


def evaluation_pass_seconds(experiment: Experiment, flops: int) -> float:
    """Seconds of a forward pass's worth of validation and evaluation: float32, the folded network, no update.

    flops: of a forward pass of the network.
    """
    device, recipe = experiment.machine.device, experiment.recipe
    batch, steps = _batch(device, recipe.evaluate.batch, 2 * flops), first_steps(device)
    samples = _random_images(experiment, batch)
    images: Tensor = to_float(samples.images, recipe.compute.channels_last)
    net, attack = fold(experiment.fresh_net(0), experiment.spec.shape), PGD(experiment.threat, steps=steps)
    options = RunOptions(verdict=False, check=False)
    for _ in range(2):
        with _measure(device) as ledger, ledger.phase("attack"):
            result = attack.run(net, images, samples.labels, seed=0, options=options)
    return ledger.seconds["attack"] / (result.forwards + result.backwards)


@contextmanager
def _measure(device: str) -> Iterator[Ledger]:
    ledger = Ledger("train", clock_for(device))
    with ledger.measure():
        yield ledger


def _batch(device: str, batch: int, flops: int) -> int:
    """How many images a timed step has; flops: of one of them."""
    if device != "cpu":
        return batch  # a GPU is not filled by less, and soon done with it
    return min(batch, max(_LEAST_BATCH, int(_FLOPS / (flops * first_steps(device)))))


def _random_images(experiment: Experiment, count: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    spec: Spec = experiment.spec
    pixels = torch.randint(256, (count, *spec.shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(spec.classes, (count,), generator=generator)
    return Split(pixels, labels, torch.arange(count)).to(experiment.machine.device)
