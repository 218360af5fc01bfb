"""Adversarial weight perturbation: the paper's step in float64, and what it leaves as it was."""

import copy
from dataclasses import replace

import pytest
import torch
from method_case import SHAPE, Counter, SmallNet, batch_of, data_of, wrapped
from training_case import half_mask, same_state, train

from robust_tickets.models.fold import fold
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.methods.base import Networks, Step
from robust_tickets.training.wrappers.awp import AWPSettings

GAMMA = 0.05
WEIGHTS = ("conv.weight", "head.weight")


@pytest.fixture
def net():
    """A network with a mask, whose BatchNorm statistics are not the initial ones."""
    net = SmallNet()
    with torch.no_grad():
        net(torch.rand(50, *SHAPE, dtype=torch.float64))
    return net.train()


@pytest.fixture
def masking(net):
    masking = masking_for(net, half_mask(net), SHAPE)
    masking.mask_parameters()
    return masking


def take_step(method, nets, batch):
    """The gradients of one step, as the loop takes it."""
    adversarial = method.perturb(nets, batch)
    nets.net.zero_grad()
    torch.manual_seed(7)  # dropout
    method.loss(nets, batch, adversarial).backward()
    method.after_backward(nets, batch)
    return {name: p.grad for name, p in nets.net.named_parameters()}


@pytest.mark.parametrize("name", ["fgsm", "trades"])
def test_the_step_is_the_papers(name, net, masking):
    """Wu et al. 2020, equations 8 and 10, with copies of the network."""
    batch, plain = batch_of(), wrapped(name)
    before = copy.deepcopy(net)
    ours = take_step(
        wrapped(name, awp=AWPSettings(GAMMA)), Networks(net, fold(net), None, net, masking), batch
    )

    proxy, moved = copy.deepcopy(before), copy.deepcopy(before)
    adversarial = plain.perturb(Networks(before, fold(before)), batch)
    torch.manual_seed(7)
    plain.loss(Networks(proxy, fold(proxy)), batch, adversarial).backward()
    proxies, weights = dict(proxy.named_parameters()), dict(moved.named_parameters())
    with torch.no_grad():
        for weight in WEIGHTS:
            w, g = weights[weight], proxies[weight].grad
            g = g * (w != 0)
            w += GAMMA * w.square().sum().sqrt() * g / g.square().sum().sqrt()
    torch.manual_seed(7)
    plain.loss(Networks(moved, fold(moved)), batch, adversarial).backward()
    for weight, gradient in ours.items():
        torch.testing.assert_close(gradient, weights[weight].grad, rtol=1e-9, atol=1e-12, msg=weight)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before.parameters(), strict=True))
    for buffer, expected in zip(net.buffers(), moved.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-9, atol=0)
    still = take_step(plain, Networks(before, fold(before), None, before), batch)
    assert not torch.allclose(still["conv.weight"], ours["conv.weight"])


@pytest.mark.parametrize("name", METHODS)
def test_over_any_method_it_costs_the_update_twice_and_leaves_weights_and_statistics(name, net, masking):
    method, batch = wrapped(name, awp=AWPSettings(GAMMA)), batch_of(7)
    method.prepare(data_of(batch))
    pruned = net.conv.weight == 0
    sizes = []

    def look(module, images):
        assert torch.equal(net.conv.weight == 0, pruned)
        sizes.append(float(net.conv.weight.norm().detach()))

    before, folded, update, attack = copy.deepcopy(net), fold(net), Counter(net), Counter(fold(net))
    net.register_forward_pre_hook(look)
    observe, restored = method.inner.after_backward, []

    def after_backward(nets, batch):
        restored.append(torch.equal(net.conv.weight, before.conv.weight))
        observe(nets, batch)

    method.inner.after_backward = after_backward
    take_step(method, Networks(update, folded, attack, net, masking), batch)
    assert restored == [True]
    cost, own = (one.passes_taken(7, batch.step) for one in (method, method.inner))
    assert method.passes(7, batch.step).update == cost.update
    assert attack.samples == [own.attack.forward, own.attack.input_backward]
    assert update.samples == [cost.update.forward, cost.update.full_backward + cost.update.input_backward]
    assert (cost.attack, cost.update.cost) == (own.attack, 2 * own.update.cost)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before.parameters(), strict=True))
    passes = own.update.forward // 7
    assert int(net.norm.num_batches_tracked - before.norm.num_batches_tracked) == passes
    assert len(sizes) == 2 * passes
    assert sizes[passes - 1] != pytest.approx(sizes[passes], rel=1e-6)


def test_it_begins_after_the_warm_up_and_is_charged_from_then_on(net, masking):
    settings = AWPSettings(GAMMA, warmup=0.3)
    for number, begun in ((11, False), (12, True)):  # 0.3 * 40 is 12, and no step later by rounding
        batch = replace(batch_of(), step=Step(number, 40, classes=5))
        nets = [copy.deepcopy(net) for _ in range(2)]
        steps = [
            take_step(method, Networks(own, fold(own), None, own), batch)
            for own, method in zip(nets, (wrapped("fgsm", awp=settings), wrapped("fgsm")), strict=True)
        ]
        assert same_state(*steps) is not begun
        assert wrapped("fgsm", awp=settings).passes(1, batch.step).whole.cost == (8 if begun else 5)


def test_a_frozen_batchnorm_keeps_its_statistics_and_a_frozen_layer_its_weights(net):
    net.norm.eval()
    net.head.weight.requires_grad_(False)
    before = copy.deepcopy(net)
    seen = []
    net.register_forward_pre_hook(lambda *_: seen.append(net.head.weight.clone()))
    take_step(wrapped("natural", awp=AWPSettings(GAMMA)), Networks(net, fold(net), None, net), batch_of())
    assert same_state(net.state_dict(), before.state_dict())
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_a_training_keeps_pruned_weights_at_zero_and_is_counted(conv_net, tiny_data, config):
    settings = replace(config.settings, method="natural", awp=AWPSettings(GAMMA, warmup=0.5))
    mask = half_mask(conv_net)
    result, ledger = train(conv_net, mask, tiny_data, replace(config, settings=settings, steps=4))
    assert all(not bool(result.last[name][~entries].any()) for name, entries in mask.items())
    assert ledger.passes["update"].cost == 3 * 32 * (2 + 2 * 2)
