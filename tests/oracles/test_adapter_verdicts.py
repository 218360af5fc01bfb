"""Verdicts on the images of torchattacks are our own; an attack that cannot work is refused."""

import pytest
import torch
import torchattacks
from third_party_case import CLASSES, THREAT, right, third_party_net
from torch import Tensor, nn
from torchattacks.attack import Attack as Base

from robust_tickets.attacks import InputError, ThreatModel, misclassified
from robust_tickets.attacks.adapter import TorchAttack, fab_t
from robust_tickets.attacks.blocks import NO_GRADIENT

TINY = ThreatModel("Linf", 8 / 255)


@pytest.fixture
def net() -> nn.Sequential:
    return third_party_net()


@pytest.fixture
def fake(monkeypatch):
    """Puts a class into torchattacks that applies a function to the images."""

    def put(make) -> TorchAttack:
        class Fake(Base):
            def __init__(self, model, strength=1.0):
                super().__init__("Fake", model)

            def forward(self, images, labels=None):
                return make(self, images)

        monkeypatch.setattr(torchattacks, "Fake", Fake, raising=False)
        return TorchAttack(TINY, "Fake")

    return put


def test_images_outside_the_ball_do_not_count(net):
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


def test_each_sample_has_its_own_verdict(net, fake):
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


def test_errors_of_the_network_are_its_own(net):
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
def test_attacks_of_float32_name_it_in_float64(name, net):
    net = net.double()
    with pytest.raises(InputError, match=rf"torchattacks.{name} failed: .*\(the images are torch.float64.*"):
        TorchAttack(THREAT, name).run(net, *right(net, dtype=torch.float64))


SETTINGS = {
    r"torchattacks has no attack 'cw': did you mean 'CW'\? known: APGD, .*VNIFGSM$": ("cw", {}),
    "must be text, as 'CW', got 5": (5, {}),
    "no argument 'step': did you mean 'steps'.* its arguments: eps, alpha, steps, r": ("PGD", {"step": 3}),
    "no argument 'model'": ("PGD", {"model": None}),
    "no argument 'q': its arguments: none": ("VANILA", {"q": 1}),
    "expects steps to be int, like its default 10, got 'x'": ("PGD", {"steps": "x"}),
    "expects random_start to be bool, like its default True, got 1": ("PGD", {"random_start": 1}),
    "expects lr to be at least 0, got -1": ("CW", {"lr": -1}),
    "AutoAttack refuses its arguments: Not valid version": ("AutoAttack", {"version": "x"}),
    "torchattacks.LGV needs trainloader, which no setting can give": ("LGV", {}),
}


@pytest.mark.parametrize("message", SETTINGS)
def test_settings_that_make_no_sense_are_refused_in_words(message):
    name, arguments = SETTINGS[message]
    with pytest.raises(ValueError, match=message):
        TorchAttack(THREAT, name, **arguments)


def test_other_bounds_and_steps_are_refused():
    with pytest.raises(ValueError, match=r"within \[0, 1\] only, the bounds are \[-1, 1\]"):
        TorchAttack(ThreatModel("Linf", 0.1, (-1.0, 1.0)), "PGD")
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        fab_t(THREAT, steps=0)
