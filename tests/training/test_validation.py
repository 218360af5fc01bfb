"""Validation chooses the best epoch, may come within epochs, and changes nothing; the images of training."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from training_case import EveryState, same_state, train

from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import SPECS
from robust_tickets.models.weights import copy_state
from robust_tickets.recipe.fields import Data, Evaluate
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train
from robust_tickets.stages import plan
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

    monkeypatch.setattr("robust_tickets.training.epochs.validate", validate)
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
        for batch in real(*args, **kwargs):
            order.append(batch.ids)
            yield batch

    monkeypatch.setattr("robust_tickets.training.training_batches.batches", noted)
    for augment in (True, False):
        settings = replace(config.settings, method="natural", augment=augment)
        train(conv_net, None, tiny_data, replace(config, settings=settings))
    assert len(order) == 16
    assert all(torch.equal(a, b) for a, b in zip(order[:8], order[8:], strict=True))


def test_looking_within_epochs_changes_no_bit_and_is_not_charged(conv_net, tiny_data, config):
    start = copy_state(conv_net)
    plain, first = train(conv_net, None, tiny_data, config)
    conv_net.load_state_dict(start)
    validated, second = train(conv_net, None, tiny_data, replace(config, points=(0, 1, 3, 6)))
    assert same_state(plain.last, validated.last)
    assert plain.history == validated.history
    assert plain.points == []
    assert [p["step"] for p in validated.points] == [0, 1, 3, 6]
    assert [p["epoch"] for p in validated.points] == [0, 0.25, 0.75, 1.5]
    assert first.charged_passes == second.charged_passes
    assert second.passes["validate"].total > first.passes["validate"].total


def test_a_point_is_what_an_epoch_that_ended_there_says(conv_net, tiny_data, config):
    """A training of three constant steps that ends there has the same record."""
    config = replace(config, settings=replace(config.settings, schedule="constant"))
    start = copy_state(conv_net)
    validated, _ = train(conv_net, None, tiny_data, replace(config, points=(3,)))
    conv_net.load_state_dict(start)
    short, _ = train(conv_net, None, tiny_data, replace(config, steps=3))
    for key in ("step", "val_clean", "val_robust", "val_loss", "passes", "flops"):
        assert validated.points[0][key] == short.history[-1][key], key


def test_the_loss_is_the_mean_cross_entropy_on_clean_validation_images(conv_net, tiny_data, config):
    result, _ = train(conv_net, None, tiny_data, config)
    conv_net.eval()
    with torch.no_grad():
        loss = F.cross_entropy(conv_net(to_float(tiny_data.val.images, False)), tiny_data.val.labels)
    assert result.history[-1]["val_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_training_that_stops_within_a_point_resumes_there(conv_net, tiny_data, config):
    """Each state, within points too, ends with the same bits and records."""
    config = replace(config, points=(0, 2, 5))
    start = copy_state(conv_net)
    every = EveryState()
    whole, _ = train(conv_net, None, tiny_data, config, checkpointer=every)
    assert sum(state["step"] == 2 for state in every.states) > 1  # some of them within the point
    for state in [s for s in every.states if s["step"] in (0, 2, 4, 5)][::3]:
        conv_net.load_state_dict(start)
        resumed, _ = train(conv_net, None, tiny_data, config, saved=state)
        assert same_state(resumed.last, whole.last)
        assert resumed.history == whole.history
        assert resumed.points == whole.points


def test_seconds_at_the_end_of_each_epoch_rise_to_what_is_charged(conv_net, tiny_data, config):
    _, ledger = train(conv_net, None, tiny_data, config)
    report = ledger.report()
    assert len(report["epoch_seconds"]) == 2
    assert 0 < report["epoch_seconds"][0] < report["epoch_seconds"][1] <= report["charged_seconds"]
    other = Ledger("train")
    other.add_report(report)
    assert other.report()["epoch_seconds"] == report["epoch_seconds"]


@pytest.mark.parametrize(
    ("epochs", "points", "length", "expected"),
    [
        (1, 4, 3, (0, 2, 4, 6)),
        (2, 2, 3, (0, 4, 12)),
        (1, 100, 3, tuple(range(8))),
        (2, 1, 3, (0,)),
        (0, 4, 3, ()),
        (5, 2, 1, (0, 4)),
    ],
)
def test_points_are_spread_over_the_first_epochs(epochs, points, length, expected):
    """Epochs of eight steps; where one ends is validated anyway."""
    recipe = Recipe(
        data=Data("digits", train_images=256),
        train=Train(epochs=length, batch=32),
        evaluate=Evaluate(early_epochs=epochs, early_points=points),
    )
    assert plan.plan(recipe, "dense", SPECS["digits"]).points == expected
