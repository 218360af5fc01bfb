"""Attacks of torchattacks under our interface: theirs bit for bit, our verdicts, nobody's state moved."""

import copy
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn
from torchattacks.attack import Attack as Base

from attacks import InputError, ThreatModel, misclassified
from attacks.adapter import TorchAttack, fab_t
from attacks.blocks import NO_GRADIENT

CLASSES = 5
THREAT = ThreatModel("Linf", 0.1)
L2 = ThreatModel("L2", 0.8)
TINY = ThreatModel("Linf", 8 / 255)

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


class Net(nn.Module):
    """A convolution, BatchNorm and Dropout; counts the samples that pass, both ways."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.bn, self.linear = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, classes)
        self.dropout = nn.Dropout(0.5)
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.linear(self.dropout(self.bn(self.conv(images)).relu().flatten(1)))
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def right(net: nn.Module, n: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Images, and the labels that the net gives them."""
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(3)).to(dtype)
    with torch.no_grad():
        labels = copy.deepcopy(net).eval().to(dtype)(images).argmax(1)
    return images, labels


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def fake(monkeypatch):
    """Puts a class into torchattacks that returns what a function makes of the images."""

    def put(make, name: str = "Fake") -> TorchAttack:
        class Fake(Base):
            def __init__(self, model, strength=1.0):
                super().__init__(name, model)

            def forward(self, images, labels=None):
                return make(self, images)

        monkeypatch.setattr(torchattacks, name, Fake, raising=False)
        return TorchAttack(TINY, name)

    return put


DIRECT = {
    "PGD": {"steps": 5, "alpha": 0.03, "random_start": False},
    "FGSM": {},
    "MIFGSM": {"steps": 4},
    "DeepFool": {"steps": 6},
    "CW": {"steps": 15, "c": 2},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DIRECT)
def test_it_is_theirs_bit_for_bit(name, dtype, net):
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
    found = TorchAttack(THREAT, "PGD", steps=3)(net, images, labels, seed=9)
    torch.manual_seed(seeds[0])
    assert torch.equal(found, torchattacks.PGD(net, eps=0.1, steps=3)(images, labels))


@pytest.mark.parametrize("threat", [THREAT, L2], ids=["Linf", "L2"])
@pytest.mark.parametrize("name", USABLE)
def test_every_class_works_counts_and_leaves_all_as_it_was(name, threat, net, capsys):
    net.train()
    net.bn.eval()
    net.conv.weight.requires_grad_(False)
    images, labels = right(net)
    labels = labels.where(labels < CLASSES - 1, 0) if name in FAILS_HERE else labels
    net.conv.bias.grad = torch.ones_like(net.conv.bias)
    before = images.clone(), labels.clone(), copy.deepcopy(net.state_dict())
    net.forwards = net.backwards = 0
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    attack = TorchAttack(threat, name, **SMALL.get(name, {}))
    result = attack.run(net, images, labels, seed=5)
    assert (result.forwards, result.backwards) == (net.forwards, net.backwards)
    assert threat.allows(result.images, images).all()
    assert result.images.dtype == images.dtype
    assert not result.images.requires_grad
    assert torch.equal(attack.run(net, images, labels, seed=5).images, result.images)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert images.grad is None
    assert all(torch.equal(value, before[2][key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == [True, True, False, True, True]
    assert [p.requires_grad for p in net.parameters()] == [False, *[True] * 5]
    assert torch.equal(net.conv.bias.grad, torch.ones_like(net.conv.bias))
    assert all(p.grad is None for p in net.parameters() if p is not net.conv.bias)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["FAB", "DeepFool", "CW", "JSMA"])  # these call backward
def test_a_net_hidden_in_a_function_gets_no_gradients(name, net, capsys):
    images, labels = right(net)
    labels = labels.where(labels < CLASSES - 1, 0)
    result = TorchAttack(THREAT, name, **SMALL.get(name, {})).run(lambda x: net(x), images, labels)
    assert result.backwards > 0
    assert all(p.grad is None for p in net.parameters())
    assert capsys.readouterr().out == ""


def test_verbose_attacks_print_nothing(net, capsys):
    TorchAttack(THREAT, "APGD", verbose=True, steps=2)(net, *right(net))
    fab_attack = TorchAttack(THREAT, "FAB", verbose=True, steps=2)
    fab_attack(net, *right(net))
    assert capsys.readouterr() == ("", "")


def test_another_seed_gives_other_images(net):
    attack, batch = TorchAttack(THREAT, "PGD", steps=1), right(net)
    assert not torch.equal(attack(net, *batch, seed=1), attack(net, *batch, seed=2))


@pytest.mark.parametrize("name", ["APGD", "Square", "PGD"])
def test_blocks_are_seeded_by_the_id_of_their_first_sample(name, net):
    images, labels = right(net, 5)
    ids = torch.tensor([7, 3, 11, 2, 5])
    attack = TorchAttack(THREAT, name, **SMALL.get(name, {}))
    whole = attack.run(net, images, labels, sample_ids=ids, seed=1, block=2)
    for rows in ([0, 1], [2, 3], [4]):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=1)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.broken, whole.broken[rows])
    alone = attack.run(net, images[2:4], labels[2:4], sample_ids=ids[:2], seed=1)
    assert not torch.equal(alone.images, whole.images[2:4])


