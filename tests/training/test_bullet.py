"""BulletTrain against a plain transcription, image by image, in float64; and what its steps cost."""

from dataclasses import replace

import pytest
import torch
from method_case import EPS, SHAPE, Counter, SmallNet, batch_of, gradient_of, method_of, rows_of
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.base.errors import InputError
from robust_tickets.comparison.estimate import estimate
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compare
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.methods.base import Networks


@pytest.fixture
def net():
    net = SmallNet()
    net.dropout.p = 0.0
    with torch.no_grad():
        net(torch.rand(50, *SHAPE, dtype=torch.float64))
        net.head.weight.mul_(4)
    return net


@pytest.fixture
def batch(net):
    """A batch half of whose labels the network gets right at the start."""
    batch = batch_of(8)
    right = net.eval()(start_of(batch)).argmax(1)
    return replace(batch, labels=torch.where(torch.arange(8) % 2 == 0, right, (right + 1) % 5))


def start_of(batch):
    noise = 2 * uniform(SHAPE, batch.ids, seed=batch.seed) - 1
    return (batch.images + EPS * noise).clamp(batch.images - EPS, batch.images + EPS).clamp(0, 1)


def nets_of(net):
    return Networks(net.train(), fold(net))


def method_at(share, **settings):
    method = method_of("bullet", **settings)
    method.load_state_dict({"share": torch.tensor(share)})
    return method


def test_each_image_has_the_steps_of_its_group(net, batch):
    """Hua et al. 2021, image by image, in batches of one: two of eight may be robust."""
    method = method_at(0.25, steps=4, rel_step=0.4, robust_steps=2, robust_rel_step=0.7)
    images = method.perturb(nets_of(net), batch)
    probabilities = net.eval()(start_of(batch)).softmax(1)
    right = probabilities.argmax(1) == batch.labels
    sigma = probabilities.std(1) * (2 * right.double() - 1)
    threshold = sigma.sort(descending=True).values[2].clamp(min=0)
    groups = ["robust" if s > threshold else "boundary" if s > 0 else "outlier" for s in sigma]
    assert [groups.count(name) for name in ("robust", "boundary", "outlier")] == [2, 2, 4]
    for i, group in enumerate(groups):
        one = rows_of(batch, torch.tensor([i]))
        x = start_of(one)
        steps, size = {"robust": (2, 0.7), "boundary": (4, 0.4), "outlier": (0, 0)}[group]
        for _ in range(steps):
            g = gradient_of(net, x, lambda z, labels=one.labels: F.cross_entropy(z, labels))
            x = (x + size * EPS * g.sign()).clamp(one.images - EPS, one.images + EPS).clamp(0, 1)
        torch.testing.assert_close(images[i : i + 1], x, rtol=0, atol=1e-12, msg=group)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_step_costs_the_passes_of_each_images_steps(share, net, batch):
    method = method_at(share, steps=5, robust_steps=2)
    attack = Counter(fold(net))
    method.perturb(Networks(net, fold(net), attack), batch)
    robust = min(4, -int(-8 * share // 1))
    steps = 2 * robust + 5 * (4 - robust) + 4  # the pass that sorts the four outliers
    assert attack.samples == [steps, steps]
    assert method.passes_taken(8, batch.step).whole.cost == 2 * steps + 3 * 8
    assert method.passes(8, batch.step).whole.cost == (2 * 5 + 3) * 8


def test_with_a_share_of_one_all_that_are_right_are_robust(net, batch):
    method = method_at(1.0, robust_steps=1, robust_rel_step=0.5)
    images = method.perturb(nets_of(net), batch)
    moved = (images != start_of(batch)).flatten(1).any(1)
    assert moved.tolist() == [True, False] * 4
    assert method.passes_taken(8, batch.step).attack.forward == 8


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_where_all_are_boundary_images_it_is_pgd_bit_for_bit(norm, channels_last, net):
    batch = batch_of(8, norm=norm)
    images = batch.images
    if channels_last:
        images, net = (
            images.contiguous(memory_format=torch.channels_last),
            net.to(memory_format=torch.channels_last),
        )
    noisy = batch.threat.random_start(images, batch.ids, seed=batch.seed)
    batch = replace(batch, images=images, labels=fold(net)(noisy).argmax(1))
    ours = method_at(0.0, steps=3, rel_step=0.4).perturb(nets_of(net), batch)
    theirs = method_of("pgd", steps=3, rel_step=0.4).perturb(nets_of(net), batch)
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()


def test_the_share_follows_the_accuracy_at_the_images_of_the_update(net, batch):
    method, nets = method_of("bullet", steps=2), nets_of(net)
    share = 0.0
    for _ in range(3):
        images = method.perturb(nets, batch)
        method.loss(nets, batch, images)
        method.after_backward(nets, batch)
        accuracy = float((net(images).argmax(1) == batch.labels).double().mean())
        share = 0.9 * share + 0.1 * 0.8 * accuracy
        assert float(method.state_dict()["share"]) == pytest.approx(share, abs=1e-6)
    assert share > 0


@pytest.mark.slow
def test_the_estimate_says_that_its_passes_are_the_most(tiny_recipe):
    arms, train = Compare(("dense",)), replace(tiny_recipe.train, method="bullet")
    (row, _) = estimate(Experiment(replace(tiny_recipe, compare=arms, train=train)), 1).rows.itertuples()
    assert row.arm == "dense, at most"
    assert row.passes % (2 * 10 + 2) == 0  # forward and backward passes of ten steps, and those of the update


def test_a_state_of_another_method_is_refused():
    with pytest.raises(InputError, match="does not fit the method bullet"):
        method_of("bullet").load_state_dict({"share": torch.zeros(2)})
