"""Training methods in a loop of the user's own: what the loop of ours would have done, step by step."""

from dataclasses import replace

import pytest
import torch
from method_case import EPS, SHAPE, SmallNet, batch_of, method_of

import robust_tickets as rt
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import fold
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.training.methods.base import Networks, Step

THREAT = ThreatModel("Linf", EPS)
NAMES = [name for name in METHODS if name != "pgi"]
STEPS = 4


def batches():
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.rand(6, *SHAPE, dtype=torch.float64, generator=generator), torch.arange(6) % 5)
        for _ in range(STEPS)
    ]


def alone(name: str, **settings):
    return getattr(rt.methods, method_class(name).__name__)(THREAT, **settings)


def small_net():
    net = SmallNet()
    net.dropout.p = 0.0
    return net


def optimiser_of(net):
    return torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_of_one_s_own_takes_the_steps_of_the_method(name):
    expected, net = small_net(), small_net()
    method, optimiser = method_of(name), optimiser_of(expected)
    nets = Networks(expected, fold(expected), net=expected)
    for number, (images, labels) in enumerate(batches()):
        batch = replace(batch_of(), images=images, labels=labels, seed=5, step=Step(number, STEPS, 5))
        batch = replace(batch, ids=torch.arange(6) + 6 * number)
        optimiser.zero_grad()
        method.loss(nets, batch, method.perturb(nets, batch)).backward()
        method.after_backward(nets, batch)
        optimiser.step()

    own, optimiser = alone(name, total_steps=STEPS, seed=5), optimiser_of(net)
    for images, labels in batches():
        optimiser.zero_grad()
        own.loss(net, images, labels).backward()
        optimiser.step()
    for (place, value), (_, other) in zip(
        expected.state_dict().items(), net.state_dict().items(), strict=True
    ):
        assert torch.equal(value, other), place
    memory, other = method.state_dict(), own.state_dict()["method"]
    assert memory.keys() == other.keys()
    assert all(torch.equal(memory[key], other[key]) for key in memory)


@pytest.mark.parametrize("name", ["sora", "free", "bullet"])
def test_a_loss_that_is_scaled_changes_nothing_that_is_remembered(name):
    states = []
    for scale in (1.0, 1024.0):
        net, own = small_net(), alone(name, seed=5)
        for images, labels in batches():
            (own.loss(net, images, labels) * scale).backward()
        states.append(own.state_dict()["method"])
    assert states[0]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["nfgsm", "sora", "liet"])
def test_a_state_goes_on_with_the_same_bits(name):
    whole, parts = ([], [])
    own = alone(name, total_steps=STEPS, seed=5)
    for images, labels in batches():
        whole.append(own.loss(small_net(), images, labels))
        whole[-1].backward()
    first, second = (alone(name, total_steps=STEPS, seed=seed) for seed in (5, 6))
    for place, (images, labels) in enumerate(batches()):
        if place == 2:
            second.load_state_dict(first.state_dict())
            first = second
        parts.append(first.loss(small_net(), images, labels))
        parts[-1].backward()
    assert [loss.item() for loss in whole] == [loss.item() for loss in parts]


def test_without_a_seed_the_noise_is_drawn_afresh_and_differs_from_step_to_step():
    net = small_net().eval()
    (images, labels), *_ = batches()
    torch.manual_seed(0)
    losses = [own.loss(net, images, labels).item() for own in (alone("nfgsm"), alone("nfgsm"))]
    again = alone("nfgsm")
    losses += [again.loss(net, images, labels).item() for _ in range(2)]
    assert len(set(losses)) == 4


def test_a_loss_that_nothing_goes_backward_from_is_no_step_of_the_memory():
    net, own = small_net(), alone("sora", seed=5)
    (images, labels), *_ = batches()
    with torch.no_grad():
        own.loss(net, images, labels)
    before = own.state_dict()["method"]["alignment"]
    assert float(before) == pytest.approx(0.99)


def test_a_loop_learns(tiny_data):
    """Half a minute's work of a user: digits under TRADES, better than three times chance under PGD."""
    images, labels = tiny_data.train.images.float() / 255, tiny_data.train.labels
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    own, optimiser = alone("trades", steps=3), torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        own.loss(net, images, labels).backward()
        optimiser.step()
    val, truth = tiny_data.val.images.float() / 255, tiny_data.val.labels
    adversarial = rt.attacks.PGD(THREAT, steps=10)(net, val, truth, seed=0)
    assert (net(adversarial).argmax(1) == truth).float().mean() > 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alone("pgi"), "remembers each training image"),
        (lambda: alone("trades", beta=-1.0), r"trades\.beta must be"),
        (lambda: alone("trades", bta=6.0), r"unknown field 'trades\.bta'"),
        (lambda: rt.methods.NFGSM(ThreatModel("L2", 1.0)), "nfgsm is defined for Linf"),
        (lambda: alone("liet").loss(small_net(), *batches()[0]), "give its length in steps as total_steps"),
        (
            lambda: alone("pgd").loss(small_net(), batches()[0][0] * 255, batches()[0][1]),
            r"images lie in .*, expected \[0, 1\]",
        ),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_names_are_those_of_the_classes():
    assert {"PGD", "TRADES", "LIET", "NFGSM", "FGSMRS"} <= set(dir(rt.methods))
    with pytest.raises(AttributeError, match="choose from Natural, FGSM"):
        rt.methods.Pgd  # noqa: B018