def test_at_most_a_block_goes_through_the_net(net):
    sizes, batch = [], right(net, 5)
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    result = TorchAttack(THREAT, "PGD", steps=2).run(net, *batch, block=2)
    assert max(sizes) == 2
    assert result.forwards == sum(sizes)


def test_stopping_changes_nothing(net):
    attack, batch = TorchAttack(THREAT, "PGD", steps=3), right(net)
    on, off = (attack.run(net, *batch, stop_when_broken=stop) for stop in (True, False))
    assert torch.equal(on.images, off.images)
    assert torch.equal(on.broken, off.broken)


def test_images_without_a_verdict_are_the_same_and_cost_a_pass_less(net):
    attack, batch = TorchAttack(THREAT, "PGD", steps=3), right(net)
    judged, plain = (attack.run(net, *batch, verdict=verdict) for verdict in (True, False))
    assert torch.equal(judged.images, plain.images)
    assert plain.broken is None
    assert judged.forwards - plain.forwards == len(batch[0])


def test_what_lies_outside_does_not_count(net):
    images, labels = right(net)
    attack = TorchAttack(TINY, "CW", c=10, steps=50, lr=0.05)
    free = torchattacks.CW(net, c=10, steps=50, lr=0.05)(images, labels)
    outside = ~TINY.allows(free, images)
    assert misclassified(net(free), labels)[outside].any()
    result = attack.run(net, images, labels)
    assert result.outside == int(outside.sum())
    assert not result.broken[outside].any()
    assert torch.equal(result.images[outside], images[outside])
    assert torch.equal(result.images[~outside], free[~outside])


STRAY = {
    "far": lambda x: x + 3.0,
    "opposite": lambda x: 1.0 - x,
    "nan": lambda x: x * float("nan"),
    "one nan": lambda x: x.index_fill(3, torch.tensor([2]), float("nan")),
    "infinite": lambda x: x / 0.0,
    "in the ball, not in the box": lambda x: x - 0.03,
}


@pytest.mark.parametrize("case", STRAY)
def test_stray_images_are_counted_and_put_back(case, net, fake):
    images, labels = right(net)
    images[:, 0, 0, 0] = 0.0
    labels = net(images).argmax(1)
    result = fake(lambda attack, x: STRAY[case](x)).run(net, images, labels)
    assert result.outside == len(images)
    assert not result.broken.any()
    assert torch.equal(result.images, images)


def test_each_sample_is_judged_by_itself(net, fake):
    images, labels = right(net)

    def stray(attack, x):
        x[1] = float("nan")  # in place: a copy is handed over
        x[2] += 1
        return x

    result = fake(stray).run(net, images, torch.cat([labels[:3], (labels[3:] + 1) % CLASSES]))
    assert result.outside == 2
    assert result.broken.tolist() == [False, False, False, True]
    assert not images.isnan().any()


def test_an_image_that_is_misclassified_anyway_is_broken_when_the_attack_strays(net, fake):
    images, labels = right(net)
    result = fake(lambda attack, x: x + 3.0).run(net, images, (labels + 1) % CLASSES)
    assert result.broken.all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, x: x[:1], r"Fake gave shape \(1, 3, 8, 8\) for images of shape \(4, 3, 8, 8\)"),
        (lambda a, x: x.flatten(1), r"Fake gave shape \(4, 192\) for images"),
        (lambda a, x: (x, x), r"Fake gave a tuple for images of shape"),
        (lambda a, x: x.missing, r"torchattacks.Fake failed: 'Tensor' object has no attribute 'missing'$"),
        (lambda a, x: a.get_logits(x[:, :1]), r"torchattacks.Fake failed: .*channels"),
        (lambda a, x: [][1], r"torchattacks.Fake failed: list index out of range$"),
    ],
)
def test_an_attack_that_fails_is_refused_in_words(make, message, net, fake):
    with pytest.raises(InputError, match=message):
        fake(make).run(net, *right(net))


def test_errors_of_the_net_are_the_nets_own(net):
    batch = right(net)

    def broken(images: Tensor) -> Tensor:
        if images.requires_grad:
            raise ZeroDivisionError("the net broke down")
        return net(images)

    with pytest.raises(ZeroDivisionError, match="the net broke down"):
        TorchAttack(THREAT, "PGD").run(broken, *batch)


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.zeros_like(z).requires_grad_()])
def test_a_net_without_gradients_is_refused_in_words(cut, net):
    images, _ = right(net)
    labels = cut(net(images)).argmax(1)
    for name in ("PGD", "FAB", "CW"):
        with pytest.raises(InputError) as raised:
            TorchAttack(THREAT, name).run(lambda x: cut(net(x)), images, labels)
        assert str(raised.value) == NO_GRADIENT
    TorchAttack(THREAT, "Square", n_queries=3).run(lambda x: cut(net(x)), images, labels)


