"""What makes a step fast, counted in the operations that a training sends to PyTorch."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_case import half_mask, noise_data

from robust_tickets.base.ledger import Ledger
from robust_tickets.data.dataset import SPECS
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.monitors import Monitor

NETS = ("vgg16", "resnet20", "resnet18", "preact-resnet18", "wrn10-1")
CIFAR = SPECS["cifar10"]
STEPS, PGD_STEPS, BATCH = 3, 2, 8
CONV, CONV_BACKWARD = "aten.convolution.default", "aten.convolution_backward.default"
WAITING = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.item.default")


class Operations(TorchDispatchMode):
    """The operations of each phase of a ledger, with their arguments' shapes, formats and flags."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self.names: dict[str, list[str]] = defaultdict(list)
        self.masks: dict[str, list[tuple[bool, ...]]] = defaultdict(list)
        self.formats: dict[str, set[bool]] = defaultdict(set)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        phase = self._ledger._open[-1] if self._ledger._open else ""
        self.names[phase].append(str(func))
        if str(func) == CONV_BACKWARD:
            self.masks[phase].append(tuple(args[-1]))
        if str(func) in (CONV, CONV_BACKWARD):
            images = [args[0], args[1] if str(func) == CONV_BACKWARD else None, output[0]]
            images = images if str(func) == CONV_BACKWARD else [args[0], output]
            for image in images:
                if isinstance(image, Tensor) and image.shape[1] > 1 and image.shape[2] > 1:
                    self.formats[phase].add(image.is_contiguous(memory_format=torch.channels_last))
        return output


@pytest.fixture
def train(config, monkeypatch):
    """The operations of a few steps of training; on a GPU a step is not looked at when it is taken."""
    monkeypatch.setattr(Monitor, "check", lambda *_: None)

    def run(name: str, masked: bool = False, method: str = "pgd"):
        spec = ModelSpec(name, 1.0 if name == "wrn10-1" else 0.125, CIFAR.shape, 10, CIFAR.mean, CIFAR.std)
        net = build(spec, seed=0).to(memory_format=torch.channels_last)
        mask = half_mask(net) if masked else None
        pgd = PGDSettings(steps=PGD_STEPS, rel_step=0.5)
        settings = replace(config.settings, method=method, pgd=pgd, batch=BATCH)
        ledger = Ledger("train")
        with ledger.measure(), Operations(ledger) as operations:
            config_ = replace(config, settings=settings, steps=STEPS)
            fit(net, mask, noise_data(STEPS * BATCH, 10), config_, Session(ledger))
        return net, operations

    return run


@pytest.mark.parametrize("name", NETS)
def test_as_many_passes_as_the_method_says_in_channels_last_and_for_no_gradient_too_many(name, train):
    net, operations = train(name)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in net.modules())
    attack, update = operations.masks["attack"], operations.masks["update"]
    assert operations.formats["attack"] == operations.formats["update"] == {True}
    assert operations.names["attack"].count(CONV) == len(attack) == STEPS * PGD_STEPS * convolutions
    assert set(attack) == {(True, False, False)}
    assert operations.names["update"].count(CONV) == len(update) == STEPS * convolutions
    assert all(to_weight for _, to_weight, _ in update)
    # nobody needs the first layer's gradient to the images in the update
    assert sum(not to_images for to_images, _, _ in update) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_perturbations_change_in_place(name, train):
    """A batch's climb makes one tensor of its images' size, at its first step; later steps use it again."""
    _, operations = train(name)
    assert operations.names["attack"].count("aten.sign.default") == STEPS
    assert operations.names["attack"].count("aten.sign.out") == STEPS * (PGD_STEPS - 1)


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "resnet18"])
def test_no_batchnorm_is_computed_in_an_attack(name, train):
    _, operations = train(name)
    assert not [op for op in operations.names["attack"] if "batch_norm" in op]
    assert [op for op in operations.names["update"] if "batch_norm" in op]


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_a_mask_costs_two_calls_a_step_however_many_layers(name, train):
    _, masked = train(name, masked=True)
    _, dense = train(name)
    calls = masked.names["update"].count("aten._foreach_mul_.List")
    assert calls == 2 * STEPS  # the gradients, and the parameters
    assert len(masked.names["update"]) == len(dense.names["update"]) + calls
    assert masked.names["attack"] == dense.names["attack"]  # never in forward


@pytest.mark.parametrize(("name", "method"), [("vgg16", "pgd"), *(("resnet20", name) for name in METHODS)])
def test_nothing_in_a_step_waits_for_the_device(name, method, train):
    _, operations = train(name, masked=True, method=method)
    for phase in ("attack", "update"):
        assert not [op for op in operations.names[phase] if op in WAITING]
