"""The training loop against plain PyTorch, and what a mask does to it."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from training_case import half_mask, noise_data, same_state, train

from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.base.ledger import Passes
from robust_tickets.base.progress import StageProgress
from robust_tickets.data.batches import batches
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import fold, registry
from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import dead_filter_masks
from robust_tickets.recipe.checks import NETS, WITH_DROPOUT
from robust_tickets.recipe.fields import Compute, Evaluate, Model
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.training_fields import Training
from robust_tickets.stages.specs import model_spec
from robust_tickets.training import epochs as ends
from robust_tickets.training import loop
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.schedules import learning_rate


class Doubled(nn.Module):
    """A network in float64: batches are float32, and laws on rounding are stated in float64."""

    def __init__(self, net):
        super().__init__()
        self.net = net.double()

    def forward(self, x):
        return self.net(x.double())


@pytest.fixture
def make_net(tiny_recipe):
    spec = model_spec(replace(tiny_recipe, model=Model("resnet20", width=0.5)), SPECS["digits"])
    return lambda: registry.build(spec, seed=0)


@pytest.fixture(params=["sgd", "adam"])
def optimised(request, config):
    """PGD by SGD, or natural training by Adam with a rate that changes with every step."""
    adam = {
        "method": "natural",
        "optimiser": "adam",
        "lr": 0.01,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "warmup": 0.25,
        "warmup_lr": 0.001,
    }
    settings = replace(config.settings, **(adam if request.param == "adam" else {}))
    assert settings.momentum > 0
    assert settings.weight_decay > 0
    return replace(config, settings=settings, compute=replace(config.compute, channels_last=False))


def optimiser_by_hand(net, settings):
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            net.parameters(), lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    return torch.optim.Adam(net.parameters(), lr=1.0, betas=(0.8, 0.999), weight_decay=0.1)


def test_training_is_plain_pytorch(make_net, tiny_data, optimised):
    """The same steps by hand, without folding, give the same weights to rounding."""
    ours, by_hand = Doubled(make_net()), Doubled(make_net())
    train(ours, None, tiny_data, optimised)
    settings, threat = optimised.settings, optimised.threat
    optimiser, step = optimiser_by_hand(by_hand, settings), 0
    attack = PGD(threat, steps=2, step_size=0.5 * threat.eps)
    for epoch in (1, 2):
        stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=False)
        for images, labels, ids, *_ in stream:
            if settings.method == "pgd":
                images = attack.run(by_hand, images, labels, sample_ids=ids, seed=epoch).images
            by_hand.train()
            optimiser.param_groups[0]["lr"] = learning_rate(settings, step, 8)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(images), labels).backward()
            optimiser.step()
            step += 1
    assert step == 8
    for name, value in copy_state(by_hand).items():
        torch.testing.assert_close(copy_state(ours)[name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_no_pruned_weight_is_in_the_network_or_in_a_moment_after_any_step(
    make_net, tiny_data, optimised, monkeypatch
):
    """Nor is what a filter that died whole would send on: its BatchNorm's weight and bias."""
    net = make_net()
    nn.init.constant_(net.layer1[0].bn1.bias, 0.7)
    entries = {name: keep.clone() for name, keep in half_mask(net).items()}
    entries["layer1.0.conv1.weight"][3] = False
    mask, parameters = Mask(entries), dict(net.named_parameters())
    dead = dead_filter_masks(mask, foldable_batchnorms(net), parameters)
    assert bool(dead["layer1.0.bn1.bias"][2])
    assert not bool(dead["layer1.0.bn1.bias"][3])
    gone = {name: ~keep for name, keep in (dict(mask) | dead).items()}
    optimisers = []
    real = loop.make_optimiser
    monkeypatch.setattr(loop, "make_optimiser", lambda *a: optimisers.append(real(*a)) or optimisers[-1])

    class Watch(StageProgress):
        steps = 0

        def advance(self, steps, passes):
            Watch.steps += 1
            for name, pruned in gone.items():
                state = optimisers[0].state[parameters[name]]
                moments = [moment for moment in state.values() if moment.shape == pruned.shape]
                assert len(moments) == len(optimisers[0].param_groups[0].get("betas", (0,)))
                for tensor in (parameters[name], *moments):
                    assert torch.all(tensor[pruned] == 0.0), name
                    assert torch.any(tensor[~pruned] != 0.0), name

    train(net, mask, tiny_data, optimised, Watch())
    assert Watch.steps == 8


