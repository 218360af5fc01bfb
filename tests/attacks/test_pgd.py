"""PGD: the climb, its passes, early stopping, restarts."""

import itertools

import pytest
import torch
from small_nets import Counted, conv_net, labelled
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import FGSM, PGD, RunOptions, ThreatModel

EPS = 0.03
THREAT = ThreatModel("Linf", EPS)
THREATS = {"Linf": THREAT, "L2": ThreatModel("L2", 0.2)}
N, SHAPE = 24, (3, 5, 5)


@pytest.fixture(params=THREATS)
def threat(request) -> ThreatModel:
    """For laws that hold in both norms; those of the one norm take THREAT."""
    return THREATS[request.param]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return conv_net(*SHAPE[1:], 5)


@pytest.fixture(scope="module")
def batch(net) -> tuple[Tensor, Tensor]:
    """Images in which an attack breaks some samples and not others: labels are the network's own."""
    return labelled(net, N, *SHAPE[1:])


def losses(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(net(images), labels, reduction="none")


def climb(
    threat: ThreatModel,
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    steps: int,
    size: float,
) -> list[Tensor]:
    """Madry et al. 2018, section 2.1, one sample at a time: start and all iterates."""
    points = [start]
    for _ in range(steps):
        rows = []
        for x, y, point in zip(images, labels, points[-1], strict=True):
            point = point[None].clone().requires_grad_(True)
            F.cross_entropy(net(point), y[None]).backward()
            gradient = point.grad[0]
            direction = (
                gradient.sign() if threat.norm == "Linf" else gradient / gradient.square().sum().sqrt()
            )
            shift = point.detach()[0] + size * direction - x
            if threat.norm == "Linf":
                shift = shift.clamp(-threat.eps, threat.eps)
            else:
                shift = shift * min(1.0, threat.eps / float(shift.square().sum().sqrt()))
            rows.append((x + shift).clamp(0, 1))
        points.append(torch.stack(rows))
    return points


def wrong_anywhere(net: nn.Module, points: list[Tensor], labels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([net(p).argmax(1) != labels for p in points]).any(0)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("origin", ["images", "random", "caller"])
def test_pgd_is_the_published_recursion(steps, origin, threat, net, batch):
    images, labels = batch
    attack = PGD(threat, steps=steps, step_size=threat.eps / 3, random_start=origin == "random")
    caller_start = None
    start = images
    if origin == "random":
        start = threat.random_start(images, torch.arange(N), seed=5)
    if origin == "caller":
        caller_start = start = threat.project(images.flip(0), images)
    result = attack.run(net, images, labels, start=caller_start, seed=5)
    points = climb(threat, net, images, labels, start, steps, threat.eps / 3)
    torch.testing.assert_close(result.images, points[-1], rtol=0, atol=1e-12)
    assert torch.equal(result.broken, wrong_anywhere(net, points, labels))
    assert 0 < int(result.broken.sum()) < N
    assert threat.allows(result.images, images).all()


def test_fgsm_is_one_step_to_the_edge(threat, net, batch):
    images, labels = batch
    edge = climb(threat, net, images, labels, images, 1, threat.eps)[-1]
    torch.testing.assert_close(FGSM(threat)(net, images, labels), edge, rtol=0, atol=1e-12)
    one = PGD(threat, steps=1, step_size=threat.eps, random_start=False)
    assert torch.equal(FGSM(threat)(net, images, labels), one(net, images, labels))


def test_the_step_is_a_quarter_of_eps_by_default(threat, net, batch):
    default, quarter = PGD(threat, steps=3), PGD(threat, steps=3, step_size=threat.eps / 4)
    assert torch.equal(default(net, *batch, seed=1), quarter(net, *batch, seed=1))


def test_the_loss_rises(threat, net, batch):
    adversarial = PGD(threat, steps=10)(net, *batch)
    assert (losses(net, adversarial, batch[1]) > losses(net, *batch)).all()


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("verdict", [False, True])
@pytest.mark.parametrize("restarts", [1, 3])
def test_reported_passes_are_those_of_the_net(stop, verdict, restarts, threat, net, batch):
    counted = Counted(net)
    attack = PGD(threat, steps=4, restarts=restarts)
    result = attack.run(counted, *batch, options=RunOptions(stop_when_broken=stop, verdict=verdict))
    assert (result.forwards, result.backwards) == (counted.forwards, counted.backwards)


@pytest.mark.parametrize("restarts", [1, 2])
def test_an_attack_costs_its_steps_and_one_look(restarts, threat, net, batch):
    result = PGD(threat, steps=4, restarts=restarts).run(net, *batch)
    assert (result.forwards, result.backwards) == (restarts * 5 * N, restarts * 4 * N)


def test_no_verdict_saves_one_forward_a_sample_and_changes_no_image(threat, net, batch):
    attack = PGD(threat, steps=4)
    judged, unjudged = (attack.run(net, *batch, options=RunOptions(verdict=v), seed=2) for v in (True, False))
    assert (judged.forwards - unjudged.forwards, judged.backwards) == (N, unjudged.backwards)
    assert unjudged.broken is None
    assert torch.equal(judged.images, unjudged.images)
    assert torch.equal(attack(net, *batch, seed=2), judged.images)


@pytest.mark.parametrize("restarts", [1, 3])
def test_stopping_when_broken_changes_the_work_and_not_the_verdict(restarts, threat, net, batch):
    attack = PGD(threat, steps=4, restarts=restarts)
    whole = attack.run(net, *batch, seed=3)
    counted = Counted(net)
    short = attack.run(counted, *batch, seed=3, options=RunOptions(stop_when_broken=True))
    assert torch.equal(short.broken, whole.broken)
    assert 0 < int(whole.broken.sum()) < N
    assert counted.forwards == short.forwards < 4 * N * restarts
    assert counted.backwards == short.backwards < whole.backwards
    robust = ~whole.broken
    torch.testing.assert_close(short.images[robust], whole.images[robust], rtol=0, atol=1e-12)
    wrong = net(short.images).argmax(1) != batch[1]
    assert torch.equal(wrong, short.broken)  # a broken sample comes with the image that breaks it
    assert threat.allows(short.images, batch[0]).all()


def test_a_sample_broken_at_the_start_costs_one_pass(threat, net, batch):
    images, labels = batch
    attack = PGD(threat, steps=4, random_start=False)
    result = attack.run(net, images, (labels + 1) % 5, options=RunOptions(stop_when_broken=True))
    assert result.broken.all()
    assert result.forwards == N
    assert torch.equal(result.images, images)


def test_a_sample_does_not_depend_on_its_batch(threat, net, batch):
    images, labels = batch
    attack, ids = PGD(threat, steps=4, restarts=2), torch.arange(N) + 2**34
    whole = attack.run(net, images, labels, sample_ids=ids, seed=9)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for rows in order.split(7):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=9)
        torch.testing.assert_close(part.images, whole.images[rows], rtol=0, atol=1e-12)
        assert torch.equal(part.broken, whole.broken[rows])


def test_the_place_in_the_batch_is_the_id_by_default(threat, net, batch):
    attack = PGD(threat, steps=2)
    placed = attack.run(net, *batch, sample_ids=torch.arange(N), seed=4).images
    assert torch.equal(attack.run(net, *batch, seed=4).images, placed)
    elsewhere = attack.run(net, *batch, sample_ids=torch.arange(N) + 1, seed=4).images
    assert not torch.equal(elsewhere, placed)
    assert not torch.equal(attack(net, *batch, seed=5), placed)


def test_of_all_restarts_the_image_of_highest_loss_is_returned(threat, net, batch):
    images, labels = batch
    attack = PGD(threat, steps=2, restarts=4)
    ends = []
    for restart in range(4):
        start = threat.random_start(images, torch.arange(N), seed=6, restart=restart)
        ends.append(climb(threat, net, images, labels, start, 2, threat.eps / 4)[-1])
    by_restart = torch.stack([losses(net, end, labels) for end in ends])
    best = by_restart.argmax(0)
    assert len(best.unique()) == 4  # each restart wins somewhere
    expected = torch.stack(ends)[best, torch.arange(N)]
    torch.testing.assert_close(attack.run(net, images, labels, seed=6).images, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(attack(net, images, labels, seed=6), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stop", [False, True])
def test_more_restarts_never_break_less(stop, threat, net, batch):
    broken = [
        PGD(threat, steps=1, step_size=threat.eps / 8, restarts=r)
        .run(net, *batch, options=RunOptions(stop_when_broken=stop))
        .broken
        for r in range(1, 9)
    ]
    for fewer, more in itertools.pairwise(broken):
        assert (more | ~fewer).all()
    assert int(broken[-1].sum()) > int(broken[0].sum())


def test_a_start_replaces_the_first_restart_alone(threat, net, batch):
    images, labels = batch
    attack = PGD(threat, steps=1, step_size=threat.eps / 8, restarts=2)
    from_image = attack.run(net, images, labels, start=images, seed=1)
    second = threat.random_start(images, torch.arange(N), seed=1, restart=1)
    ends = [climb(threat, net, images, labels, s, 1, threat.eps / 8)[-1] for s in (images, second)]
    best = torch.stack([losses(net, end, labels) for end in ends]).argmax(0)
    assert 0 < int(best.sum()) < N
    expected = torch.stack(ends)[best, torch.arange(N)]
    torch.testing.assert_close(from_image.images, expected, rtol=0, atol=1e-12)


def valley(images: Tensor) -> Tensor:
    """Two logits; the first falls with the pixel, but is the lower one between 0.54 and 0.58 alone."""
    x = images.flatten(1)
    within = (x > 0.54) & (x < 0.58)
    return torch.cat([1 - x - 2 * within, torch.zeros_like(x)], 1)


@pytest.mark.parametrize("stop", [False, True])
def test_an_iterate_on_the_way_counts_as_broken(stop):
    """From 0.50 over 0.55, which is wrong, to 0.60 and 0.65, which are right."""
    images, labels = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    attack = PGD(ThreatModel("Linf", 0.2), steps=3, step_size=0.05, random_start=False)
    result = attack.run(valley, images, labels, options=RunOptions(stop_when_broken=stop))
    assert result.broken.all()
    assert float(result.images) == pytest.approx(0.55 if stop else 0.65)
    assert not attack.run(
        valley, images + 0.1, labels, options=RunOptions(stop_when_broken=stop)
    ).broken.any()


def test_the_last_iterate_counts_as_broken():
    images, labels = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    attack = PGD(ThreatModel("Linf", 0.2), steps=1, step_size=0.05, random_start=False)
    assert attack.run(valley, images, labels).broken.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"restarts": 0}, "restarts must be at least 1, got 0"),
        ({"step_size": 0.0}, r"step_size must be positive, got 0\.0"),
        ({"step_size": -0.1}, r"step_size must be positive, got -0\.1"),
        ({"step_size": float("nan")}, "step_size must be positive, got nan"),
        ({"step_size": float("inf")}, "step_size must be positive, got inf"),
        ({"restarts": 2, "random_start": False}, "several restarts need random_start=True"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        PGD(THREAT, **settings)


def test_settings_are_keyword_only():
    with pytest.raises(TypeError):
        PGD(THREAT, 10)
