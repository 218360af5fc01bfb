"""Programs that have one mode are evaluated, and not trained in it without a word."""

import warnings

import pytest
import torch
from torch import nn

import robust_tickets
from robust_tickets.base.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore")  # networks of one epoch warn of much
FIELDS = {
    "data": {"name": "digits", "train_images": 100, "val_images": 20},
    "train": {"method": "fgsm", "epochs": 1, "batch": 50},
    "evaluate": {"val_steps": 1, "early_epochs": 0},
    "compute": {"threads": 1},
}


def small(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *layers, nn.ReLU(), nn.Linear(8, 10)).eval()


def exported(net):
    many = {0: torch.export.Dim("n")}
    return torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=(many,)).module()


def traced(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return torch.jit.trace(net, torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (exported(small(nn.BatchNorm1d(8))), "the network has no train mode"),
        (nn.Sequential(exported(small())), "the network has no train mode"),
        (traced(small(nn.BatchNorm1d(8))), "traced program, whose BatchNorm1d stays in the mode"),
        (traced(small(nn.Dropout(0.5))), "traced program, whose Dropout stays in the mode"),
    ],
    ids=["exported", "within another", "traced", "traced dropout"],
)
def test_a_program_of_one_mode_is_evaluated_and_not_trained(program, words):
    with pytest.raises(InputError, match=words):
        robust_tickets.train(program, **FIELDS)
    table = robust_tickets.evaluate(program, attacks=("clean", "fgsm"), limit=20, **FIELDS)
    assert len(table) == 3


def test_a_traced_network_without_modes_is_trained():
    assert robust_tickets.train(traced(small()), **FIELDS).best_epoch == 1
