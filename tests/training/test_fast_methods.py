"""The fast training methods against plain transcriptions of their papers' formulas, in float64."""

from dataclasses import replace

import pytest
import torch
from method_case import (
    EPS,
    SHAPE,
    SmallNet,
    batch_of,
    data_of,
    experienced_net,
    gradient_of,
    linear_net,
    method_of,
    nets_of,
    own_cross_entropy,
    rows_of,
    twin_of,
    two_class_batch,
)
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import fold
from robust_tickets.training.methods.base import Networks, Step


def at_step(batch, number, count=40):
    return replace(batch, step=Step(number, count, classes=5))


@pytest.fixture
def net():
    return experienced_net()


@pytest.fixture
def twin(net):
    return twin_of(net)


def test_fgsm_rs_steps_from_the_ball_and_stays_in_it(net):
    batch = batch_of()
    images = method_of("fgsm_rs", alpha=0.7).perturb(nets_of(net), batch)
    start = (batch.images + EPS * (2 * uniform(SHAPE, batch.ids, seed=batch.seed) - 1)).clamp(0, 1)
    g = gradient_of(net, start, own_cross_entropy(batch))
    expected = torch.clamp(start + 0.7 * EPS * g.sign(), batch.images - EPS, batch.images + EPS).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-12)


def test_mart_loss_is_that_of_the_paper(net):
    """Wang et al. 2020, equation 13, written out with probabilities."""
    batch = batch_of()
    adversarial = (batch.images + 0.05).clamp(0, 1)
    loss = method_of("mart", weight=2.5).loss(nets_of(net), batch, adversarial)
    p, q = net.train()(batch.images).softmax(1), net.train()(adversarial).softmax(1)
    expected = torch.zeros((), dtype=torch.float64)
    for i, label in enumerate(batch.labels.tolist()):
        others = torch.cat([q[i, :label], q[i, label + 1 :]])
        bce = -q[i, label].log() - (1 - others.max()).log()
        kl = (p[i] * (p[i] / q[i]).log()).sum()
        expected = expected + (bce + 2.5 * kl * (1 - p[i, label])) / len(batch.labels)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)


