"""Settings and calls that make no sense are refused in words; what only looks odd works."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robust_tickets.attacks import (
    APGD,
    FGSM,
    PGD,
    APGDTargeted,
    Ensemble,
    InputError,
    RunOptions,
    Square,
    ThreatModel,
    TorchAttack,
    parse,
)

T = ThreatModel("Linf", 0.1)

SETTINGS = {
    "norm 'l2' is not supported: use 'Linf' or 'L2'": lambda: ThreatModel("l2", 0.1),
    "eps must be a number such as 8 / 255, got '8/255'": lambda: ThreatModel("Linf", "8/255"),
    "eps must be a number such as 8 / 255, got True": lambda: ThreatModel("Linf", True),
    "eps must be positive and finite, got 0.0": lambda: ThreatModel("Linf", 0.0),
    "bounds must be two numbers": lambda: ThreatModel("Linf", 0.1, (0, 1, 2)),
    "bounds (0.5, 0.5) are empty": lambda: ThreatModel("Linf", 0.1, (0.5, 0.5)),
    "the threat must be a ThreatModel, as ThreatModel('Linf', 8 / 255), got 0.03": lambda: PGD(0.03),
    "the threat must be a ThreatModel, as ThreatModel('Linf', 8 / 255), got None": lambda: APGD(None),
    "steps must be a whole number, got 2.5": lambda: PGD(T, steps=2.5),
    "steps must be a whole number, got True": lambda: PGD(T, steps=True),
    "steps must be at least 1, got 0": lambda: PGD(T, steps=0),
    "restarts must be at least 1, got 0": lambda: APGD(T, restarts=0),
    "targets must be at least 1, got 0": lambda: APGDTargeted(T, targets=0),
    "queries must be at least 1, got 0": lambda: Square(T, queries=0),
    "step_size must be positive, got 'a'": lambda: PGD(T, step_size="a"),
    "step_size must be positive, got 0.0": lambda: PGD(T, step_size=0.0),
    "rel_step must be positive, got -1": lambda: PGD(T, rel_step=-1),
    "momentum must be at least 0, got 'x'": lambda: PGD(T, momentum="x"),
    "random_start must be True or False, got 'no'": lambda: PGD(T, random_start="no"),
    "several restarts need random_start=True": lambda: PGD(T, restarts=2, random_start=False),
    "rho must be above 0 and at most 1, got 0.0": lambda: APGD(T, rho=0.0),
    "unknown loss 'kl': known: ce, margin, dlr": lambda: APGD(T, loss="kl"),
    "p must be a share of the image above 0, at most 1, got nan": lambda: Square(T, p=float("nan")),
    "block must be a whole number, got 2.5": lambda: RunOptions(block=2.5),
    "block must be at least 1, got 0": lambda: RunOptions(block=0),
    "an ensemble takes a list of attacks": lambda: Ensemble(PGD(T)),
    "an ensemble needs at least one attack": lambda: Ensemble([]),
    "need one threat model, got ": lambda: Ensemble([FGSM(T), FGSM(ThreatModel("Linf", 0.2))]),
    "expected a list of 2 names, got 'ab'": lambda: Ensemble([PGD(T), FGSM(T)], "ab"),
    "expected a list of 1 names, got ('a', 'b')": lambda: Ensemble([PGD(T)], ("a", "b")),
    "a name of its own, got a, a": lambda: Ensemble([PGD(T), FGSM(T)], ["a", "a"]),
    "an attack is named by text, as 'pgd-20', got None": lambda: parse(None, T),
    "the threat must be a ThreatModel": lambda: parse("pgd-20", 0.1),
}


@pytest.mark.parametrize("message", SETTINGS)
def test_settings_that_make_no_sense_are_refused(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SETTINGS[message]()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 0])


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 4))


CALLS = {
    r"images lie in \[0\.\d+, 1\.\d+\], expected \[0, 1\].*normalisation": lambda i, y: {"images": i + 0.5},
    "5 of 5 images hold NaN: look": lambda i, y: {"images": i.where(i > 0.1, float("nan"))},
    r"images are a ndarray, expected a torch\.Tensor": lambda i, y: {"images": i.numpy()},
    r"uint8.*floats within \[0, 1\]": lambda i, y: {"images": (i * 255).to(torch.uint8)},
    r"no images, as their shape is \(0, 3, 6, 6\)": lambda i, y: {"images": i[:0], "labels": y[:0]},
    r"shape \(3, 6, 6\) of one image.*images\[None\]": lambda i, y: {"images": i[0], "labels": y[:1]},
    r"of one image, expected a batch": lambda i, y: {"images": i[0], "labels": y[0]},
    r"expected 1 label of type": lambda i, y: {"images": i[:1]},
    r"expected a batch.*\(6,\)": lambda i, y: {"images": i[0, 0, 0]},
    r"5 labels of type int64, got torch\.int32": lambda i, y: {"labels": y.int()},
    r"5 labels.*of shape \(5, 4\)": lambda i, y: {"labels": torch.eye(4)[y].long()},
    r"5 labels of type int64.*of shape \(4,\)": lambda i, y: {"labels": y[:4]},
    r"labels lie in 1 to 4, .*4 classes \(0 to 3\)": lambda i, y: {"labels": y + 1},
    "labels lie in -1 to 2, .*4 classes": lambda i, y: {"labels": y - 1},
    r"start is a list, expected a torch\.Tensor": lambda i, y: {"start": [i]},
    "start lies outside ball or box: project it": lambda i, y: {"start": (i + 0.2).clamp(0, 1)},
    "start lies outside ball or box": lambda i, y: {"start": i * float("nan")},
    r"start is .* of shape \(1, 3, 6, 6\).*\(5, 3, 6, 6\)": lambda i, y: {"start": i[:1]},
    "start.*float64.*float32": lambda i, y: {"start": i.double()},
    r"5 sample ids of type int64.*\(4,\)": lambda i, y: {"sample_ids": torch.arange(4)},
    "5 sample ids of type int64.*int32": lambda i, y: {"sample_ids": torch.arange(5).int()},
    r"seed must be a whole number, or None for a fresh one, got 1\.5": lambda i, y: {"seed": 1.5},
    "the network is 'resnet', expected a callable": lambda i, y: {"net": "resnet"},
    "the network gave torch.int64, expected": lambda i, y: {"net": lambda x: x.flatten(1)[:, :4].long()},
    r"gave shape \(4,\) for 5 images, expected logits \(N": lambda i, y: {"net": lambda x: x[0, 0, 0, :4]},
    r"gave shape \(1, 4\) for 5 images": lambda i, y: {"net": lambda x: x[:1, 0, 0, :4]},
    r"gave shape \(5, 4, 1\) for 5 images": lambda i, y: {"net": lambda x: x[:, 0, :4, :1]},
    "the network has 1 class, this attack needs 2": lambda i, y: {"net": lambda x: x[:, 0, 0, :1]},
    "only infinite logits for 5 of 5 images": lambda i, y: {"net": lambda x: (1 + x[:, 0, 0, :4]) / 0.0},
    "network computes in torch.float32 and the images are torch.float64": lambda i, y: {"images": i.double()},
}


@pytest.mark.parametrize("message", CALLS)
def test_calls_that_make_no_sense_are_refused(message, net, batch):
    arguments = {"net": net, "images": batch[0], "labels": batch[1]} | CALLS[message](*batch)
    with pytest.raises(ValueError, match=message):
        PGD(T, steps=2).run(**arguments)


def test_a_short_call_checks_its_input_too(net, batch):
    with pytest.raises(InputError, match="images lie in"):
        PGD(T)(net, batch[0] * 255, batch[1])


def test_the_bounds_of_the_threat_are_those_of_the_images(net, batch):
    wide = PGD(ThreatModel("Linf", 8.0, (0.0, 255.0)), steps=2)
    images = batch[0] * 255
    result = wide.run(net, images, batch[1])
    assert wide.threat.allows(result.images, images).all()
    with pytest.raises(InputError, match=r"expected \[0, 255\]"):
        wide.run(net, images - 300, batch[1])


def test_an_error_of_the_network_stays_its_own(batch):
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match=r"^out of paper$"):
        PGD(T, steps=2).run(broken, *batch)


NEEDS = {
    "dlr": (PGD(T, loss="dlr"), 3),
    "targeted": (APGDTargeted(T), 4),
    "torchattacks": (TorchAttack(T, "APGDT", steps=2), 4),
    "ensemble": (Ensemble([FGSM(T), APGDTargeted(T)]), 4),
}


@pytest.mark.parametrize(("attack", "least"), NEEDS.values(), ids=NEEDS)
def test_an_attack_says_how_many_classes_it_needs(attack, least, batch):
    few = least - 1
    message = f"the network has {few} classes, this attack needs {least}: choose another"
    with pytest.raises(InputError, match=message):
        attack.run(lambda x: 1e3 * x.flatten(1)[:, :few], batch[0], batch[1] % few)


def test_numbers_of_numpy_are_numbers(net, batch):
    threat = ThreatModel("Linf", np.float32(0.1), (np.float64(0), np.int64(1)))
    assert PGD(threat, steps=np.int64(2), step_size=np.float32(0.05)).run(net, *batch).broken is not None
