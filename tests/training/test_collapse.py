"""The collapse detector: what it sees on networks that are understood, what it costs, and the way back."""

import copy
import re
from dataclasses import replace

import pytest
import torch
from method_case import SHAPE, Counter, batch_of, data_of, method_of
from torch import nn
from training_case import same_state, train

from robust_tickets.attacks import ThreatModel
from robust_tickets.models.fold import fold
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training import loop
from robust_tickets.training.collapse import CollapseDetector, watch_collapse
from robust_tickets.training.methods.base import Networks

EPS = 0.1
SINGLE_STEP = ("fgsm", "fgsm_rs", "nfgsm", "sora", "pgi", "liet")


def linear_net():
    """Two classes, one layer: the loss rises along a step wherever it begins."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(72, 2)).double()


class Bump(nn.Module):
    """Two classes, whose margin falls along a direction, and rises again beyond a share of eps."""

    def __init__(self, turn):
        super().__init__()
        self.turn = nn.Parameter(torch.tensor(turn * EPS, dtype=torch.float64))
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        """The mean pixel beyond the images' own 0.5, t: a margin of -t, and of t - 2 turn after the turn."""
        t = (x - 0.5).flatten(1).mean(1)
        margin = torch.maximum(-t, t - 2 * self.turn)
        return torch.stack([self.zero * margin + 5 * margin, -5 * margin], 1)


def two_class_batch(n=6):
    """Images in the middle of the box, all of the first class."""
    batch = batch_of(n)
    labels = torch.zeros_like(batch.labels)
    images = torch.full_like(batch.images, 0.5)
    step = replace(batch.step, classes=2)
    return replace(batch, images=images, labels=labels, threat=ThreatModel("Linf", EPS), step=step)


def networks(net):
    return Networks(net.train(), fold(net, SHAPE))


def detector_of(method, steps=0):
    return CollapseDetector(method, steps)


def alignment_after_a_step(net, method, batch):
    detector, nets = detector_of(method), networks(net)
    detector.prepare(data_of(batch))
    detector.loss(nets, batch, detector.perturb(nets, batch)).backward()
    detector.after_backward(nets, batch)
    return float(detector.state_dict()["collapse.alignment"]) / 0.05


@pytest.mark.parametrize("name", SINGLE_STEP)
def test_on_a_linear_network_of_two_classes_the_gradient_points_along_any_step(name):
    batch = two_class_batch()
    batch = replace(batch, images=0.45 + 0.1 * batch_of().images, labels=batch_of().labels % 2)
    if name in ("pgi", "liet"):  # whose loss has a term more, and another gradient
        assert alignment_after_a_step(linear_net(), method_of(name), batch) > 0.95
        method = method_of(name)
        method.weight = lambda step: 0.0
    else:
        method = method_of(name)
    assert alignment_after_a_step(linear_net(), method, batch) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("turn", "expected"), [(0.6, -1), (0.5, -1), (1.2, 1)])
def test_it_is_minus_one_where_the_loss_falls_at_the_end_of_the_step(turn, expected):
    """The loss rises up to the turn, at 0.6 of the step: half a step finds it higher, the whole one not."""
    net, batch = Bump(turn), two_class_batch()
    net(batch.images + 0.5 * EPS)
    assert alignment_after_a_step(net, method_of("fgsm"), batch) == pytest.approx(expected, abs=1e-5)


def place_bump(net, turn):
    """Let the margin turn at this share of a step; beyond 1 it falls all along."""
    with torch.no_grad():
        net.turn.fill_(turn * EPS)


def take_steps(detector, nets, batch, steps, first=0):
    """Take steps; gives those at which PGD was taken."""
    taken = []
    for number in range(first, first + steps):
        step = replace(batch, step=replace(batch.step, number=number))
        detector.loss(nets, step, detector.perturb(nets, step)).backward()
        detector.after_backward(nets, step)
        if detector.passes_taken(1, step.step).attack.forward > 1:
            taken.append(number)
    return taken


def collapse(net, detector, nets, batch, steps):
    """Sixty healthy steps, then so many to images behind a bump; gives those at which PGD was taken."""
    place_bump(net, 2.0)
    assert take_steps(detector, nets, batch, 60) == []
    place_bump(net, 0.6)
    return take_steps(detector, nets, batch, steps, first=60)


