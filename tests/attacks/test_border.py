"""Whatever an attack is built or called with, it works or says what it expects."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks import (
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

BUILT = {
    "PGD(T, steps=2.5)": (partial(PGD, T, steps=2.5), "steps must be a whole number, got 2.5"),
    "PGD(T, steps='3')": (partial(PGD, T, steps="3"), "steps must be a whole number, got '3'"),
    "PGD(T, steps=None)": (partial(PGD, T, steps=None), "steps must be a whole number, got None"),
    "PGD(T, steps=True)": (partial(PGD, T, steps=True), "steps must be a whole number, got True"),
    "PGD(T, restarts=1.5)": (partial(PGD, T, restarts=1.5), "restarts must be a whole number"),
    "PGD(T, step_size='a')": (partial(PGD, T, step_size="a"), "step_size must be positive, got 'a'"),
    "PGD(T, rel_step=-1)": (partial(PGD, T, rel_step=-1), "rel_step must be positive, got -1"),
    "PGD(T, momentum='x')": (partial(PGD, T, momentum="x"), "momentum must be at least 0, got 'x'"),
    "PGD(T, random_start='no')": (partial(PGD, T, random_start="no"), "random_start must be True or False"),
    "PGD(0.03)": (partial(PGD, 0.03), "the threat must be a ThreatModel, as ThreatModel('Linf', 8 / 255)"),
    "FGSM('Linf')": (partial(FGSM, "Linf"), "the threat must be a ThreatModel"),
    "APGD(None)": (partial(APGD, None), "the threat must be a ThreatModel"),
    "APGD(T, rho='a')": (partial(APGD, T, rho="a"), "rho must be above 0 and at most 1, got 'a'"),
    "APGD(T, steps=2.0)": (partial(APGD, T, steps=2.0), "steps must be a whole number, got 2.0"),
    "APGDTargeted(T, targets=2.5)": (partial(APGDTargeted, T, targets=2.5), "targets must be a whole number"),
    "Square(T, p='x')": (partial(Square, T, p="x"), "p must be a share of the image"),
    "Square(T, queries=2.5)": (partial(Square, T, queries=2.5), "queries must be a whole number, got 2.5"),
    "Ensemble(PGD(T))": (lambda: Ensemble(PGD(T)), "an ensemble takes a list of attacks"),
    "Ensemble(['pgd-20'])": (partial(Ensemble, ["pgd-20"]), "an ensemble takes a list of attacks"),
    "Ensemble names=text": (lambda: Ensemble([PGD(T), FGSM(T)], "ab"), "expected a list of 2 names"),
    "Ensemble names twice": (lambda: Ensemble([PGD(T), FGSM(T)], ["a", "a"]), "a name of its own, got a, a"),
    "ThreatModel(['Linf'])": (partial(ThreatModel, ["Linf"], 0.1), r"norm ['Linf'] is not supported"),
    "ThreatModel(eps=True)": (partial(ThreatModel, "Linf", True), "eps must be a number such as 8 / 255"),
    "ThreatModel three bounds": (partial(ThreatModel, "Linf", 0.1, (0, 1, 2)), "bounds must be two numbers"),
    "parse(None)": (partial(parse, None, T), "an attack is named by text, as 'pgd-20', got None"),
    "parse with eps": (partial(parse, "pgd-20", 0.1), "the threat must be a ThreatModel"),
    "parse('PGD-20')": (partial(parse, "PGD-20", T), "unknown attack 'PGD-20': did you mean 'pgd-20'?"),
    "TorchAttack(T, 5)": (partial(TorchAttack, T, 5), "must be text, as 'CW', got 5"),
    "CW(steps=2.5)": (partial(TorchAttack, T, "CW", steps=2.5), "expects steps to be int"),
    "CW(lr=-1)": (partial(TorchAttack, T, "CW", lr=-1), "expects lr to be at least 0, got -1"),
}


@pytest.mark.parametrize("case", BUILT)
def test_settings_that_make_no_sense_are_refused_when_it_is_built(case):
    build, message = BUILT[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        build()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(108, 4))


CALLED = {
    "seed=1.5": ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
    "seed=None": ({"seed": None}, "seed must be a whole number, got None"),
    "ids as a list": ({"sample_ids": [1] * 6}, "sample_ids are a list, expected a torch.Tensor"),
    "start as a list": ({"start": [1] * 6}, "start is a list, expected a torch.Tensor"),
    "net None": ({"net": None}, "the network is None, expected a callable"),
    "net a text": ({"net": "resnet"}, "the network is 'resnet', expected a callable"),
    "classes for logits": (
        {"net": lambda x: x.flatten(1)[:, :4].long()},
        "the network gave torch.int64, expected",
    ),
    "one class": ({"net": lambda x: x.flatten(1)[:, :1]}, "the network has 1 class, this attack needs 2"),
    "infinite logits": (
        {"net": lambda x: (1 + x.flatten(1)[:, :4]) / 0.0},
        "only infinite logits for 6 of 6 images",
    ),
}


@pytest.mark.parametrize("case", CALLED)
@pytest.mark.parametrize("attack", [PGD(T, steps=2), Square(T, queries=2)], ids=["pgd", "square"])
def test_calls_that_make_no_sense_are_refused(case, attack, net, batch):
    arguments, message = CALLED[case]
    images, labels = batch[0], batch[1] * (case != "one class")
    call = {"net": net, "images": images, "labels": labels} | arguments
    with pytest.raises(ValueError, match=re.escape(message)):
        attack.run(**call)


@pytest.mark.parametrize(
    ("block", "message"),
    [(2.5, "a whole number, got 2.5"), ("5", "a whole number, got '5'"), (0, "at least 1")],
)
def test_blocks_that_make_no_sense_are_refused(block, message):
    with pytest.raises(ValueError, match=re.escape(f"block must be {message}")):
        RunOptions(block=block)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_images_of_another_type_than_the_network_are_refused(dtype, net, batch):
    with pytest.raises(
        InputError, match=r"the network computes in torch.float32 and the images are torch.float"
    ):
        PGD(T, steps=2).run(net, batch[0].to(dtype), batch[1])


def test_an_error_of_the_network_stays_its_own(batch):
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match=r"^out of paper$"):
        PGD(T, steps=2).run(broken, *batch)


def test_an_attack_says_how_many_classes_it_needs(net, batch):
    few = nn.Sequential(net, nn.Linear(4, 3))
    labels = batch[1] % 3
    for attack in (APGDTargeted(T), TorchAttack(T, "APGDT", steps=2), Ensemble([FGSM(T), APGDTargeted(T)])):
        with pytest.raises(
            InputError, match="the network has 3 classes, this attack needs 4: choose another"
        ):
            attack.run(few, batch[0], labels)


def test_numbers_of_numpy_are_numbers(net, batch):
    threat = ThreatModel("Linf", np.float32(0.1), (np.float64(0), np.int64(1)))
    assert PGD(threat, steps=np.int64(2), step_size=np.float32(0.05)).run(net, *batch).broken is not None


@pytest.mark.parametrize("attack", [PGD(T, steps=2), APGD(T, steps=3), TorchAttack(T, "BIM", steps=2)])
def test_the_caller_s_inference_mode_changes_nothing(attack, net, batch):
    expected = attack.run(net, *batch)
    with torch.inference_mode():
        result = attack.run(net, batch[0].clone(), batch[1].clone())
    assert torch.equal(result.images, expected.images)
    assert torch.equal(result.broken, expected.broken)


def test_attacks_of_one_class_are_told_apart_in_an_ensemble(net, batch):
    ensemble = Ensemble([PGD(T, steps=2), PGD(T, steps=7), FGSM(T), PGD(T, steps=1)])
    assert ensemble.names == ("PGD", "PGD-2", "FGSM", "PGD-3")
    assert [settings["steps"] for settings in ensemble.settings.values() if "steps" in settings] == [2, 7, 1]
    assert "'steps': 2," in repr(ensemble)
    assert "'steps': 7," in repr(ensemble)
