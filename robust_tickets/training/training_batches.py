"""The batches of a training, as its method takes them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from robust_tickets.base.random_streams import epoch_seed
from robust_tickets.data.batches import batches, steps_per_epoch
from robust_tickets.data.dataset import Dataset
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.methods.base import Batch, Step


def training_batches(data: Dataset, config: TrainingConfig, epoch: int, step: int) -> Iterator[Batch]:
    """The batches of an epoch (from 1) from a step of the schedule (from 0) on, to the end of either."""
    settings = config.settings
    spec = data.spec if settings.augment else replace(data.spec, crop_padding=0, flip=False)
    stream = batches(
        data.train,
        spec,
        settings.batch,
        seed=config.seed,
        epoch=epoch,
        channels_last=config.compute.channels_last,
    )
    first = (epoch - 1) * steps_per_epoch(len(data.train), settings.batch)
    seed = epoch_seed(config.seed, epoch)
    for number, batch in enumerate(islice(stream, step - first, config.steps - first), step):
        place = Step(number, config.steps, spec.classes)
        yield Batch(
            batch.images,
            batch.labels,
            batch.ids,
            config.threat,
            seed,
            place,
            batch.rows,
            batch.augmentation,
        )
