"""What makes a step fast, counted in the operations that a training sends to PyTorch."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robust_tickets.base.ledger import Ledger
from robust_tickets.data.dataset import SPECS, Dataset, Split
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
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


def noise(n: int) -> Split:
    pixels = torch.randint(
        256, (n, *CIFAR.shape), generator=torch.Generator().manual_seed(n), dtype=torch.uint8
    )
    return Split(pixels, torch.arange(n) % 10, torch.arange(n))


@pytest.fixture
def train(config, monkeypatch):
    """The operations of a few steps of training; on a GPU a step is not looked at when it is taken."""
    monkeypatch.setattr(Monitor, "check", lambda *_: None)

    def run(name: str, density: float | None = None, method: str = "pgd"):
        spec = ModelSpec(name, 1.0 if name == "wrn10-1" else 0.125, CIFAR.shape, 10, CIFAR.mean, CIFAR.std)
        net = build(spec, seed=0).to(memory_format=torch.channels_last)
        mask = None
        if density is not None:
            full = Mask.full(net)
            mask = prune(SCORES["magnitude"](prunable_weights(net), full), full, 1 - density)
        pgd = PGDSettings(steps=PGD_STEPS, rel_step=0.5)
        settings = replace(config.settings, method=method, pgd=pgd, batch=BATCH)
        data = Dataset(CIFAR, "noise", noise(STEPS * BATCH), noise(10), noise(10), "")
        ledger = Ledger("train")
        with ledger.measure(), Operations(ledger) as operations:
            fit(net, mask, data, replace(config, settings=settings, steps=STEPS), Session(ledger))
        return net, operations

    return run


@pytest.mark.parametrize("name", NETS)
def test_an_attack_asks_for_no_parameters_gradient(name, train):
    net, operations = train(name)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in net.modules())
    attack, update = operations.masks["attack"], operations.masks["update"]
    assert len(attack) == STEPS * PGD_STEPS * convolutions
    assert set(attack) == {(True, False, False)}
    assert len(update) == STEPS * convolutions
    assert all(to_weight for _, to_weight, _ in update)
    # the first layer's gradient to the images is nobody's in the update
    assert sum(not to_images for to_images, _, _ in update) == STEPS


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_perturbations_change_in_place(name, train):
    """A batch's climb makes one tensor of its images' size, at its first step; later steps use it again."""
    _, operations = train(name)
    assert operations.names["attack"].count("aten.sign.default") == STEPS
    assert operations.names["attack"].count("aten.sign.out") == STEPS * (PGD_STEPS - 1)


@pytest.mark.parametrize("name", NETS)
def test_as_many_passes_as_the_method_says(name, train):
    net, operations = train(name)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in net.modules())
    assert operations.names["attack"].count(CONV) == STEPS * PGD_STEPS * convolutions
    assert operations.names["update"].count(CONV) == STEPS * convolutions


@pytest.mark.parametrize("name", NETS)
def test_channels_last_is_kept_through_the_net_and_back(name, train):
    _, operations = train(name)
    assert operations.formats["attack"] == {True}
    assert operations.formats["update"] == {True}


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "resnet18"])
def test_no_batchnorm_is_computed_in_an_attack(name, train):
    _, operations = train(name)
    assert not [op for op in operations.names["attack"] if "batch_norm" in op]
    assert [op for op in operations.names["update"] if "batch_norm" in op]


@pytest.mark.parametrize("name", ["vgg16", "resnet20"])
def test_a_mask_costs_two_calls_a_step_however_many_layers(name, train):
    _, masked = train(name, density=0.5)
    _, dense = train(name)
    calls = masked.names["update"].count("aten._foreach_mul_.List")
    assert calls == 2 * STEPS  # the gradients, and the parameters
    assert len(masked.names["update"]) == len(dense.names["update"]) + calls
    assert masked.names["attack"] == dense.names["attack"]  # never in forward


@pytest.mark.parametrize(("name", "method"), [("vgg16", "pgd"), *(("resnet20", name) for name in METHODS)])
def test_nothing_in_a_step_waits_for_the_device(name, method, train):
    _, operations = train(name, density=0.5, method=method)
    for phase in ("attack", "update"):
        assert not [op for op in operations.names[phase] if op in WAITING]