def test_it_fires_on_a_bump_once_until_the_network_has_recovered():
    net, batch = Bump(0.6), two_class_batch()
    nets, detector = networks(net), detector_of(method_of("fgsm"))
    # from 1 - 0.95 ** 60, n steps to -1 lead below 0.3 with the 8th, which has the number 67
    collapse(net, detector, nets, batch, 7)
    assert detector.warning() == ""
    take_steps(detector, nets, batch, 13, first=67)
    assert detector.warning().startswith("step 67: catastrophic overfitting begins: ")
    take_steps(detector, nets, batch, 5, first=80)
    assert detector.warning() == ""
    place_bump(net, 2.0)
    take_steps(detector, nets, batch, 60, first=85)
    place_bump(net, 0.6)
    take_steps(detector, nets, batch, 20, first=145)
    assert int(re.match(r"step (\d+):", detector.warning())[1]) > 145


def test_a_network_that_was_never_healthy_has_not_collapsed():
    """An untrained network gives no direction that holds for a whole step."""
    nets, detector = networks(Bump(0.6)), detector_of(method_of("fgsm"))
    take_steps(detector, nets, two_class_batch(), 60)
    assert detector.warning() == ""


def test_it_does_not_fire_on_a_linear_network_nor_on_one_that_gives_no_gradient():
    for net in (linear_net(), nn.Sequential(nn.Flatten(), nn.Linear(72, 2)).double()):
        if net[1].weight.requires_grad:
            nets, detector = networks(net), detector_of(method_of("nfgsm"))
            take_steps(detector, nets, two_class_batch(), 60)
            assert detector.warning() == ""
        with torch.no_grad():
            net[1].weight.zero_()


def test_pgd_is_trained_by_until_the_network_has_recovered_and_charged():
    net, batch = Bump(0.6), two_class_batch()
    update, attack = Counter(net.train()), Counter(fold(net, SHAPE))
    nets, detector = Networks(update, fold(net, SHAPE), attack), detector_of(method_of("fgsm"), steps=3)
    assert collapse(net, detector, nets, batch, 25) == [*range(70, 85)]  # it looks every tenth step
    for counter in (update, attack):
        counter.samples = [0, 0]
    step = replace(batch, step=replace(batch.step, number=86))
    detector.loss(nets, step, detector.perturb(nets, step)).backward()
    cost = detector.passes_taken(6, step.step)
    assert attack.samples == [cost.attack.forward, cost.attack.input_backward] == [18, 18]
    assert update.samples == [cost.update.forward, cost.update.full_backward] == [6, 6]
    place_bump(net, 2.0)
    taken = take_steps(detector, nets, batch, 100, first=87)
    assert taken == [*range(87, taken[-1] + 1)]
    assert taken[-1] % 10 == 9
    assert taken[-1] < 130


def test_images_of_the_recovery_are_within_the_ball_and_worse_than_those_of_the_step():
    net, batch = Bump(0.6), two_class_batch()
    nets, detector = networks(net), detector_of(method_of("fgsm"), steps=5)
    collapse(net, detector, nets, batch, 20)
    images = detector.perturb(nets, replace(batch, step=replace(batch.step, number=81)))
    assert bool(batch.threat.allows(images, batch.images).all())
    loss = nn.functional.cross_entropy
    step = method_of("fgsm").perturb(nets, batch)
    assert loss(net(images), batch.labels) > loss(net(step), batch.labels)


def test_smoothed_labels_do_not_count_where_they_turn_the_gradient_round():
    """The network is surer of the label than its target: the smoothed loss falls along the step."""
    net, batch = linear_net(), two_class_batch()
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor([9.0, 0.0]))
        net[1].weight.mul_(0.01)
    smoothed = replace(batch, targets=torch.tensor([[0.6, 0.4]], dtype=torch.float64).repeat(6, 1))
    assert alignment_after_a_step(net, method_of("fgsm"), smoothed) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["fgsm", "sora", "liet", "mart"])
def test_watching_changes_no_bit_and_costs_no_pass(name, conv_net, tiny_data, config, monkeypatch):
    settings = Training(method=name, epochs=1, batch=32)
    if name == "mart":
        settings = replace(settings, mart=replace(settings.mart, steps=1))
    config = replace(config, settings=settings, steps=3)
    results = []
    for watched in (True, False):
        if not watched:
            monkeypatch.setattr(loop, "watch_collapse", lambda method, settings: (method, None))
        result, ledger = train(copy.deepcopy(conv_net), None, tiny_data, config)
        results.append((result, ledger))
    (one, ledger), (two, other) = results
    assert same_state(one.last, two.last)
    assert (one.history, one.warnings) == (two.history, two.warnings)
    assert (ledger.passes, ledger.flops) == (other.passes, other.flops)


def test_methods_of_a_single_step_are_watched():
    watched = {name for name in METHODS if watch_collapse(method_of(name), Training())[1] is not None}
    assert watched == {*SINGLE_STEP, "nuat"}
