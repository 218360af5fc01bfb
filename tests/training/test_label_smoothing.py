"""Smoothed labels: rows that sum to 1, PyTorch's own form, and why attacks keep the hard ones."""

from dataclasses import replace

import pytest
import torch
from method_case import batch_of, gradient_of, method_of
from torch import nn
from torch.nn import functional as F

from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import fold
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.label_smoothing import smoothed_labels
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.training_batches import training_batches

LABELS, IDS = torch.tensor([0, 2, 1, 2]), torch.tensor([5, 3, 8, 13])


def smoothed(share, kind, seed=0, ids=IDS):
    return smoothed_labels(Training(label_smoothing=share, smoothing=kind), LABELS, ids, 3, seed)


@pytest.mark.parametrize("kind", ["uniform", "random"])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_rows_sum_to_one_and_the_label_keeps_its_share(kind, share):
    targets = smoothed(share, kind)
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    kept = targets.gather(1, LABELS[:, None])[:, 0]
    torch.testing.assert_close(kept, torch.full((4,), 1 - share + (share / 3 if kind == "uniform" else 0)))
    assert bool((targets > 0).all())


def test_uniform_is_that_of_pytorch():
    logits = torch.randn(4, 3)
    ours = F.cross_entropy(logits, smoothed(0.3, "uniform"))
    torch.testing.assert_close(ours, F.cross_entropy(logits, LABELS, label_smoothing=0.3))


def test_random_ratios_belong_to_the_sample_and_change_with_the_epoch():
    targets = smoothed(0.5, "random")
    order = torch.tensor([2, 0, 3, 1])
    other = smoothed_labels(
        Training(label_smoothing=0.5, smoothing="random"), LABELS[order], IDS[order], 3, 0
    )
    assert torch.equal(other, targets[order])
    assert not torch.equal(smoothed(0.5, "random", seed=1), targets)


def test_the_update_has_them_and_the_attack_does_not(tiny_data, config):
    settings = replace(config.settings, label_smoothing=0.4)
    plain = next(training_batches(tiny_data, config, 1, 0))
    batch = next(training_batches(tiny_data, replace(config, settings=settings), 1, 0))
    assert plain.targets is None
    assert torch.equal(batch.labels, plain.labels)
    torch.testing.assert_close(batch.targets.gather(1, batch.labels[:, None]), torch.full((32, 1), 0.64))


def test_with_smoothed_labels_a_one_step_attack_would_go_the_wrong_way():
    """Two classes: the sign turns for exactly the samples with p_y above the smoothed target."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(72, 2)).double()
    with torch.no_grad():
        net[1].weight.mul_(20)
    batch = batch_of(40)
    batch = replace(batch, labels=batch.labels % 2, images=0.3 + 0.4 * batch.images)
    targets = F.one_hot(batch.labels, 2) * 0.8 + 0.1
    batch = replace(batch, targets=targets)
    hard = gradient_of(net, batch.images, lambda z: F.cross_entropy(z, batch.labels, reduction="sum"))
    smooth = gradient_of(net, batch.images, lambda z: F.cross_entropy(z, targets, reduction="sum"))
    sure = net(batch.images).softmax(1).gather(1, batch.labels[:, None])[:, 0] > 0.9
    turned = (hard.sign() == -smooth.sign()).flatten(1).all(1)
    assert torch.equal(turned, sure)
    assert 0 < int(sure.sum()) < 40
    images = method_of("fgsm").perturb(Networks(net, fold(net)), batch)
    expected = (batch.images + 0.1 * hard.sign()).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stage", ["search", "train"])
def test_a_kind_without_a_share_does_nothing_and_is_refused(stage):
    with pytest.raises(InputError, match=rf"{stage}.smoothing does nothing without {stage}.label_smoothing"):
        recipes.from_table({stage: {"smoothing": "random"}})
