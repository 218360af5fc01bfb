"""SORA: its step, and the curvature that it measures, under smoothed labels too that of hard ones."""

from dataclasses import replace

import pytest
import torch
from method_case import (
    EPS,
    SHAPE,
    batch_of,
    experienced_net,
    gradient_of,
    inner_batch,
    linear_net,
    method_of,
    nets_of,
    own_cross_entropy,
    twin_of,
    two_class_batch,
)
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.models.fold import fold
from robust_tickets.training.methods.base import Networks


def test_it_steps_by_its_alignment_and_measures_it():
    net, batch = experienced_net(), batch_of()
    method, nets, twin = method_of("sora"), nets_of(net), twin_of(net)
    k = 0.99
    for number in range(3):
        method.load_state_dict({"alignment": torch.tensor(k, dtype=torch.float64)})
        adversarial = method.perturb(nets, batch)
        numbers = uniform(SHAPE, batch.ids, seed=batch.seed) * 2**16
        noisy = (batch.images + EPS * (numbers.floor() / 2**15 - 1)).clamp(0, 1)
        g = gradient_of(twin, noisy, own_cross_entropy(batch))
        step = 2 * EPS * min(1, 0.02 / max(1 - k, 1e-9)) * (numbers - numbers.floor())
        x = (noisy + step * g.sign()).clamp(0, 1)
        torch.testing.assert_close(adversarial, x, rtol=0, atol=1e-12, msg=f"step {number}")
        method.loss(nets, batch, adversarial).backward()
        method.after_backward(nets, batch)
        point = x.clone().requires_grad_(True)
        (after,) = torch.autograd.grad(own_cross_entropy(batch)(twin.train()(point)), point)
        agreement = [float((a.sign() * b).sum() / a.abs().sum()) for a, b in zip(g, after, strict=True)]
        k = min(1.0, max(-1.0, 0.95 * k + 0.05 * sum(agreement) / len(agreement)))
        assert float(method.state_dict()["alignment"]) == pytest.approx(k, abs=1e-9)
    assert k != 0.99


def test_on_a_linear_network_the_alignment_is_one_and_steps_are_full():
    # the loss of a logistic regression is curved; less so, the smaller its weights
    net, batch = linear_net(scale=1e-3), two_class_batch()
    method, nets = method_of("sora"), Networks(net, fold(net))
    for _ in range(100):
        method.loss(nets, batch, method.perturb(nets, batch)).backward()
        method.after_backward(nets, batch)
    assert float(method.state_dict()["alignment"]) == pytest.approx(1, abs=1e-3)


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


def test_of_one_sample_and_two_classes_it_is_that_of_hard_labels():
    net, batch = linear_net(2, 0.3), two_class_batch(1)
    hard = measured(net, batch)
    assert hard != 0.99
    assert measured(net, smoothed(batch, 2, 0.4)) == pytest.approx(hard, rel=1e-12)


def with_targets(batch, of_label):
    """The batch with these targets of its labels, of two classes."""
    share = torch.tensor(of_label, dtype=torch.float64)[:, None]
    hard = F.one_hot(batch.labels, 2).double()
    return replace(batch, targets=hard * share + (1 - hard) * (1 - share))


def test_samples_beyond_their_target_are_left_out_and_others_count_by_their_share():
    net, targets = linear_net(2), [0.9, 0.2, 0.8, 0.1, 0.7, 0.9]
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
    assert measured(linear_net(2), with_targets(two_class_batch(), [0.01] * 6), 0.7) == pytest.approx(0.7)


def test_on_a_flat_network_of_many_classes_steps_stay_whole():
    """Taken as they are, their gradients would make k about 1 - share, and a step a tenth as long."""
    net, batch = linear_net(5, 1e-3), inner_batch()
    method, nets = method_of("sora"), Networks(net, fold(net))
    for _ in range(100):
        method.loss(nets, smoothed(batch, 5, 0.4), method.perturb(nets, batch)).backward()
        method.after_backward(nets, smoothed(batch, 5, 0.4))
    assert float(method.state_dict()["alignment"]) > 0.98
    assert float((method.perturb(nets, batch) - batch.images).abs().max()) > 1.5 * EPS
