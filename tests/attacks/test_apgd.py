"""Auto-PGD is the published algorithm, and its targets are the wrong classes of the largest logits."""

from functools import partial

import pytest
import torch
from small_nets import N
from torch import Tensor, nn

from robust_tickets.attacks import APGD, APGDTargeted, ThreatModel
from robust_tickets.attacks.apgd import checkpoints
from robust_tickets.attacks.losses import cross_entropy, margin, targeted_dlr


def by_hand(
    threat: ThreatModel, net: nn.Module, x: Tensor, label: Tensor, start: Tensor, steps: int, loss
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of Croce & Hein 2020 on one sample, line by line: the best point and its loss."""

    def look(point: Tensor) -> tuple[float, Tensor]:
        point = point[None].clone().requires_grad_(True)
        value = loss(net(point), label[None]).sum()
        (gradient,) = torch.autograd.grad(value, point)
        return float(value.detach()), gradient[0]

    def project(point: Tensor) -> Tensor:
        shift = point - x
        if threat.norm == "Linf":
            shift = shift.clamp(-threat.eps, threat.eps)
        else:
            shift = shift * min(1.0, threat.eps / max(float(shift.norm()), 1e-300))
        return (x + shift).clamp(0, 1)

    def direction(gradient: Tensor) -> Tensor:
        return gradient.sign() if threat.norm == "Linf" else gradient / gradient.norm()

    eta, points = 2 * threat.eps, [start]
    values, gradients = [look(start)[0]], [look(start)[1]]
    best, f_max, best_gradient = start, values[0], gradients[0]
    last, halved_last, f_max_last = 0, True, float("inf")
    current, gradient = start, gradients[0]
    for k in range(steps):
        if k in checkpoints(steps):
            rises = sum(values[i + 1] > values[i] for i in range(last, k))
            halve = rises < 0.75 * (k - last) or (not halved_last and f_max == f_max_last)
            if halve:
                eta, current, gradient = eta / 2, best, best_gradient
                points[-1] = best
            last, halved_last, f_max_last = k, halve, f_max
        z = project(current + eta * direction(gradient))
        if k > 0:
            z = project(current + 0.75 * (z - current) + 0.25 * (current - points[-2]))
        points.append(z)
        current = z
        value, gradient = look(z)
        values.append(value)
        if value > f_max:
            best, f_max, best_gradient = z, value, gradient
    return best, torch.tensor(f_max, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_apgd_is_the_published_algorithm(steps, loss, threat, net, batch):
    images, labels = batch
    formula = {"ce": cross_entropy, "margin": margin}[loss]
    start = threat.random_start(images, torch.arange(N), seed=3)
    mine = APGD(threat, steps=steps, loss=loss).run(net, images, labels, seed=3)
    for i in range(N):
        best, value = by_hand(threat, net, images[i], labels[i], start[i], steps, formula)
        torch.testing.assert_close(mine.images[i], best, rtol=0, atol=1e-7)
        torch.testing.assert_close(formula(net(mine.images[i : i + 1]), labels[i : i + 1])[0], value)


def test_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(20)[0] == 5


def test_there_are_no_more_targets_than_wrong_classes(threat, net, batch):
    nine, four = (
        APGDTargeted(threat, steps=4, targets=targets).run(net, *batch, seed=0) for targets in (9, 4)
    )
    assert torch.equal(nine.images, four.images)
    assert nine.backwards == 4 * 4 * N


def test_targets_are_the_wrong_classes_of_the_largest_logits(threat, net, batch):
    images, labels = batch
    order = net(images).argsort(1, descending=True)
    for rank in (1, 2):
        result = APGDTargeted(threat, steps=15, targets=rank).run(net, images, labels, seed=1)
        reached = targeted_dlr(net(result.images), labels, order[:, rank])
        assert (reached > targeted_dlr(net(images), labels, order[:, rank])).double().mean() > 0.5


def test_each_target_has_as_many_starts_as_are_asked_for(threat, net, batch):
    images, labels = batch
    result = APGDTargeted(threat, steps=6, targets=2, restarts=2).run(net, images, labels, seed=2)
    starts = [threat.random_start(images, torch.arange(N), seed=2, restart=each) for each in range(4)]
    order = net(images).scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
    for i in range(N):
        ends = []
        for start, rank in zip(starts, (0, 0, 1, 1), strict=True):
            towards = partial(targeted_dlr, targets=order[i : i + 1, rank])
            ends.append(by_hand(threat, net, images[i], labels[i], start[i], 6, towards))
        best, _ = max(ends, key=lambda end: float(end[1]))
        torch.testing.assert_close(result.images[i], best, rtol=0, atol=1e-7)


def test_a_start_replaces_that_of_the_first_target(threat, net, batch):
    attack = APGDTargeted(threat, steps=1, targets=1)
    from_image = attack.run(net, *batch, start=batch[0])
    assert not torch.equal(from_image.images, attack.run(net, *batch).images)
