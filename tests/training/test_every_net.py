"""Laws that hold for each net of the registry."""

import pytest
import torch

from attacks import ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.data.dataset import SPECS, Dataset, Split
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import NETS, WITH_DROPOUT, Compute, Evaluate, Training
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit

CIFAR = SPECS["cifar10"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def noise(n: int) -> Split:
        pixels = torch.randint(256, (n, *CIFAR.shape), generator=generator, dtype=torch.uint8)
        return Split(pixels, torch.arange(n) % 10, torch.arange(n))

    return Dataset(CIFAR, "noise", noise(8), noise(4), noise(4), "")


@pytest.mark.parametrize("name", [*NETS, "wrn10-1"])
def test_all_ones_mask_trains_bit_for_bit_as_no_mask(name, data):
    dropout = 0.3 if name in WITH_DROPOUT else 0.0
    spec = ModelSpec(name, 0.125, CIFAR.shape, 10, CIFAR.mean, CIFAR.std, dropout=dropout)
    threat = ThreatModel("Linf", 0.1)
    config = TrainingConfig(
        Training(method="fgsm", batch=4, lr=0.01), 2, threat, Evaluate(val_steps=1), Compute(1), seed=0
    )
    train = []
    for masked in (False, True):
        net = registry.build(spec, seed=0)
        ledger = Ledger("train")
        with ledger.measure():
            result = fit(net, Mask.full(net) if masked else None, data, config, Session(ledger))
        train.append(result)
    fresh = registry.build(spec, seed=0).state_dict()
    dense, ones = (result.last for result in train)
    assert all(torch.equal(ones[key], value) for key, value in dense.items())
    assert any(not torch.equal(fresh[key], value) for key, value in dense.items())
    assert train[0].history == train[1].history