def test_same_seed_same_bits_and_another_seed_differs(make_net, tiny_data, config):
    first, second, other = (
        train(make_net(), None, tiny_data, replace(config, seed=seed))[0] for seed in (0, 0, 1)
    )
    assert same_state(first.last, second.last)
    assert not same_state(first.last, other.last)


PASSES = {
    "natural": ((0, 0), (1, 0, 1)),
    "fgsm": ((1, 1), (1, 0, 1)),
    "pgd": ((2, 2), (1, 0, 1)),
    "trades": ((11, 10), (2, 0, 2)),  # it asks for the clean logits too
    "mart": ((10, 10), (2, 0, 2)),
    "fgsm_rs": ((1, 1), (1, 0, 1)),
    "nfgsm": ((1, 1), (1, 0, 1)),
    "sora": ((1, 1), (1, 0, 1)),
    "pgi": ((0, 0), (2, 1, 2)),
    "liet": ((0, 0), (2, 1, 2)),
    "nuat": ((1.5, 1), (2, 0, 2)),  # clean logits in every second step
    "free": ((0, 0), (1, 0, 1)),
}
"""Passes a sample: forward and backward to the image in the attack; those and full backward in the update.

Those of bullet depend on the images: the hooks alone know how many there were."""


@pytest.mark.parametrize("method", METHODS)
def test_ledger_counts_what_hooks_count(method, make_net, tiny_data, config, monkeypatch):
    """Passes at the callable that ran (for attacks the folded view); FLOPs as PyTorch's counter has them."""
    config = replace(config, settings=replace(config.settings, method=method), steps=4)
    net, samples, validating = make_net(), {"attack": 0, "update": 0, "validate": 0}, []
    forward, validate, batches_of = fold.FoldedNet.forward, ends.validate, loop.training_batches
    epochs = []  # that have begun: folding is proved by a few passes before the first

    def noted(*args):
        validating.append(1)
        result = validate(*args)
        validating.pop()
        return result

    def counted(self, images):
        samples["validate" if validating else "attack"] += len(images) if epochs else 0
        return forward(self, images)

    def drawn(*args):
        epochs.append(1)
        return batches_of(*args)

    monkeypatch.setattr(loop, "training_batches", drawn)
    monkeypatch.setattr(ends, "validate", noted)
    monkeypatch.setattr(fold.FoldedNet, "forward", counted)
    net.register_forward_hook(
        lambda module, args, out: (
            samples.__setitem__("update", samples["update"] + len(out)) if module.training else None
        )
    )
    _, ledger = train(net, None, tiny_data, config)
    attack, update = PASSES.get(method) or ((samples["attack"] / 128,) * 2, (1, 0, 1))
    grey = 10 if method == "liet" else 0  # an image a class, once
    expected = {
        "attack": Passes(128 * attack[0] + grey, 128 * attack[1] + grey),
        "update": Passes(*(128 * passes for passes in update)),
    }
    assert {phase: ledger.passes[phase] for phase in expected} == expected
    assert samples == {phase: ledger.passes[phase].forward for phase in samples}
    with FlopCounterMode(display=False) as counter:
        net.eval()(torch.rand(1, 1, 8, 8))
    for phase, passes in expected.items():
        assert ledger.flops[phase] == passes.cost * counter.get_total_flops()
    assert ledger.charged_flops == ledger.flops["update"] + ledger.flops["attack"]


CIFAR = SPECS["cifar10"]


@pytest.mark.parametrize("name", [*NETS, "wrn10-1"])
def test_all_ones_mask_trains_bit_for_bit_as_no_mask(name):
    dropout = 0.3 if name in WITH_DROPOUT else 0.0
    spec = ModelSpec(name, 0.125, CIFAR.shape, 10, CIFAR.mean, CIFAR.std, dropout=dropout)
    settings = Training(method="fgsm", batch=4, lr=0.01)
    config = TrainingConfig(settings, 2, ThreatModel("Linf", 0.1), Evaluate(val_steps=1), Compute(1), seed=0)
    dense, masked, fresh = (registry.build(spec, seed=0) for _ in range(3))
    without, _ = train(dense, None, noise_data(8, 4), config)
    with_ones, _ = train(masked, Mask.full(masked), noise_data(8, 4), config)
    assert same_state(with_ones.last, without.last)
    assert any(not torch.equal(without.last[key], value) for key, value in fresh.state_dict().items())
    assert without.history == with_ones.history
