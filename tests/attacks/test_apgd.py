"""Auto-PGD: the published algorithm, its passes, shrinking, independence of the batch."""

import pytest
import torch
from small_nets import conv_net, labelled
from torch import Tensor, nn

from attacks import APGD, PGD, APGDTargeted, InputError, RunOptions, ThreatModel
from attacks.apgd import checkpoints
from attacks.losses import cross_entropy, margin, targeted_dlr

N, SHAPE, K = 24, (3, 5, 5), 5
THREATS = {"Linf": ThreatModel("Linf", 0.03), "L2": ThreatModel("L2", 0.2)}


@pytest.fixture(params=THREATS)
def threat(request) -> ThreatModel:
    return THREATS[request.param]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return conv_net(*SHAPE[1:], K)


@pytest.fixture(scope="module")
def batch(net) -> tuple[Tensor, Tensor]:
    return labelled(net, N, *SHAPE[1:])


ATTACKS = {
    "ce": lambda threat, **more: APGD(threat, steps=20, **more),
    "margin": lambda threat, **more: APGD(threat, steps=20, loss="margin", **more),
    "dlr": lambda threat, **more: APGD(threat, steps=20, loss="dlr", **more),
    "targeted": lambda threat, **more: APGDTargeted(threat, steps=10, targets=3, **more),
}


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


@pytest.mark.parametrize("name", ATTACKS)
def test_results_lie_in_ball_and_box(name, threat, net, batch):
    result = ATTACKS[name](threat).run(net, *batch)
    assert threat.allows(result.images, batch[0]).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_shrinking_changes_the_work_and_not_the_verdict(name, threat, net, batch):
    attack = ATTACKS[name](threat)
    whole = attack.run(net, *batch, seed=2)
    short = attack.run(net, *batch, seed=2, options=RunOptions(stop_when_broken=True, block=8))
    assert torch.equal(whole.broken, short.broken)
    assert 0 < int(whole.broken.sum()) < N
    assert short.forwards < whole.forwards
    wrong = net(short.images).argmax(1) != batch[1]
    assert torch.equal(wrong, short.broken)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_sample_does_not_depend_on_its_batch(name, threat, net, batch):
    images, labels = batch
    attack, ids = ATTACKS[name](threat), torch.arange(N) + 2**33
    whole = attack.run(net, images, labels, sample_ids=ids, seed=9)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for rows in order.split(7):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=9)
        torch.testing.assert_close(part.images, whole.images[rows], rtol=0, atol=1e-9)
        assert torch.equal(part.broken, whole.broken[rows])


@pytest.mark.parametrize(("restarts", "steps"), [(1, 1), (1, 12), (3, 4)])
def test_passes_are_a_gradient_a_step_and_one_look(restarts, steps, threat, net, batch):
    result = APGD(threat, steps=steps, restarts=restarts).run(net, *batch)
    assert (result.forwards, result.backwards) == (restarts * (steps + 1) * N, restarts * steps * N)


def test_targeted_passes_are_those_of_each_target_and_a_clean_look(threat, net, batch):
    result = APGDTargeted(threat, steps=4, targets=9).run(net, *batch)  # 4 wrong classes
    assert (result.forwards, result.backwards) == (N + 4 * 5 * N, 4 * 4 * N)


def test_targets_are_the_wrong_classes_of_the_largest_logits(threat, net, batch):
    images, labels = batch
    order = net(images).argsort(1, descending=True)
    for rank in (1, 2):
        result = APGDTargeted(threat, steps=15, targets=rank).run(net, images, labels, seed=1)
        reached = targeted_dlr(net(result.images), labels, order[:, rank])
        assert (reached > targeted_dlr(net(images), labels, order[:, rank])).double().mean() > 0.5


def test_a_start_replaces_that_of_the_first_target(threat, net, batch):
    attack = APGDTargeted(threat, steps=1, targets=1)
    from_image = attack.run(net, *batch, start=batch[0])
    assert not torch.equal(from_image.images, attack.run(net, *batch).images)


def test_apgd_is_at_least_as_strong_as_pgd_of_as_many_steps(threat, net, batch):
    images, labels = batch
    ends = [a.run(net, images, labels).images for a in (APGD(threat, steps=30), PGD(threat, steps=30))]
    with torch.no_grad():
        auto, plain = (float(cross_entropy(net(end), labels).mean()) for end in ends)
    assert auto > plain - 1e-3


def test_the_target_loss_needs_four_classes(threat, batch):
    with pytest.raises(InputError, match="the network has 3 classes, this attack needs 4: choose another"):
        APGDTargeted(threat).run(lambda x: x.flatten(1)[:, :3], batch[0], batch[1].clamp(0, 2))


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    [
        (APGD, {"steps": 0}, "steps must be at least 1, got 0"),
        (APGD, {"restarts": 0}, "restarts must be at least 1, got 0"),
        (APGD, {"rho": 0.0}, "rho must be above 0 and at most 1, got 0.0"),
        (APGD, {"loss": "kl"}, "unknown loss 'kl'"),
        (APGDTargeted, {"targets": 0}, "targets must be at least 1, got 0"),
        (APGDTargeted, {"steps": -1}, "steps must be at least 1, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(attack, settings, message):
    with pytest.raises(ValueError, match=message):
        attack(THREATS["Linf"], **settings)
