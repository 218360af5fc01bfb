"""Adam in the training loop: plain PyTorch's, and what a mask does to it."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.data.batches import batches
from robust_tickets.models.fold import foldable_batchnorms
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import dead_filter_masks
from robust_tickets.pruning.scores import SCORES
from robust_tickets.training import loop as loop_module
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import copy_state


class Doubled(nn.Module):
    """Batches are float32; laws on rounding are stated in float64."""

    def __init__(self, net):
        super().__init__()
        self.net = net.double()

    def forward(self, x):
        return self.net(x.double())


@pytest.fixture
def adam(config):
    settings = replace(
        config.settings,
        method="natural",
        optimiser="adam",
        lr=0.01,
        momentum=0.8,
        weight_decay=0.1,
        schedule="cosine",
        warmup=0.25,
        warmup_lr=0.001,
    )
    return replace(config, settings=settings, compute=replace(config.compute, channels_last=False))


def half(net):
    """A mask with half of the weights and without one whole filter."""
    mask = Mask.full(net)
    mask = prune(SCORES["magnitude-over-layer-mean"](prunable_weights(net), mask), mask, 0.5)
    entries = {name: keep.clone() for name, keep in mask.items()}
    entries["layer1.0.conv1.weight"][3] = False
    return Mask(entries)


def test_training_is_plain_pytorch(conv_net, tiny_data, adam):
    ours, by_hand = Doubled(copy.deepcopy(conv_net)), Doubled(conv_net)
    fit(ours, None, tiny_data, adam, Session(Ledger("train")))
    optimiser = torch.optim.Adam(by_hand.parameters(), lr=1.0, betas=(0.8, 0.999), weight_decay=0.1)
    by_hand.train()
    step = 0
    for epoch in (1, 2):
        stream = batches(tiny_data.train, tiny_data.spec, 32, seed=0, epoch=epoch, channels_last=False)
        for images, labels, _ in stream:
            optimiser.param_groups[0]["lr"] = learning_rate(adam.settings, step, 8)
            optimiser.zero_grad()
            F.cross_entropy(by_hand(images), labels).backward()
            optimiser.step()
            step += 1
    assert step == 8
    for name, value in copy_state(by_hand).items():
        torch.testing.assert_close(copy_state(ours)[name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_no_pruned_weight_is_in_the_net_or_in_a_moment_after_any_step(conv_net, tiny_data, adam, monkeypatch):
    mask = half(conv_net)
    parameters = dict(conv_net.named_parameters())
    gone = {name: ~keep for name, keep in mask.items()}
    dead = dead_filter_masks(mask, foldable_batchnorms(conv_net), parameters)
    gone |= {name: ~alive for name, alive in dead.items()}
    assert "layer1.0.bn1.bias" in gone
    optimisers = []
    real = loop_module.make_optimiser
    monkeypatch.setattr(
        "robust_tickets.training.loop.make_optimiser",
        lambda *a: optimisers.append(real(*a)) or optimisers[-1],
    )

    class Watch(StageProgress):
        steps = 0

        def advance(self, steps, passes):
            Watch.steps += 1
            for name, pruned in gone.items():
                held = optimisers[0].state[parameters[name]]
                for tensor in (parameters[name], held["exp_avg"], held["exp_avg_sq"]):
                    assert torch.all(tensor[pruned] == 0.0), name
                assert torch.any(held["exp_avg_sq"][~pruned] > 0.0), name

    fit(conv_net, mask, tiny_data, adam, Session(Ledger("train"), Watch()))
    assert Watch.steps == 8
    assert isinstance(optimisers[0], torch.optim.Adam)
