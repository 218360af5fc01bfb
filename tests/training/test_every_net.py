"""Laws that hold for each net of the registry."""

import pytest
import torch
from training_case import noise_data, same_state, train

from attacks import ThreatModel
from robust_tickets.data.dataset import SPECS
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.checks import NETS, WITH_DROPOUT
from robust_tickets.recipe.fields import Compute, Evaluate, Training
from robust_tickets.training.config import TrainingConfig

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
