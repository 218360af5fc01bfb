"""SORA under smoothed labels: what it measures is the curvature of the loss with hard labels."""

from dataclasses import replace

import pytest
import torch
from method_case import EPS, batch_of, method_of
from torch.nn import functional as F

from robust_tickets.models.fold import fold
from robust_tickets.training.methods.base import Networks


def net_of(classes, scale=1.0):
    """One layer, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(72, classes)).double()
    with torch.no_grad():
        net[1].weight.mul_(scale)
    return net


def smoothed(batch, classes, share):
    hard = F.one_hot(batch.labels, classes).double()
    return replace(batch, targets=hard * (1 - share) + share / classes)


def measured(net, batch, alignment=0.99):
    """What one step makes of the alignment."""
    method = method_of("sora")
    method.load_state_dict({"alignment": torch.tensor(alignment, dtype=torch.float64)})
    nets = Networks(net, fold(net))
    method.loss(nets, batch, method.perturb(nets, batch)).backward()
    method.after_backward(nets, batch)
    return float(method.state_dict()["alignment"])


def two_class_batch(n=6):
    batch = batch_of(n)
    return replace(batch, images=0.4 + 0.2 * batch.images, labels=batch.labels % 2)


def test_of_one_sample_and_two_classes_it_is_that_of_hard_labels():
    net, batch = net_of(2, 0.3), two_class_batch(1)
    hard = measured(net, batch)
    assert hard != 0.99
    assert measured(net, smoothed(batch, 2, 0.4)) == pytest.approx(hard, rel=1e-12)


def with_targets(batch, of_label):
    """The batch with these targets of its labels, of two classes."""
    share = torch.tensor(of_label, dtype=torch.float64)[:, None]
    hard = F.one_hot(batch.labels, 2).double()
    return replace(batch, targets=hard * share + (1 - hard) * (1 - share))


def test_samples_beyond_their_target_are_left_out_and_others_count_by_their_share():
    net, targets = net_of(2), [0.9, 0.2, 0.8, 0.1, 0.7, 0.9]
    batch = with_targets(two_class_batch(), targets)
    method = method_of("sora")
    method.load_state_dict({"alignment": torch.tensor(0.99, dtype=torch.float64)})
    point = method.perturb(Networks(net, fold(net)), batch).requires_grad_(True)
    before, logits = method._gradient, net(point)
    (after,) = torch.autograd.grad(F.cross_entropy(logits, batch.labels, reduction="sum"), point)
    agreement = (before.sign() * after).flatten(1).sum(1) / before.abs().flatten(1).sum(1)
    p = logits.detach().softmax(1)[range(6), batch.labels]
    c = (torch.tensor(targets) - p) / (1 - p)
    assert (c > 0).tolist() == [True, False, True, False, True, True]
    mean = float((agreement * c)[c > 0].sum() / c[c > 0].sum())
    assert measured(net, batch) == pytest.approx(min(1.0, 0.95 * 0.99 + 0.05 * mean), rel=1e-6)


def test_where_all_are_beyond_their_target_nothing_is_measured():
    assert measured(net_of(2), with_targets(two_class_batch(), [0.01] * 6), 0.7) == pytest.approx(0.7)


def test_on_a_flat_network_of_many_classes_steps_stay_whole():
    """There k was about 1 - share before, and a step a tenth as long."""
    net, batch = net_of(5, 1e-3), batch_of()
    batch = replace(batch, images=0.4 + 0.2 * batch.images)
    method, nets = method_of("sora"), Networks(net, fold(net))
    for _ in range(100):
        method.loss(nets, smoothed(batch, 5, 0.4), method.perturb(nets, batch)).backward()
        method.after_backward(nets, smoothed(batch, 5, 0.4))
    assert float(method.state_dict()["alignment"]) > 0.98
    assert float((method.perturb(nets, batch) - batch.images).abs().max()) > 1.5 * EPS
