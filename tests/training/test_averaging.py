"""The moving average of weights and its BatchNorm statistics, against transcriptions and torch's own."""

import copy
from dataclasses import replace

import pytest
import torch
from method_case import SmallNet
from torch import nn
from torch.optim.swa_utils import update_bn

from robust_tickets.base.errors import InputError
from robust_tickets.models.modes import train_mode
from robust_tickets.models.norm_statistics import has_statistics
from robust_tickets.recipe import recipe as recipes
from robust_tickets.training.averaging import WeightAverage

PER_EPOCH, BATCHES = 4, 3


@pytest.fixture
def average_of(config):
    """Makes the average of a network over two epochs of four steps."""

    def make(net, decay=0.9, batches=BATCHES):
        settings = replace(config, steps=2 * PER_EPOCH, average=decay, average_batches=batches)
        return WeightAverage(train_mode(net), {}, settings, PER_EPOCH)

    return make


def images_of(step):
    generator = torch.Generator().manual_seed(step)
    return torch.rand(5, 2, 6, 6, generator=generator, dtype=torch.float64) + step / 10


@torch.no_grad()
def move(net, step):
    """Other weights, as an optimiser's step gives them."""
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in net.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("decay", [0.9, 0.25])
def test_it_is_the_formula(decay, average_of):
    net = SmallNet()
    average = average_of(net, decay)
    expected = [parameter.detach().clone() for parameter in net.parameters()]
    for step in range(2 * PER_EPOCH):
        move(net, step)
        average.update(step, images_of(step))
        rate = min(decay, (step + 1) / (step + 10))
        expected = [rate * a + (1 - rate) * w for a, w in zip(expected, net.parameters(), strict=True)]
        for ours, theirs in zip(average.net.parameters(), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_without_decay_it_is_the_weights_bit_for_bit(average_of):
    net = SmallNet()
    average = average_of(net, 0.0)
    for step in range(PER_EPOCH):
        move(net, step)
        average.update(step, images_of(step))
        for ours, theirs in zip(average.net.parameters(), net.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_of_constant_weights_it_is_the_weights_bit_for_bit(average_of):
    net = SmallNet().float()
    average = average_of(net, 0.7)
    for step in range(2 * PER_EPOCH):
        average.update(step, images_of(step))
    for ours, theirs in zip(average.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_of_noisy_sgd_it_is_nearer_to_the_optimum_than_the_weights(config):
    """Twenty regressions y = w*x + noise, one a row of the weights; each step sees a sample of each."""
    generator = torch.Generator().manual_seed(0)
    best, net = torch.randn(20, 8, generator=generator), nn.Linear(8, 20, bias=False)
    nn.init.zeros_(net.weight)
    average = WeightAverage(net, {}, replace(config, steps=1500, average=0.99, average_batches=1), 1500)
    for step in range(1500):
        x, noise = torch.randn(20, 8, generator=generator), torch.randn(20, generator=generator)
        with torch.no_grad():
            error = ((net.weight - best) * x).sum(1) - noise
            net.weight.sub_(0.06 * error[:, None] * x)
        average.update(step, x)
    own, averaged = ((each.weight - best).square().sum(1) for each in (net, average.net))
    assert bool((averaged < own).all())


def settled(average, net, steps, first=0):
    """Take steps, settle, and give the passes and the images that the statistics are to be of."""
    for step in range(first, steps):
        move(net, step)
        average.update(step, images_of(step))
    passes = average.settle(steps)
    return passes, [images_of(step) for step in range(max(first, steps - BATCHES), steps)]


def test_statistics_are_those_of_the_last_batches_of_the_epoch(average_of):
    """Of the first BatchNorm: means over the batches of its inputs' mean and unbiased variance."""
    net = SmallNet()
    average = average_of(net)
    for epoch in (0, 1):  # nothing is left of the first epoch's
        passes, images = settled(average, net, (epoch + 1) * PER_EPOCH, epoch * PER_EPOCH)
        assert passes.cost == passes.forward == BATCHES * 5
        inputs = [average.net.conv(batch).transpose(0, 1).flatten(1) for batch in images]
        mean = torch.stack([values.mean(1) for values in inputs]).mean(0)
        variance = torch.stack([values.var(1, correction=1) for values in inputs]).mean(0)
        torch.testing.assert_close(average.net.norm.running_mean, mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(average.net.norm.running_var, variance, rtol=1e-12, atol=1e-12)
        assert average.net.norm.momentum == net.norm.momentum == 0.1


class Twice(nn.Module):
    """A network that calls its BatchNorm twice, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.unused = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(3)
        self.register_buffer("calls", torch.zeros(()))
        self.double()

    def forward(self, x):
        self.calls += 1
        return self.norm(self.conv(self.norm(x) * 2)).mean((2, 3))


@pytest.mark.parametrize("kind", [SmallNet, Twice])
def test_statistics_are_those_of_torch_bit_for_bit(kind, average_of):
    net = kind()
    average = average_of(net)
    with torch.no_grad():
        net(images_of(9))
    _, images = settled(average, net, PER_EPOCH)
    twin = copy.deepcopy(average.net)
    # batches are kept channels last, as the recipe says
    update_bn([batch.contiguous(memory_format=torch.channels_last) for batch in images], twin)
    assert torch.equal(twin.norm.running_mean, average.net.norm.running_mean)
    assert torch.equal(twin.norm.running_var, average.net.norm.running_var)


def test_other_buffers_are_those_of_the_network(average_of):
    net = Twice()
    average = average_of(net)
    with torch.no_grad():
        net(images_of(0))
        net.unused.running_mean.fill_(3.0)  # as of a network that was loaded; no pass moves it
    settled(average, net, PER_EPOCH)
    assert float(average.net.calls) == float(net.calls) == 1
    assert bool((average_of(net).net.unused.running_mean == 3).all())


def frozen(net):
    net.norm.eval()
    net.norm.running_mean.fill_(0.5)


def without_statistics(net):
    net.norm = nn.BatchNorm2d(4, track_running_stats=False).double()


@pytest.mark.parametrize("change", [frozen, without_statistics])
def test_what_training_does_not_move_is_left_and_costs_nothing(change, average_of):
    net = SmallNet().train()
    change(net)
    average = average_of(net)
    passes, _ = settled(average, net, PER_EPOCH)
    assert passes.total == 0
    assert not has_statistics(net)
    assert not [name for name in average.state_dict() if name.startswith("images")]
    if net.norm.running_mean is not None:
        assert bool((average.net.norm.running_mean == 0.5).all())


def test_a_state_that_lacks_images_is_named(average_of):
    net = SmallNet()
    average = average_of(net)
    for step in range(PER_EPOCH - 1):
        average.update(step, images_of(step))
    state = average.state_dict()
    assert {"images/0", "images/1"} <= state.keys()
    del state["images/0"]
    with pytest.raises(InputError, match="lacks images of its last steps"):
        average.load_state_dict(state)


def test_batches_without_an_average_do_nothing_and_are_refused():
    with pytest.raises(InputError, match=r"train\.average_batches does nothing without train\.average"):
        recipes.from_table({"train": {"average_batches": 9}})
    recipes.from_table({"train": {"average": 0.9, "average_batches": 9}})


@pytest.mark.parametrize("field", ["average", "average_batches"])
def test_a_search_has_no_average_and_a_line_says_why(field):
    with pytest.raises(InputError, match=rf"search\.{field}'?: a search prunes the weights themselves"):
        recipes.from_table({"search": {field: 3}})
