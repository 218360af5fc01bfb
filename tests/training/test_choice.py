"""Which epoch is the best, and which images it was trained on."""

from dataclasses import replace

import pytest
import torch
from training_case import same_state, train

from robust_tickets.base.ledger import Passes
from robust_tickets.models.weights import copy_state
from robust_tickets.training import training_batches
from robust_tickets.training.validation import Validation


@pytest.mark.parametrize(
    ("choose", "clean", "robust", "best"),
    [
        ("robust", [0.9, 0.5, 0.6, 0.7], [0.1, 0.3, 0.2, 0.3], 2),
        ("clean", [0.6, 0.5, 0.7, 0.7], [0.1, 0.3, 0.2, 0.3], 3),
        ("clean", [0.9, 0.5, 0.6, 0.7], [0.1, 0.3, 0.2, 0.3], 1),
        ("robust", [0.9, 0.5, 0.6, 0.7], [0.0, 0.0, 0.0, 0.0], 1),
        ("clean", [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], 4),
    ],
)
def test_the_first_epoch_where_the_chosen_accuracy_is_highest(
    choose, clean, robust, best, conv_net, tiny_data, config, monkeypatch
):
    """Its number and its weights; the accuracies are given, with ties and disagreements."""
    accuracies, states = iter(zip(clean, robust, strict=True)), []

    def validate(*args):
        states.append(copy_state(conv_net))
        everything = torch.ones(len(tiny_data.val), dtype=torch.bool)
        record = dict(zip(("val_clean", "val_robust"), next(accuracies), strict=True))
        return Validation(record, everything, Passes())

    monkeypatch.setattr("robust_tickets.training.loop.validate", validate)
    config = replace(
        config,
        settings=replace(config.settings, method="natural"),
        evaluate=replace(config.evaluate, select_by=choose),
        steps=14,  # the last epoch is cut short
    )
    result, _ = train(conv_net, None, tiny_data, config)
    assert result.best_epoch == best
    assert same_state(result.best, states[best - 1])
    assert same_state(result.last, states[-1])
    assert result.record(best)["val_clean"] == clean[best - 1]


def images_of_an_epoch(net, data, config):
    """What the network was given to train on in one epoch, each image as bytes."""
    inputs = []
    net.register_forward_pre_hook(lambda module, args: inputs.append(args[0]) if module.training else None)
    train(net, None, data, replace(config, steps=4))
    pixels = (torch.cat(inputs) * 255).round().to(torch.uint8).contiguous()
    return [image.numpy().tobytes() for image in pixels]


def test_without_augmentation_the_images_are_as_they_are(conv_net, tiny_data, config):
    data = replace(tiny_data, spec=replace(tiny_data.spec, crop_padding=2, flip=True))
    as_they_are = sorted(image.numpy().tobytes() for image in data.train.images)
    plain = replace(config, settings=replace(config.settings, method="natural", augment=False))
    moved = replace(config, settings=replace(config.settings, method="natural", augment=True))
    assert sorted(images_of_an_epoch(conv_net, data, plain)) == as_they_are
    changed = set(images_of_an_epoch(conv_net, data, moved)) - set(as_they_are)
    assert len(changed) > len(as_they_are) / 2


def test_augmentation_does_not_change_the_order(conv_net, tiny_data, config, monkeypatch):
    """So that trainings with and without it differ in that alone."""
    order = []
    real = training_batches.batches

    def noted(*args, **kwargs):
        for images, labels, ids in real(*args, **kwargs):
            order.append(ids)
            yield images, labels, ids

    monkeypatch.setattr("robust_tickets.training.training_batches.batches", noted)
    for augment in (True, False):
        settings = replace(config.settings, method="natural", augment=augment)
        train(conv_net, None, tiny_data, replace(config, settings=settings))
    assert len(order) == 16
    assert all(torch.equal(a, b) for a, b in zip(order[:8], order[8:], strict=True))