@pytest.mark.parametrize("name", ["FAB", "TIFGSM"])
def test_attacks_of_float32_say_so_in_float64(name, net):
    net = net.double()
    with pytest.raises(InputError, match=rf"torchattacks.{name} failed: .*\(the images are torch.float64.*"):
        TorchAttack(THREAT, name).run(net, *right(net, dtype=torch.float64))


def test_input_is_checked_before_the_attack(net):
    images, labels = right(net)
    attack = TorchAttack(THREAT, "PGD", steps=1)
    with pytest.raises(InputError, match=r"labels lie in .* but the net has 5 classes"):
        attack.run(net, images, labels + CLASSES)
    with pytest.raises(InputError, match=r"torchattacks.PGD has a start of its own: leave out start"):
        attack.run(net, images, labels, start=images)
    with pytest.raises(InputError, match=r"logits that are no numbers \(NaN\)"):
        attack.run(lambda x: net(x) * float("nan"), images, labels)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_the_images_does_not_matter(layout, net):
    images, labels = right(net)
    for name, threat in (("PGDL2", L2), ("Square", THREAT), ("FAB", THREAT)):
        attack = TorchAttack(threat, name, **SMALL.get(name, {}))
        found = attack(net, images.contiguous(memory_format=layout), labels)
        torch.testing.assert_close(found, attack(net, images, labels))


def test_half_precision_logits_and_no_grad_are_fine(net):
    images, labels = right(net)
    with torch.no_grad():
        result = TorchAttack(THREAT, "APGD").run(lambda x: net(x).bfloat16(), images, labels)
    assert result.backwards > 0


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("n", [1, 3])
def test_fab_t_works_on_few_classes_single_images_and_wrong_ones(norm, classes, n):
    net = Net(classes).eval()
    images, labels = right(net, n)
    attack = fab_t(ThreatModel(norm, 0.3 if norm == "Linf" else 3.0), steps=5)
    result = attack.run(net, images, labels)
    assert result.broken.all()
    wrong = attack.run(net, images, (labels + 1) % classes)
    assert wrong.broken.all()
    assert wrong.backwards == 0
    assert torch.equal(wrong.images, images)
    mixed = torch.cat([labels[:1], (labels[1:] + 1) % classes])
    assert attack.run(net, images, mixed, block=1).broken.all()


def test_fab_t_has_nine_targets_where_there_are_as_many():
    for classes, targets in ((3, 2), (10, 9), (12, 9)):
        net = Net(classes).eval()
        images, labels = right(net, 1)
        result = fab_t(ThreatModel("Linf", 1e-6), steps=2).run(net, images, labels)  # breaks nothing
        assert result.backwards == 2 * targets


def test_what_is_known_is_filled_in_and_what_is_given_stays(net, monkeypatch):
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
    assert seen == {
        "eps": 0.8,
        "max_epsilon": 0.8,
        "norm": "L2",
        "n_classes": CLASSES,
        "alpha": 0.5,
        "beta": 2,
    }
    TorchAttack(L2, "Fake", eps=0.3, norm="Linf", n_classes=3, seed=11)(net, *right(net))
    assert (seen["eps"], seen["norm"], seen["n_classes"], seen["seed"]) == (0.3, "Linf", 3, 11)


def test_settings_are_what_was_given():
    attack = TorchAttack(THREAT, "CW", c=2, steps=5)
    assert attack.settings == {"name": "CW", "c": 2, "steps": 5}
    assert repr(attack) == f"TorchAttack({THREAT}, name='CW', c=2, steps=5)"
    assert fab_t(THREAT).settings["steps"] == 100


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cw", {}, r"torchattacks has no attack 'cw': did you mean 'CW'\? known: APGD, .*VNIFGSM$"),
        ("Attack", {}, "torchattacks has no attack 'Attack'"),
        ("attack", {}, "torchattacks has no attack 'attack'"),
        (
            "PGD",
            {"step": 3},
            r"no argument 'step': did you mean 'steps'.* its arguments: eps, alpha, steps, r",
        ),
        ("PGD", {"model": None}, "no argument 'model'"),
        ("VANILA", {"q": 1}, "no argument 'q': its arguments: none"),
        ("PGD", {"steps": "x"}, "expects steps to be int or float, like its default 10, got 'x'"),
        ("PGD", {"random_start": 1}, "expects random_start to be bool, like its default True, got 1"),
        ("AutoAttack", {"version": "x"}, r"AutoAttack refuses its arguments: Not valid version"),
        ("MultiAttack", {}, "torchattacks.MultiAttack needs attacks, which no setting can say"),
        ("LGV", {}, "torchattacks.LGV needs trainloader, which no setting can say"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        TorchAttack(THREAT, name, **arguments)


def test_other_bounds_and_steps_are_refused():
    with pytest.raises(ValueError, match=r"within \[0, 1\] only, the bounds are \[-1, 1\]"):
        TorchAttack(ThreatModel("Linf", 0.1, (-1.0, 1.0)), "PGD")
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        fab_t(THREAT, steps=0)


def test_attacks_are_imported_without_torchattacks():
    code = "import sys, attacks.adapter; assert not {'torchattacks', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
