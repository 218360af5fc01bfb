"""Robust accuracy by each library, to be measured in a process of the library's own.

The others are used as their documentation says: the network as it is, in batches, all samples to the end.
Ours folds BatchNorm, keeps images channels last, lets broken samples leave where only verdicts are needed,
and keeps freed memory, as its command line does.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attack_verdicts import BATCH, EPS, RESTARTS, STEP, STEPS, THREAT, fold_channels_last
from benchmarks.measuring import PassCounter, peak_memory
from robust_tickets.attacks import FGSM, PGD, Attack, RunOptions, autoattack
from robust_tickets.base.memory import keep_freed_memory
from robust_tickets.data import load
from robust_tickets.data.dataset import Split
from robust_tickets.recipe.fields import Data
from robust_tickets.training.checkpoint import Checkpoint

FGSM_ACCURACY = "FGSM, accuracy"
PGD_IMAGES = f"PGD-{STEPS}, images"
PGD_ACCURACY = f"PGD-{STEPS}, accuracy"
RESTARTED = f"PGD-{STEPS}, {RESTARTS} restarts, accuracy"
AUTOATTACK = "AutoAttack, accuracy"

Measurement = dict[str, Any]
Images = Callable[[Tensor, Tensor], Tensor]


def prepare(library: str, threads: int) -> None:
    """Set up a process in which one library is measured."""
    warnings.filterwarnings("ignore", module="torchattacks")
    torch.set_num_threads(threads)
    if library == "ours":
        keep_freed_memory()


def measure(library: str, attack: str, checkpoint: Path, images: int, root: Path | None) -> Measurement:
    """Run one attack on the first test images: its seconds, accuracy and passes."""
    case = load_case(checkpoint, images, root)
    begin = time.perf_counter()
    measurement = WAYS[attack][library](case)
    return {"seconds": round(time.perf_counter() - begin, 4), **measurement}


def peak(library: str, checkpoint: Path, images: int, root: Path | None) -> float:
    """MiB at the peak of PGD, beyond network and images."""
    case = load_case(checkpoint, images, root)
    return peak_memory(lambda: WAYS[PGD_ACCURACY][library](case))


@lru_cache(maxsize=2)
def load_case(checkpoint: Path, images: int, root: Path | None) -> "Case":
    """A trained network and the first test images, balanced over the classes."""
    part = test_set(root).first(images)
    return Case(Checkpoint.load(checkpoint).net().eval(), part.images.float() / 255, part.labels)


def net_name(checkpoint: Path) -> str:
    """The name of a trained network in the tables."""
    model = Checkpoint.load(checkpoint).model
    return f"{model.name} x{model.width:g}"


@lru_cache(maxsize=1)
def test_set(root: Path | None) -> Split:
    """CIFAR-10's test images."""
    return load.load(Data("cifar10", root=root)).test


