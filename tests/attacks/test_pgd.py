"""PGD: its restarts, and its verdicts; the climb itself is held against others' in tests/oracles."""

import pytest
import torch
from small_nets import THREATS, N
from torch import Tensor
from torch.nn import functional as F

from robust_tickets.attacks import PGD, RunOptions, ThreatModel


@pytest.mark.parametrize("from_image", [False, True])
def test_of_all_restarts_the_image_of_highest_loss_is_returned(from_image, threat, net, batch):
    """By default each step goes a quarter of eps; a start replaces that of the first restart alone."""
    images, labels = batch
    starts = [threat.random_start(images, torch.arange(N), seed=6, restart=restart) for restart in range(4)]
    starts[0] = images if from_image else starts[0]
    one = PGD(threat, steps=2, step_size=threat.eps / 4)
    ends = torch.stack([one.run(net, images, labels, start=start).images for start in starts])
    with torch.no_grad():
        best = torch.stack([F.cross_entropy(net(end), labels, reduction="none") for end in ends]).argmax(0)
    assert len(best.unique()) == 4  # each restart wins somewhere
    attack, start = PGD(threat, steps=2, restarts=4), images if from_image else None
    result = attack.run(net, images, labels, start=start, seed=6)
    torch.testing.assert_close(result.images, ends[best, torch.arange(N)], rtol=0, atol=1e-12)


def valley(images: Tensor) -> Tensor:
    """Two logits; the first falls with the pixel, but is the lower one between 0.54 and 0.58 alone."""
    x = images.flatten(1)
    within = (x > 0.54) & (x < 0.58)
    return torch.cat([1 - x - 2 * within, torch.zeros_like(x)], 1)


@pytest.mark.parametrize("stop", [False, True])
def test_an_iterate_on_the_way_and_the_last_one_count_as_broken(stop):
    """From 0.50 over 0.55, which is wrong, to 0.60 and 0.65, which are right."""
    images, labels = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    attacks = [
        PGD(ThreatModel("Linf", 0.2), steps=steps, step_size=0.05, random_start=False) for steps in (1, 3)
    ]
    last, way = (
        attack.run(valley, images, labels, options=RunOptions(stop_when_broken=stop)) for attack in attacks
    )
    assert last.broken.all()
    assert way.broken.all()
    assert float(way.images) == pytest.approx(0.55 if stop else 0.65)
    assert (
        not attacks[1]
        .run(valley, images + 0.1, labels, options=RunOptions(stop_when_broken=stop))
        .broken.any()
    )


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_gradient_that_is_zero_or_no_number_moves_nothing(slope, norm):
    gray, labels = torch.full((3, 3, 4, 4), 0.5), torch.ones(3, dtype=torch.int64)
    slopes = torch.randn(gray.shape, generator=torch.Generator().manual_seed(3))
    slopes[1] = slope

    def net(x: Tensor) -> Tensor:  # for label 1 the gradient of the loss points along the slope
        return torch.stack([(x * slopes).flatten(1).sum(1), torch.zeros(len(x), dtype=x.dtype)], 1)

    attack = PGD(ThreatModel(norm, 0.5), steps=3, random_start=False)
    adversarial = attack.run(net, gray, labels, options=RunOptions(check=False)).images  # allows NaN logits
    assert [bool((a == 0.5).all()) for a in adversarial] == [False, True, False]
    assert adversarial.isfinite().all()


def test_settings_are_keyword_only():
    with pytest.raises(TypeError):
        PGD(THREATS["Linf"], 10)
