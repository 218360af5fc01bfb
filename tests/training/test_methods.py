"""The training methods against plain implementations of their papers' equations, in float64."""

import re
from dataclasses import replace

import pytest
import torch
from method_case import EPS, Counter, SmallNet, batch_of, data_of, gradient_of, method_of, rows_of
from torch.nn import functional as F

from robust_tickets.attacks.noise import uniform
from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import fold
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.methods.nfgsm import NFGSMSettings
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.methods.trades import TRADESSettings

NORMS = ("Linf", "L2")
SINGLE_STEP = {"fgsm", "fgsm_rs", "nfgsm", "sora", "pgi", "liet", "nuat"}


@pytest.fixture
def net():
    """A network whose BatchNorm statistics are not the initial ones."""
    net = SmallNet()
    with torch.no_grad():
        net(torch.rand(50, 2, 6, 6, dtype=torch.float64))
    return net


def kl(clean, adversarial):
    """KL(p || q) of each sample's softmax, written out."""
    p = clean.exp() / clean.exp().sum(1, keepdim=True)
    q = adversarial.exp() / adversarial.exp().sum(1, keepdim=True)
    return (p * (p.log() - q.log())).sum(1)


def test_trades_loss_is_clean_cross_entropy_and_beta_times_the_divergence(net):
    net.dropout.p = 0.0
    batch = batch_of()
    adversarial = (batch.images + 0.05).clamp(0, 1)
    loss = method_of("trades", beta=2.5).loss(Networks(net.train(), fold(net)), batch, adversarial)
    clean, other = net.train()(batch.images), net.train()(adversarial)
    right = clean.gather(1, batch.labels[:, None])[:, 0]
    expected = (clean.exp().sum(1).log() - right).mean() + 2.5 * kl(clean, other).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    ours = torch.autograd.grad(loss, list(net.parameters()))
    theirs = torch.autograd.grad(expected, list(net.parameters()))
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
def test_trades_climbs_the_divergence_from_a_small_gaussian(norm, net):
    """Steps by hand, on the network in eval mode: Zhang et al. 2019, algorithm 1."""
    batch = batch_of(norm=norm)
    images = method_of("trades", steps=3, rel_step=0.5).perturb(Networks(net, fold(net)), batch)
    clean = net.eval()(batch.images).detach()
    numbers = uniform((2, 6, 6), batch.ids, seed=batch.seed)
    x = batch.images + 0.001 * torch.special.ndtri(numbers + 2.0**-33)
    for _ in range(3):
        g = gradient_of(net, x, lambda logits: kl(clean, logits).sum())
        if norm == "Linf":
            x = torch.clamp(x + 0.5 * EPS * g.sign(), batch.images - EPS, batch.images + EPS)
        else:
            x = x + 0.5 * EPS * g / g.flatten(1).norm(dim=1)[:, None, None, None]
            shift = x - batch.images
            x = batch.images + shift * (EPS / shift.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None, None]
        x = x.clamp(0, 1)
    torch.testing.assert_close(images, x, rtol=0, atol=1e-9)
    assert bool(batch.threat.allows(images, batch.images).all())


@pytest.mark.parametrize(("k", "alpha"), [(2.0, 1.0), (1.0, 1.25), (0.0, 1.0)])
def test_nfgsm_steps_from_noise_and_is_clipped_to_the_box_alone(k, alpha, net):
    """de Jorge et al. 2022, algorithm 1; without noise it is FGSM."""
    batch = batch_of()
    images = method_of("nfgsm", k=k, alpha=alpha).perturb(Networks(net, fold(net)), batch)
    noise = (2 * uniform((2, 6, 6), batch.ids, seed=batch.seed) - 1) * k * EPS
    noisy = (batch.images + noise).clamp(0, 1)
    g = gradient_of(net, noisy, lambda logits: F.cross_entropy(logits, batch.labels, reduction="sum"))
    torch.testing.assert_close(images, (noisy + alpha * EPS * g.sign()).clamp(0, 1), rtol=0, atol=1e-12)
    furthest = float((images - batch.images).abs().max())
    if k == 0:
        assert torch.equal(images, method_of("fgsm").perturb(Networks(net, fold(net)), batch))
    else:
        assert EPS < furthest <= (k + alpha) * EPS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_charged_what_its_networks_count(name, net):
    method, batch = method_of(name), batch_of(7)
    method.prepare(data_of(batch))
    update, attack = Counter(net.train()), Counter(fold(net))
    nets = Networks(update, fold(net), attack)
    adversarial = method.perturb(nets, batch)
    assert update.samples == [0, 0]
    cost, most = method.passes_taken(7, batch.step), method.passes(7, batch.step)
    assert cost.whole.cost <= most.whole.cost
    assert cost == most or method.costs_at_most
    method.loss(nets, batch, adversarial).backward()
    assert attack.samples == [cost.attack.forward, cost.attack.input_backward]
    assert update.samples == [cost.update.forward, cost.update.full_backward + cost.update.input_backward]
    assert cost.attack.full_backward == 0
    assert cost.whole.total == cost.attack.total + cost.update.total


@pytest.mark.parametrize("name", METHODS)
def test_the_images_of_a_sample_do_not_depend_on_its_batch(name, net):
    """Its random numbers belong to its id and the seed; and the network is left as it was."""
    method, batch = method_of(name), batch_of()
    method.prepare(data_of(batch))
    before = {key: value.clone() for key, value in net.train().state_dict().items()}
    generator = torch.get_rng_state()
    whole = method.perturb(Networks(net, fold(net)), batch)
    order = torch.tensor([4, 1])
    part = rows_of(batch, order)
    torch.testing.assert_close(
        method.perturb(Networks(net, fold(net)), part), whole[order], rtol=0, atol=1e-12
    )
    assert torch.equal(torch.get_rng_state(), generator)
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    if name in ("pgd", "trades", "nfgsm"):
        method = method_of(name, **({} if name == "nfgsm" else {"steps": 1}))  # more steps end at a corner
        whole, other = (
            method.perturb(Networks(net, fold(net)), replace(batch, seed=seed)) for seed in (3, 4)
        )
        assert not torch.equal(other, whole)


def test_methods_whose_attack_takes_a_single_step_are_known():
    methods = {name: method_of(name) for name in METHODS}
    methods |= {f"{name}-1": method_of(name, steps=1) for name in ("pgd", "trades")}
    assert {name for name in methods if methods[name].single_step} == SINGLE_STEP | {"pgd-1", "trades-1"}
    assert {name for name in methods if not methods[name].attacks} == {"natural"}


@pytest.mark.parametrize("stage", ["search", "train"])
def test_nfgsm_is_refused_for_l2(stage):
    table = {stage: {"method": "nfgsm"}, "threat": {"norm": "L2", "eps": "0.5"}}
    with pytest.raises(InputError, match=rf"{stage}.method nfgsm is defined for threat.norm Linf, got L2"):
        recipes.from_table(table)
    recipes.from_table({**table, stage: {"method": "trades"}})


def test_the_defaults_are_those_of_the_papers():
    assert TRADESSettings() == TRADESSettings(steps=10, rel_step=0.25, beta=6.0)
    assert NFGSMSettings() == NFGSMSettings(k=2.0, alpha=1.0)
    assert PGDSettings() == PGDSettings(steps=10, rel_step=0.25, random_start=True)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_names_its_equation_and_its_paper(name):
    text = method_class(name).__doc__
    assert "min_w" in text or "x' =" in text
    assert name == "natural" or re.search(r" et al\. 20\d\d|arXiv \d{4}", text)