@dataclass(frozen=True)
class Case:
    """A network and images, with a method for each kind of library."""

    net: nn.Module
    images: Tensor
    labels: Tensor

    def ours(self, attack: Attack) -> Measurement:
        """Robust accuracy under an attack of ours; broken samples leave."""
        robust, forwards, backwards = self.robust(attack)
        return {"accuracy": float(robust.double().mean()), "forwards": forwards, "backwards": backwards}

    def robust(self, attack: Attack) -> tuple[Tensor, int, int]:
        """Which samples are robust to an attack of ours, bool (N,), and the forward and backward passes."""
        net, images = fold_channels_last(self.net), self.images.to(memory_format=torch.channels_last)
        with torch.no_grad():
            robust = net(images).argmax(1) == self.labels
        forwards, backwards = len(images), 0
        options = RunOptions(stop_when_broken=True, block=BATCH)
        for rows in robust.nonzero()[:, 0].split(2 * BATCH):
            result = attack.run(
                net, images[rows], self.labels[rows], sample_ids=rows, seed=0, options=options
            )
            assert result.broken is not None
            robust[rows] = ~result.broken
            forwards, backwards = forwards + result.forwards, backwards + result.backwards
        return robust, forwards, backwards

    def our_images(self, attack: Attack) -> Measurement:
        """Adversarial images of all samples, as training needs them, without verdicts."""
        net, images = fold_channels_last(self.net), self.images.to(memory_format=torch.channels_last)
        forwards = backwards = 0
        options = RunOptions(verdict=False)
        for rows in torch.arange(len(images)).split(BATCH):
            result = attack.run(
                net, images[rows], self.labels[rows], sample_ids=rows, seed=0, options=options
            )
            forwards, backwards = forwards + result.forwards, backwards + result.backwards
        return {"forwards": forwards, "backwards": backwards}

    def theirs(
        self, make: Callable[[nn.Module], Images], restarts: int = 1, *, verdict: bool = True
    ) -> Measurement:
        """The same with another library's attack, which gives images: all samples, batch by batch."""
        torch.manual_seed(0)
        counter = PassCounter(self.net.to(memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]
        attack = make(counter)
        verdicts = []
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            robust = torch.ones(len(labels), dtype=torch.bool)
            for _ in range(restarts):
                adversarial = attack(images, labels)
                if verdict:
                    with torch.no_grad():
                        robust &= counter(adversarial).argmax(1) == labels
            verdicts.append(robust)
        forwards, backwards = counter.take()
        accuracy = {"accuracy": float(torch.cat(verdicts).double().mean())} if verdict else {}
        return {**accuracy, "forwards": forwards, "backwards": backwards}


def torchattacks_attack(name: str, **settings: Any) -> Callable[[nn.Module], Images]:
    """The builder of an attack of torchattacks on a network."""
    import torchattacks

    return lambda net: getattr(torchattacks, name)(net, eps=EPS, **settings)


def torchattacks_autoattack(net: nn.Module) -> Images:
    """The standard set at its published length: torchattacks.AutoAttack takes 10 steps instead of 100."""
    import torchattacks

    common: dict[str, Any] = {"eps": EPS, "steps": 100, "seed": 0}
    members = [
        torchattacks.APGD(net, loss="ce", n_restarts=1, **common),
        torchattacks.APGDT(net, n_classes=10, n_restarts=1, **common),
        torchattacks.FAB(net, multi_targeted=True, n_classes=10, n_restarts=1, **common),
        torchattacks.Square(net, eps=EPS, n_queries=5000, n_restarts=1, seed=0, resc_schedule=False),
    ]
    return torchattacks.MultiAttack(members)  # type: ignore[no-any-return]


def foolbox_attack(make: Callable[[Any], Any]) -> Callable[[nn.Module], Images]:
    """The builder of an attack of foolbox on a network."""
    import foolbox

    def build(net: nn.Module) -> Images:
        model, attack = foolbox.PyTorchModel(net, bounds=(0, 1)), make(foolbox.attacks)
        return lambda images, labels: attack(model, images, labels, epsilons=EPS)[1]

    return build


def foolbox_pgd(attacks: Any) -> Any:
    """PGD-20 from a random start."""
    return attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)


_PGD = PGD(THREAT, steps=STEPS, step_size=STEP)
_TORCHATTACKS = torchattacks_attack("PGD", alpha=STEP, steps=STEPS)
_FOOLBOX = foolbox_attack(foolbox_pgd)

WAYS: dict[str, dict[str, Callable[[Case], Measurement]]] = {
    FGSM_ACCURACY: {
        "ours": partial(Case.ours, attack=FGSM(THREAT)),
        "torchattacks": partial(Case.theirs, make=torchattacks_attack("FGSM")),
        "foolbox": partial(
            Case.theirs, make=foolbox_attack(lambda attacks: attacks.LinfFastGradientAttack())
        ),
    },
    PGD_IMAGES: {
        "ours": partial(Case.our_images, attack=_PGD),
        "torchattacks": partial(Case.theirs, make=_TORCHATTACKS, verdict=False),
        "foolbox": partial(Case.theirs, make=_FOOLBOX, verdict=False),
    },
    PGD_ACCURACY: {
        "ours": partial(Case.ours, attack=_PGD),
        "torchattacks": partial(Case.theirs, make=_TORCHATTACKS),
        "foolbox": partial(Case.theirs, make=_FOOLBOX),
    },
    RESTARTED: {
        "ours": partial(Case.ours, attack=PGD(THREAT, steps=STEPS, step_size=STEP, restarts=RESTARTS)),
        "torchattacks": partial(Case.theirs, make=_TORCHATTACKS, restarts=RESTARTS),
        "foolbox": partial(Case.theirs, make=foolbox_attack(lambda a: foolbox_pgd(a).repeat(RESTARTS))),
    },
    AUTOATTACK: {
        "ours": partial(Case.ours, attack=autoattack(THREAT)),
        "torchattacks": partial(Case.theirs, make=torchattacks_autoattack),
    },
}
"""Functions from a case to a measurement, by attack and library."""
