"""Sanity checks: an honest network passes them all, and each fails for a network built to fail it."""

import math
import re

import pytest
import torch
from torch import Tensor, nn
from unchanged_net import unchanged

from robust_tickets import attacks
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.evaluation.sanity_checks import run_sanity_checks, sanity_passes
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport

THREAT = ThreatModel("Linf", 8 / 255)
CONFIG = EvaluationConfig(THREAT, batch=50)
DETERMINISTIC = "the network is deterministic"
NOISE = "random noise hardly hurts"
GRADIENT = "every sample has a gradient"
LARGER = "a larger eps breaks more"
NOTHING = "almost no sample is robust at eps 64/255"
STRONGER = "stronger attacks break more"
BLACK_BOX = "a black box is no stronger than a white box"
LUCKY = "a few more starts break few more"
ENOUGH = "there are enough images"
CHANCE = "the network is better than chance"
ALL = [DETERMINISTIC, NOISE, GRADIENT, LARGER, NOTHING, STRONGER, LUCKY, BLACK_BOX]


def failed(sanity: SanityReport) -> list[str]:
    return [check.name for check in sanity.checks if not check.passed]


def figure(sanity: SanityReport, name: str) -> str:
    return next(check.figure for check in sanity.checks if check.name == name)


@pytest.fixture
def net(colours):
    return colours()


@pytest.fixture
def split(net):
    return net.split()


def roughness(images: Tensor) -> Tensor:
    """The mean square of the steps from pixel to pixel, (N, 1)."""
    return (images[..., 1:] - images[..., :-1]).square().flatten(1).mean(1, keepdim=True)


def test_an_honest_network_passes_every_check_and_each_is_reported_as_it_ends(net, split):
    reported, passes = [], Passes()

    def advance(check, took):
        reported.append(check)
        passes.add(took)

    sanity = run_sanity_checks(net, split, CONFIG, advance)
    assert reported == ALL
    assert passes.total <= sanity.passes.total
    assert [check.name for check in sanity.checks] == ALL
    assert failed(sanity) == []
    assert sanity.warnings == []
    assert sanity.samples == 100
    assert sanity.passes.total < sanity_passes(1000) == sanity_passes(100)
    assert figure(sanity, NOISE).startswith("100.0 % right without, 100.0 % with")
    assert figure(sanity, GRADIENT) == "0 all-zero, 0 not finite, of 100"
    assert figure(sanity, NOTHING) == "0.0 % robust"


BIAS = torch.tensor([0.0, 0.0, 1.0, 0.0])
NETWORKS = {
    "rounds its images": (lambda net: lambda x: net((x * 64).round() / 64), [GRADIENT, NOTHING, BLACK_BOX]),
    "is too sure": (lambda net: lambda x: 1e5 * net(x), [GRADIENT, NOTHING, BLACK_BOX]),
    # gradients that are finite and point anywhere
    "shatters gradients": (lambda net: lambda x: net(x + 0.01 * torch.sin(1e4 * x)), [NOTHING, BLACK_BOX]),
    "draws numbers": (lambda net: lambda x: net(x) + 1e-2 * torch.randn(len(x), 4), [DETERMINISTIC]),
    # as BatchNorm without running statistics, which takes those of the batch in eval mode too
    "looks at the whole batch": (
        lambda net: lambda x: net((x - x.mean(0) + 0.3).clamp(0, 1)),
        [DETERMINISTIC],
    ),
    "rounds its logits": (lambda net: lambda x: net(x) * (1 + 1e-6 * torch.rand(())), []),
    "excludes a class": (
        lambda net: lambda x: torch.cat([net(x), torch.full((len(x), 1), -math.inf)], 1),
        [],
    ),
    "is nearly constant": (lambda net: lambda x: BIAS + 1e-3 * x.flatten(1)[:, :4], [CHANCE, NOTHING]),
    "is broken by noise": (lambda net: lambda x: net(x) * (1 - 1e4 * roughness(x)), [NOISE]),
}