def test_mart_is_finite_where_the_network_is_sure(net):
    """Its log(1 - p) would be log(0) where another class has all of the probability."""
    with torch.no_grad():
        net.head.weight.mul_(1e4)
    batch = batch_of()
    loss = method_of("mart").loss(nets_of(net), batch, batch.images)
    loss.backward()
    assert bool(loss.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_free_replays_with_the_updates_own_gradient(net, twin):
    """Three steps by hand; the perturbation of the last one begins the next batch."""
    method, nets = method_of("free"), nets_of(net)
    first, second = batch_of(), batch_of(ids=torch.arange(6) + 9)
    second = replace(second, images=second.images.flip(0))
    shift = torch.zeros_like(first.images)
    for number, batch in enumerate((first, first, second)):
        adversarial = method.perturb(nets, batch)
        by_hand = (batch.images + shift).clamp(0, 1)
        torch.testing.assert_close(adversarial, by_hand, rtol=0, atol=1e-12, msg=f"step {number}")
        net.zero_grad()
        loss = method.loss(nets, batch, adversarial)
        loss.backward()
        method.after_backward(nets, batch)
        point = by_hand.clone().requires_grad_(True)
        expected = F.cross_entropy(twin.train()(point), batch.labels)
        twin.zero_grad()
        expected.backward()
        torch.testing.assert_close(net.conv.weight.grad, twin.conv.weight.grad, rtol=1e-9, atol=1e-12)
        shift = (by_hand + EPS * point.grad.sign() - batch.images).clamp(-EPS, EPS)
        shift = (batch.images + shift).clamp(0, 1) - batch.images


@pytest.mark.parametrize("name", ["pgi", "liet"])
def test_a_step_of_two_eps_from_any_start_is_the_maximiser_on_a_linear_network(name):
    """And the divergence is then what the weights say: D depends on W (d - s) alone."""
    net, batch = linear_net(), two_class_batch()
    method = method_of(name)
    method.prepare(data_of(batch))
    calls = []
    nets = Networks(lambda x: calls.append(x) or net(x), fold(net))
    batch = replace(batch, threat=replace(batch.threat, eps=0.05))
    method.start = lambda nets, batch: torch.zeros_like(batch.images)
    method.loss(nets, batch, method.perturb(nets, batch))
    w = net[1].weight[1] - net[1].weight[0]
    away = torch.where(batch.labels == 0, 1.0, -1.0)[:, None].double()
    expected = batch.images.flatten(1) + 0.05 * away * w.sign()
    torch.testing.assert_close(calls[1].flatten(1), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("constant", [False, True])
def test_pgi_is_the_papers_algorithm_with_its_memory_in_the_frame_of_the_image(constant, net, twin):
    """Jia et al. 2022, algorithm 3, for two epochs; crops and flips are done by hand, image by image."""
    method, nets = method_of("pgi", weight=3.0, constant_start=constant), nets_of(net)
    batch = batch_of()
    method.prepare(data_of(batch))
    numbers = uniform(SHAPE, batch.ids, seed=batch.seed)
    memory, momentum = EPS * torch.sign(numbers - 0.5), torch.zeros_like(numbers)
    for epoch in range(3):
        crop = batch.augmentation
        moved = replace(crop, down=crop.down.roll(epoch), flip=crop.flip.roll(epoch))
        batch = at_step(replace(batch, augmentation=moved), epoch)
        start = torch.stack([crop_one(memory[i], moved, i) for i in range(6)])
        x = (batch.images + start).clamp(0, 1)
        first = twin.eval()(x).detach() if constant else twin.train()(x)
        point = x.clone().requires_grad_(True)
        copy = SmallNet()
        copy.dropout.p = 0.0
        copy.load_state_dict(twin.state_dict())
        logits = (copy.eval() if constant else copy.train())(point)
        (g,) = torch.autograd.grad(own_cross_entropy(batch)(logits), point)
        ball = (batch.images - EPS).clamp(0, 1), (batch.images + EPS).clamp(0, 1)
        adversarial = torch.clamp(x + EPS * g.sign(), *ball)
        second = twin.train()(adversarial)
        expected = F.cross_entropy(second, batch.labels) + 3.0 * ((second - first) ** 2).mean()
        loss = method.loss(nets, batch, method.perturb(nets, batch))
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12, msg=f"epoch {epoch}")
        method.after_backward(nets, batch)
        g = g / g.abs().mean()
        for i in range(6):
            seen = crop_one(torch.ones(SHAPE), moved, i).bool()
            gradient = g[i] + 0.3 * crop_one(momentum[i], moved, i)
            after = (crop_one(memory[i], moved, i) + EPS * gradient.sign()).clamp(-EPS, EPS)
            momentum[i] = uncrop_one(gradient, seen, momentum[i], moved, i).half()  # as it is stored
            memory[i] = uncrop_one(after, seen, memory[i], moved, i)
    torch.testing.assert_close(method.state_dict()["memory"].double() * EPS, memory, rtol=0, atol=1e-12)
    torch.testing.assert_close(method.state_dict()["momentum"].double(), momentum, rtol=1e-3, atol=1e-6)


def crop_one(image, augmentation, i):
    """One image (C, H, W) padded by a pixel, cropped and flipped."""
    padded = F.pad(image, (1, 1, 1, 1))
    down, right = int(augmentation.down[i]), int(augmentation.right[i])
    crop = padded[:, down : down + 6, right : right + 6]
    return crop.flip(2) if augmentation.flip[i] else crop


def uncrop_one(crop, seen, image, augmentation, i):
    """The image with the seen pixels of the crop in their places."""
    crop, seen = (t.flip(2) if augmentation.flip[i] else t for t in (crop, seen))
    padded = F.pad(image, (1, 1, 1, 1))
    down, right = int(augmentation.down[i]), int(augmentation.right[i])
    part = padded[:, down : down + 6, right : right + 6]
    padded[:, down : down + 6, right : right + 6] = torch.where(seen, crop, part)
    return padded[:, 1:7, 1:7]


def test_the_memory_belongs_to_the_image_whatever_the_batch_and_begins_anew(net):
    batch = batch_of()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    states = []
    for shuffled in (False, True):
        method, nets = method_of("pgi", reset=2, constant_start=True), nets_of(net)
        method.prepare(data_of(batch))
        # 6 images in batches of 3: an epoch has 2 steps
        halves = [rows_of(batch, rows) for rows in (order if shuffled else torch.arange(6)).split(3)]
        for step, half in enumerate(halves):
            method.perturb(nets, at_step(half, step))
            method.after_backward(nets, at_step(half, step))
        states.append(method.state_dict()["memory"].clone())
        method.perturb(nets, at_step(halves[0], 2))
        assert bool(method.state_dict()["momentum"][halves[1].rows].any())
        method.perturb(nets, at_step(halves[0], 4))  # the third epoch's first step
        assert not bool(method.state_dict()["momentum"][halves[1].rows].any())
    assert torch.equal(*states)


@pytest.mark.parametrize("constant", [False, True])
def test_liet_starts_where_the_labels_say_and_its_divergence_grows(constant, net, twin):
    method, nets = method_of("liet", weight=8.0, constant_start=constant), nets_of(net)
    batch = batch_of()
    grey = torch.full((5, *SHAPE), 0.5, dtype=torch.float64)
    toward = gradient_of(twin, grey, lambda z: F.cross_entropy(z, torch.arange(5), reduction="sum")).sign()
    images = method.start(nets, at_step(batch, 20)) / EPS
    share, side = uniform((2,), batch.ids, seed=batch.seed, stream=1).unbind(1)
    numbers = uniform(SHAPE, batch.ids, seed=batch.seed)
    for i, label in enumerate(batch.labels.tolist()):
        r = 0.1 + 0.4 * float(share[i])
        mixed = torch.where(numbers[i] < r, 2 * numbers[i] / r - 1, toward[label])
        torch.testing.assert_close(images[i], mixed if side[i] < 0.5 else -mixed, rtol=0, atol=1e-12)
    assert float(images.abs().max()) <= 1

    x = (batch.images + EPS * images).clamp(0, 1)
    loss = method.loss(nets, at_step(batch, 20), method.perturb(nets, at_step(batch, 20)))
    point = x.clone().requires_grad_(True)
    first = (twin.eval() if constant else twin.train())(point)
    (g,) = torch.autograd.grad(own_cross_entropy(batch)(first), point, retain_graph=True)
    adversarial = (x + EPS * g.sign()).clamp(batch.images - EPS, batch.images + EPS).clamp(0, 1)
    second = twin.train()(adversarial)
    p, q = first.softmax(1), second.softmax(1)
    m = (p + q) / 2
    jsd = ((p * (p / m).log()).sum(1) + (q * (q / m).log()).sum(1)).mean() / 2
    expected = F.cross_entropy(second, batch.labels) + 8.0 * 20 / 40 * jsd
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    # gradients, where the logits at the start are part of the graph
    ours = torch.autograd.grad(loss, list(net.parameters()))
    theirs = torch.autograd.grad(expected, list(twin.parameters())) if not constant else ours
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-10)


def test_the_starts_of_the_classes_are_refreshed_and_noise_alone_before_they_are_there(net):
    method, nets, batch = method_of("liet", refresh=10), nets_of(net), batch_of()
    inside = method.start(nets, at_step(batch, 5)) / EPS
    assert bool((inside == 0).any())
    first = method.start(nets, at_step(batch, 10))
    with torch.no_grad():
        net.conv.weight.neg_()
    assert torch.equal(method.start(nets, at_step(batch, 19)), first)
    assert not torch.equal(method.start(nets, at_step(batch, 20)), first)


def test_liet_needs_two_classes():
    data = data_of(batch_of())
    data = replace(data, spec=replace(data.spec, classes=1))
    with pytest.raises(InputError, match=r"train.method liet needs at least 2 classes"):
        method_of("liet").prepare(data)


def test_without_weight_and_start_the_family_is_fgsm(net):
    batch = batch_of()
    for name in ("pgi", "liet"):
        method = method_of(name, constant_start=True)
        method.prepare(data_of(batch))
        method.start = lambda nets, batch: torch.zeros_like(batch.images)
        method.weight = lambda step: 0.0
        nets = nets_of(net)
        assert torch.equal(method.perturb(nets, batch), method_of("fgsm").perturb(nets, batch))
