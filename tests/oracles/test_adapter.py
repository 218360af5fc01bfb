"""Attacks of torchattacks under our interface: theirs bit for bit, and no state is moved."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchattacks
from small_nets import Counted
from third_party_case import CLASSES, THREAT, right, third_party_net
from torch import nn
from torchattacks.attack import Attack as Base
from unchanged_net import unchanged

from robust_tickets.attacks import RunOptions, ThreatModel, misclassified
from robust_tickets.attacks.adapter import TorchAttack, fab_t

L2 = ThreatModel("L2", 0.8)

SMALL = {
    "SPSA": {"nb_sample": 4},
    "EADL1": {"max_iterations": 10, "binary_search_steps": 2},
    "EADEN": {"max_iterations": 10, "binary_search_steps": 2},
    "Square": {"n_queries": 10},
    "Pixle": {"restarts": 2, "max_iterations": 2, "x_dimensions": (1, 3), "y_dimensions": (1, 3)},
    "AutoAttack": {"version": "rand"},
    "TIFGSM": {"len_kernel": 5},
    "CW": {"steps": 10},
}
REFUSED = {"MultiAttack", "LGV"}
FAILS_HERE = {"JSMA"}  # aims at the class after the label, which the last class has not
USABLE = [name for name in torchattacks.__all__ if name not in REFUSED]


@pytest.fixture
def net() -> nn.Sequential:
    return third_party_net()


DIRECT = {
    "PGD": {"steps": 5, "alpha": 0.03, "random_start": False},
    "FGSM": {},
    "MIFGSM": {"steps": 4},
    "DeepFool": {"steps": 6},
    "CW": {"steps": 15, "c": 2},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DIRECT)
def test_images_are_theirs_bit_for_bit(name, dtype, net):
    net = net.to(dtype)
    images, labels = right(net, dtype=dtype)
    eps = {} if name in ("CW", "DeepFool") else {"eps": 0.1}
    oracle = getattr(torchattacks, name)(net, **eps, **DIRECT[name])(images, labels)
    assert not torch.equal(oracle, images)
    wide = ThreatModel("L2", 100.0)  # all of it lies inside, nothing is replaced
    threat = THREAT if eps else wide
    result = TorchAttack(threat, name, **DIRECT[name]).run(net, images, labels)
    assert result.outside == 0
    assert torch.equal(result.images, oracle)
    assert torch.equal(result.broken, misclassified(net(oracle), labels))


def test_a_random_attack_is_theirs_from_the_same_seed(net, monkeypatch):
    images, labels = right(net)
    seeds = []
    monkeypatch.setattr(np.random, "seed", seeds.append)
    images_of_ours = TorchAttack(THREAT, "PGD", steps=3)(net, images, labels, seed=9)
    torch.manual_seed(seeds[0])
    assert torch.equal(images_of_ours, torchattacks.PGD(net, eps=0.1, steps=3)(images, labels))
    assert not torch.equal(TorchAttack(THREAT, "PGD", steps=3)(net, images, labels, seed=8), images_of_ours)


BOTH = ("APGD", "APGDT", "AutoAttack", "FAB", "Square")
WITHOUT_EPS = {"CW", "DeepFool", "EADL1", "EADEN", "JSMA", "OnePixel", "Pixle", "SparseFool", "GN", "VANILA"}
ONE_NORM = sorted({*USABLE} - {*BOTH} - WITHOUT_EPS)


def norm_of(name: str) -> str:
    return "L2" if name.endswith("L2") else "Linf"


@pytest.mark.parametrize("name", ONE_NORM)
def test_an_attack_within_balls_of_another_norm_is_refused(name):
    other = {"Linf": L2, "L2": THREAT}[norm_of(name)]
    with pytest.raises(ValueError, match=f"{name} attacks within {norm_of(name)} balls, the threat model is"):
        TorchAttack(other, name)


@pytest.mark.parametrize("threat", [THREAT, L2], ids=["Linf", "L2"])
@pytest.mark.parametrize("name", USABLE)
def test_every_class_works_counts_and_leaves_all_as_it_was(name, threat, net, capsys):
    if name in ONE_NORM:
        threat = {"Linf": THREAT, "L2": L2}[norm_of(name)]
    images, labels = right(net)
    labels = labels.where(labels < CLASSES - 1, 0) if name in FAILS_HERE else labels
    counted, before = Counted(net).train(), (images.clone(), labels.clone())
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[0].bias.grad = torch.ones_like(net[0].bias)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    attack = TorchAttack(threat, name, **SMALL.get(name, {}))
    with unchanged(counted):
        result = attack.run(counted, images, labels, seed=5)
        assert (result.forwards, result.backwards) == counted.passes
        assert torch.equal(attack.run(counted, images, labels, seed=5).images, result.images)
    assert threat.allows(result.images, images).all()
    assert result.images.dtype == images.dtype
    assert not result.images.requires_grad
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert images.grad is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["FAB", "DeepFool", "CW", "JSMA"])  # these call backward
def test_a_network_inside_a_function_gets_no_gradients(name, net, capsys):
    images, labels = right(net)
    labels = labels.where(labels < CLASSES - 1, 0)
    result = TorchAttack(THREAT, name, **SMALL.get(name, {})).run(lambda x: net(x), images, labels)
    assert result.backwards > 0
    assert all(p.grad is None for p in net.parameters())
    assert capsys.readouterr().out == ""


def test_verbose_attacks_print_nothing(net, capsys):
    TorchAttack(THREAT, "APGD", verbose=True, steps=2)(net, *right(net))
    TorchAttack(THREAT, "FAB", verbose=True, steps=2)(net, *right(net))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["APGD", "Square", "PGD"])
def test_blocks_are_seeded_by_the_id_of_their_first_sample(name, net):
    images, labels = right(net, 5)
    ids = torch.tensor([7, 3, 11, 2, 5])
    attack = TorchAttack(THREAT, name, **SMALL.get(name, {}))
    sizes = []
    hook = net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    whole = attack.run(net, images, labels, sample_ids=ids, seed=1, options=RunOptions(block=2))
    hook.remove()
    assert max(sizes) == 2
    assert whole.forwards == sum(sizes)
    for rows in ([0, 1], [2, 3], [4]):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=1)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.broken, whole.broken[rows])
    alone = attack.run(net, images[2:4], labels[2:4], sample_ids=ids[:2], seed=1)
    assert not torch.equal(alone.images, whole.images[2:4])


def test_stopping_changes_nothing_and_no_verdict_saves_a_pass(net):
    attack, batch = TorchAttack(THREAT, "PGD", steps=3), right(net)
    plain, stopped = (
        attack.run(net, *batch, seed=0, options=RunOptions(stop_when_broken=stop)) for stop in (False, True)
    )
    unjudged = attack.run(net, *batch, seed=0, options=RunOptions(verdict=False))
    assert torch.equal(stopped.images, plain.images)
    assert torch.equal(stopped.broken, plain.broken)
    assert torch.equal(unjudged.images, plain.images)
    assert unjudged.broken is None
    assert plain.forwards - unjudged.forwards == len(batch[0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_the_images_does_not_matter(layout, net):
    images, labels = right(net)
    for name, threat in (("PGDL2", L2), ("Square", THREAT), ("FAB", THREAT)):
        attack = TorchAttack(threat, name, **SMALL.get(name, {}))
        images_of_ours = attack(net, images.contiguous(memory_format=layout), labels, seed=0)
        torch.testing.assert_close(images_of_ours, attack(net, images, labels, seed=0))


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("n", [1, 3])
def test_fab_t_works_on_few_classes_single_images_and_wrong_ones(norm, classes, n):
    net = third_party_net(classes)
    images, labels = right(net, n)
    attack = fab_t(ThreatModel(norm, 0.3 if norm == "Linf" else 3.0), steps=5)
    result = attack.run(net, images, labels)
    assert result.broken.all()
    wrong = attack.run(net, images, (labels + 1) % classes)
    assert wrong.broken.all()
    assert wrong.backwards == 0
    assert torch.equal(wrong.images, images)
    mixed = torch.cat([labels[:1], (labels[1:] + 1) % classes])
    assert attack.run(net, images, mixed, options=RunOptions(block=1)).broken.all()


def test_fab_t_has_nine_targets_where_there_are_as_many():
    for classes, targets in ((3, 2), (10, 9), (12, 9)):
        net = third_party_net(classes)
        images, labels = right(net, 1)
        result = fab_t(ThreatModel("Linf", 1e-6), steps=2).run(net, images, labels)  # breaks nothing
        assert result.backwards == 2 * targets


def test_arguments_follow_from_the_context_unless_they_are_given(net, monkeypatch):
    seen = {}

    class Fake(Base):
        def __init__(
            self, model, eps=0.1, max_epsilon=0.2, norm="Linf", n_classes=10, seed=0, alpha=0.5, beta=1
        ):
            super().__init__("Fake", model)
            seen.update(eps=eps, max_epsilon=max_epsilon, norm=norm, n_classes=n_classes, alpha=alpha)
            seen.update(seed=seed, beta=beta)

        def forward(self, images, labels=None):
            return images

    monkeypatch.setattr(torchattacks, "Fake", Fake, raising=False)
    TorchAttack(L2, "Fake", beta=2)(net, *right(net), seed=4)
    assert 0 < seen.pop("seed") < 2**32
    context = {"eps": 0.8, "max_epsilon": 0.8, "norm": "L2", "n_classes": CLASSES}
    assert seen == {**context, "alpha": 0.5, "beta": 2}
    TorchAttack(L2, "Fake", eps=0.3, norm="Linf", n_classes=3, seed=11)(net, *right(net))
    assert (seen["eps"], seen["norm"], seen["n_classes"], seen["seed"]) == (0.3, "Linf", 3, 11)


def test_settings_are_the_arguments_and_the_defaults():
    attack = TorchAttack(THREAT, "CW", c=2, steps=5)
    assert attack.settings == {"name": "CW", "c": 2, "kappa": 0, "steps": 5, "lr": 0.01}
    assert fab_t(THREAT).settings["steps"] == 100


def test_attacks_are_imported_without_torchattacks():
    code = "import sys, attacks.adapter; assert not {'torchattacks', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
