"""Auto-PGD and Square against pyautoattack, an implementation of their authors: `make oracle` installs it.

The net is trained adversarially on digits first. Both sides draw their own random numbers, so the law is
about robust accuracy: within one point on 500 images.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robust_tickets.attacks import APGD, APGDTargeted, Attack, RunOptions, Square, ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.data import load as loading
from robust_tickets.models.registry import build
from robust_tickets.recipe.fields import Data, Evaluate
from robust_tickets.recipe.recipe import load
from robust_tickets.stages.specs import model_spec
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit

pytest.importorskip("pyautoattack", reason="make oracle installs it")

N, EPS = 500, {"Linf": 0.15, "L2": 0.6}
OURS = {
    "apgd-ce": lambda threat: APGD(threat),
    "apgd-dlr": lambda threat: APGD(threat, loss="dlr"),
    "apgd-t": lambda threat: APGDTargeted(threat),
    "square": lambda threat: Square(threat, queries=1000),
}


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that is robust on some of the images and not on others."""
    recipe = load("demo")
    images = loading.load(Data("digits", val_images=180))
    torch.set_num_threads(1)
    settings = replace(recipe.train, epochs=4)
    threat = ThreatModel("Linf", 0.1)
    net = build(model_spec(replace(recipe, model=replace(recipe.model, width=0.5)), images.spec), seed=0)
    ledger = Ledger("train")
    with ledger.measure():
        how = TrainingConfig(
            settings, 4 * (len(images.train) // 64), threat, Evaluate(val_steps=1), recipe.compute, 0
        )
        fit(net, None, images, how, Session(ledger))
    pixels = torch.cat([images.test.images, images.train.images])[:N].float() / 255
    return net.eval(), pixels, torch.cat([images.test.labels, images.train.labels])[:N]


def robust_accuracy(attack: Attack, net: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        right = net(images).argmax(1) == labels
    broken = attack.run(net, images, labels, options=RunOptions(stop_when_broken=True, block=250)).broken
    return float((right & ~broken).double().mean())


def anywhere(low: int = 0, high: int = 1, shape: tuple[int, ...] = (1,)) -> Tensor:
    """Places for squares: theirs never reach the last, and 5 to 7 points more of 8 x 8 images are robust."""
    return torch.randint(low, high + 1, shape)


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("name", OURS)
def test_robust_accuracy_is_theirs_within_a_point(name, norm, digits):
    from pyautoattack import AutoAttack

    net, images, labels = digits
    theirs = AutoAttack(net, attacks=[name], version="custom", norm=norm, eps=EPS[norm], seed=0)
    theirs.apgd.n_restarts = 1
    theirs.square.n_queries = 1000
    theirs.square.random_int = anywhere
    attacked, _ = theirs.run_standard_evaluation(images, labels, batch_size=250)
    with torch.no_grad():
        expected = float((net(attacked).argmax(1) == labels).double().mean())
    ours = robust_accuracy(OURS[name](ThreatModel(norm, EPS[norm])), net, images, labels)
    assert 0.1 < expected < 0.9
    assert abs(ours - expected) <= 0.01, f"ours {ours:.3f}, theirs {expected:.3f}"