@pytest.mark.parametrize(("change", "names"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_fails_the_checks_of_its_fault(change, names, net, split):
    torch.manual_seed(0)
    assert failed(run_sanity_checks(change(net), split, CONFIG)) == names


def test_a_loss_surface_of_two_slopes_shows_in_restarts(net, split):
    """One pixel leads to another class on one side alone, and PGD climbs the side where its start lies."""
    split.images[:, 0, 0, 0] = 128

    def two_slopes(images: Tensor) -> Tensor:
        levels = 255 * images[:, 0, 0, 0] - 128
        right = net(images).argmax(1)
        climbed = levels.relu() + 0.4 * (-levels).relu() - 0.5
        wrong = nn.functional.one_hot((right + 1) % 4, 4)
        return wrong * climbed[:, None] - 10.0 * (1 - wrong - nn.functional.one_hot(right, 4))

    sanity = run_sanity_checks(two_slopes, split, EvaluationConfig(ThreatModel("Linf", 1 / 255), batch=50))
    assert LUCKY in failed(sanity)
    assert figure(sanity, LUCKY).startswith("PGD-20 5")  # every second start


def test_few_images_are_named(net):
    sanity = run_sanity_checks(net, net.split(19), CONFIG)
    assert failed(sanity) == [ENOUGH]
    assert figure(sanity, ENOUGH) == "19 of them"
    assert failed(run_sanity_checks(net, net.split(20), CONFIG)) == []


def test_a_small_trained_net_passes_every_check(split):
    """Not linear, and with the margins that training on noisy images gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.Tanh(), nn.Linear(12, 4))
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(80):
            images = split.images / 255 + (torch.rand(split.images.shape) - 0.5) / 6
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images), split.labels).backward()
            optimiser.step()
    assert failed(run_sanity_checks(net, split, CONFIG)) == []


def test_a_network_whose_gradient_is_right_on_the_images_alone_is_weaker_under_fgsm_than_under_pgd(
    net, split
):
    turn = 2 * math.pi * 255  # at whole levels the gradient is right, in between it points anywhere
    config = EvaluationConfig(ThreatModel("Linf", 0.03))  # no step ends on a level
    sanity = run_sanity_checks(lambda x: net(x + 30 / turn * torch.sin(turn * x)), split, config)
    assert failed(sanity) == [STRONGER, BLACK_BOX]


def test_a_network_that_hides_its_gradient_from_larger_steps_is_named(net):
    """Its gradient ends where images are rough, as they are at the random start of a larger ball."""

    def blinded(images: Tensor) -> Tensor:
        rough = roughness(images) > 3 * (4 / 255) ** 2 / 3
        return net(torch.where(rough[:, :, None, None], images.detach(), images))

    split = net.split(least=2, most=4)
    sanity = run_sanity_checks(blinded, split, CONFIG)
    assert failed(sanity) == [LARGER, NOTHING, STRONGER, BLACK_BOX]


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.zeros_like(z).requires_grad_()])
def test_a_network_without_gradients_is_named_and_not_attacked(cut, counted, net, split):
    watched = counted(net)
    sanity = run_sanity_checks(lambda x: cut(watched(x)), split, CONFIG)
    names = [check.name for check in sanity.checks if check.name != CHANCE]
    assert names == [DETERMINISTIC, NOISE, GRADIENT]
    assert failed(sanity)[-1] == GRADIENT
    assert figure(sanity, GRADIENT) == "the network gives none"
    assert sanity.passes.forward == watched.forwards


def test_gradients_that_are_zero_or_not_finite_are_counted(net, split):
    split.images[:7, :, 0, 0] = 0  # black, where the root's slope has no end

    def rooted(images: Tensor) -> Tensor:
        root = images[:, :1, 0, 0].sqrt()
        return net(images) + 1e-3 * torch.cat([root, 0 * root, 0 * root, 0 * root], 1)

    sanity = run_sanity_checks(rooted, split, CONFIG)
    assert failed(sanity) == [GRADIENT]
    assert figure(sanity, GRADIENT) == "0 all-zero, 7 not finite, of 100"
    constant = run_sanity_checks(lambda x: BIAS + 0 * x.flatten(1)[:, :4], split, CONFIG)
    assert failed(constant) == [CHANCE, GRADIENT, NOTHING]
    assert figure(constant, GRADIENT) == "100 all-zero, 0 not finite, of 100"


def test_a_network_that_gives_nan_is_refused(net, split):
    with pytest.raises(attacks.InputError, match="NaN logits"):
        run_sanity_checks(lambda x: net(x) * float("nan"), split, CONFIG)


@pytest.mark.parametrize("batch", [1, 30, 250])
def test_passes_are_those_of_the_network(batch, counted, net):
    watched = counted(net)
    sanity = run_sanity_checks(watched, net.split(20), EvaluationConfig(THREAT, batch=batch))
    assert sanity.passes == Passes(*watched.passes)
    assert max(watched.sizes) <= batch


def test_a_network_is_left_as_it_was_and_checked_in_eval_mode(colours, split):
    net = nn.Sequential(colours(), nn.Dropout(0.9), nn.BatchNorm1d(4, affine=False)).train()
    with unchanged(net):
        assert failed(run_sanity_checks(net, split, CONFIG)) == []


def test_at_most_a_hundred_samples_are_checked(net):
    many, first = net.split(130), net.split(130).take(torch.arange(100))
    assert run_sanity_checks(net, many, CONFIG) == run_sanity_checks(net, first, CONFIG)


@pytest.mark.parametrize("n", [1, 3, 60])
@pytest.mark.parametrize(
    ("threat", "channels", "eps"),
    [
        (THREAT, 3, "64/255"),
        (THREAT, 1, "0.5"),
        (ThreatModel("Linf", 0.3), 3, "0.6"),
        (ThreatModel("L2", 0.5), 3, "4"),
        (ThreatModel("L2", 0.5), 1, "4"),
    ],
)
def test_an_honest_network_passes_on_few_samples_in_grey_and_in_both_balls(threat, channels, eps, n, colours):
    net = colours(channels)
    sanity = run_sanity_checks(net, net.split(n), EvaluationConfig(threat, batch=8, channels_last=True))
    assert failed(sanity) == ([] if n == 60 else [ENOUGH])
    assert sanity.samples == n
    assert f"almost no sample is robust at eps {eps}" in [check.name for check in sanity.checks]


def test_a_network_that_is_wrong_everywhere_is_checked_without_a_crash(net, split):
    sanity = run_sanity_checks(lambda x: net(x).roll(1, dims=1), split, CONFIG)
    assert figure(sanity, NOISE).startswith("0.0 % right without")
    assert [check.name for check in sanity.checks] == [*ALL[:2], CHANCE, *ALL[2:]]
    assert figure(sanity, CHANCE).startswith("0.0 % right of 4 classes")


def test_no_attack_is_blamed_for_a_network_at_chance(net, split):
    """It gives one class whatever the image shows, so that no attack breaks what it guesses right."""
    sanity = run_sanity_checks(lambda x: BIAS + 1e-3 * x.flatten(1)[:, :4], split, CONFIG)
    assert failed(sanity) == [CHANCE, NOTHING]
    assert re.match(r"2\d\.0 % right of 4 classes, 100 of 100 images in one class", figure(sanity, CHANCE))
    chance, nothing = sanity.warnings
    assert chance.endswith("train it first, or look for weights that were not loaded")
    assert nothing.endswith("robust; the network is at chance, which is no fault of the attack")
    # a split of one class alone is not guessed
    of_one = split.take((split.labels == 0).nonzero()[:, 0])
    assert CHANCE not in failed(run_sanity_checks(net, of_one, CONFIG))


def test_every_check_has_words_for_its_contrary():
    for name in (*ALL, ENOUGH, CHANCE):
        assert SanityCheck(name, "", False, "").finding != name
