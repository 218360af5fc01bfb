"""The batches of a training, as its method takes them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.base.random_streams import epoch_seed
from robust_tickets.data.batches import TrainingImages, batches, steps_per_epoch
from robust_tickets.data.dataset import Dataset
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.label_smoothing import smoothed_labels
from robust_tickets.training.methods.base import Batch, Step


def training_batches(
    data: Dataset,
    config: TrainingConfig,
    epoch: int,
    step: int,
    replays: int = 1,
    group: ProcessGroup = ALONE,
) -> Iterator[Batch]:
    """The batches of an epoch (from 1) from a step of the schedule (from 0) on, to the end of either.

    replays: steps that a batch is taken for, one after the other.
    group: the processes that share each batch.
    """
    per_epoch = steps_per_epoch(len(data.train), config.settings.batch)
    end, seed = min(epoch * per_epoch, config.steps), epoch_seed(config.seed, epoch)
    if step >= end:
        return
    settings, classes, threat = config.settings, data.spec.classes, config.training_threat
    stream = _images(data, config, step // replays, group)
    images = next(stream)
    for number in range(step, end):
        if number > step and number % replays == 0:
            images = next(stream)
        targets = None
        if settings.label_smoothing:
            targets = smoothed_labels(settings, images.labels, images.ids, classes, seed)
        place = Step(number, config.steps, classes)
        yield Batch(*images[:3], threat, seed, place, *images[3:], targets, group)


def _images(
    data: Dataset, config: TrainingConfig, number: int, group: ProcessGroup
) -> Iterator[TrainingImages]:
    """The batches of images from a number (from 0) on, epoch after epoch, without end."""
    settings = config.settings
    spec = data.spec if settings.augment else replace(data.spec, crop_padding=0, flip=False)
    batch, channels_last = settings.batch, config.compute.channels_last
    epoch, place = divmod(number, steps_per_epoch(len(data.train), batch))
    while True:
        stream = batches(
            data.train,
            spec,
            batch,
            seed=config.seed,
            epoch=epoch + 1,
            channels_last=channels_last,
            group=group,
        )
        yield from islice(stream, place, None)
        epoch, place = epoch + 1, 0
