"""Each library's way to robust accuracy, as measured in a process of the library's own.

The others are used as their documentation has it: the net as it is, in batches, all samples to the end. Ours
folds BatchNorm, keeps images channels last, lets broken samples leave where a verdict is all that is asked
for, and, as its command line does, keeps freed memory.
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

from attacks import FGSM, PGD, Attack, autoattack
from benchmarks.attack_verdicts import BATCH, EPS, RESTARTS, STEP, STEPS, THREAT, ready
from benchmarks.measuring import Counted, peak_memory
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

Found = dict[str, Any]
Images = Callable[[Tensor, Tensor], Tensor]


def prepare(library: str, threads: int) -> None:
    """Begin a process in which one library is measured."""
    warnings.filterwarnings("ignore", module="torchattacks")
    torch.set_num_threads(threads)
    if library == "ours":
        keep_freed_memory()


def measured(library: str, attack: str, checkpoint: Path, images: int, root: Path | None) -> Found:
    """What one attack finds on the first test images, with the seconds that it took."""
    case = case_of(checkpoint, images, root)
    begin = time.perf_counter()
    found = WAYS[attack][library](case)
    return {"seconds": round(time.perf_counter() - begin, 4), **found}


def peak(library: str, checkpoint: Path, images: int, root: Path | None) -> float:
    """MiB at the peak of PGD beyond net and images."""
    case = case_of(checkpoint, images, root)
    return peak_memory(lambda: WAYS[PGD_ACCURACY][library](case))


@lru_cache(maxsize=2)
def case_of(checkpoint: Path, images: int, root: Path | None) -> "Case":
    """A trained net and the first test images, balanced over the classes."""
    part = test_set(root).first(images)
    return Case(Checkpoint.load(checkpoint).net().eval(), part.images.float() / 255, part.labels)


def name_of(checkpoint: Path) -> str:
    """A trained net's name in the tables."""
    model = Checkpoint.load(checkpoint).model
    return f"{model.name} x{model.width:g}"


@lru_cache(maxsize=1)
def test_set(root: Path | None) -> Split:
    """CIFAR-10's."""
    return load.load(Data("cifar10", root=root)).test


@dataclass(frozen=True)
class Case:
    """A net and images, and each library's way to robust accuracy."""

    net: nn.Module
    images: Tensor
    labels: Tensor

    def ours(self, attack: Attack) -> Found:
        """The share that stands: a broken sample leaves."""
        stands, forwards, backwards = self.standing(attack)
        return {"accuracy": float(stands.double().mean()), "forwards": forwards, "backwards": backwards}

    def standing(self, attack: Attack) -> tuple[Tensor, int, int]:
        """Which samples stand against an attack of ours, bool (N,), with the passes forward and back."""
        net, images = ready(self.net), self.images.to(memory_format=torch.channels_last)
        with torch.no_grad():
            stands = net(images).argmax(1) == self.labels
        forwards, backwards = len(images), 0
        for rows in stands.nonzero()[:, 0].split(2 * BATCH):
            result = attack.run(
                net, images[rows], self.labels[rows], sample_ids=rows, stop_when_broken=True, block=BATCH
            )
            assert result.broken is not None
            stands[rows] = ~result.broken
            forwards, backwards = forwards + result.forwards, backwards + result.backwards
        return stands, forwards, backwards

    def ours_for_images(self, attack: Attack) -> Found:
        """Images of all samples, as training wants them, without a verdict."""
        net, images = ready(self.net), self.images.to(memory_format=torch.channels_last)
        forwards = backwards = 0
        for rows in torch.arange(len(images)).split(BATCH):
            result = attack.run(net, images[rows], self.labels[rows], sample_ids=rows, verdict=False)
            forwards, backwards = forwards + result.forwards, backwards + result.backwards
        return {"forwards": forwards, "backwards": backwards}

    def theirs(
        self,
        make: Callable[[nn.Module], Images],
        times: int = 1,
        *,
        judge: bool = True,
    ) -> Found:
        """The same with an attack that gives images: all samples, batch by batch, as often as restarts."""
        torch.manual_seed(0)
        counted = Counted(self.net.to(memory_format=torch.contiguous_format)).eval()  # type: ignore[call-overload]
        attack = make(counted)
        standing = []
        for images, labels in zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True):
            stands = torch.ones(len(labels), dtype=torch.bool)
            for _ in range(times):
                attacked = attack(images, labels)
                if judge:
                    with torch.no_grad():
                        stands &= counted(attacked).argmax(1) == labels
            standing.append(stands)
        forwards, backwards = counted.take()
        found: Found = {"forwards": forwards, "backwards": backwards}
        if judge:
            found = {"accuracy": float(torch.cat(standing).double().mean()), **found}
        return found


def of_torchattacks(name: str, **settings: Any) -> Callable[[nn.Module], Images]:
    """An attack of torchattacks on a net."""
    import torchattacks

    return lambda net: getattr(torchattacks, name)(net, eps=EPS, **settings)


def autoattack_of_torchattacks(net: nn.Module) -> Images:
    """The standard set at its published length: torchattacks.AutoAttack takes 10 steps instead of 100."""
    import torchattacks

    known: dict[str, Any] = {"eps": EPS, "steps": 100, "seed": 0}
    members = [
        torchattacks.APGD(net, loss="ce", n_restarts=1, **known),
        torchattacks.APGDT(net, n_classes=10, n_restarts=1, **known),
        torchattacks.FAB(net, multi_targeted=True, n_classes=10, n_restarts=1, **known),
        torchattacks.Square(net, eps=EPS, n_queries=5000, n_restarts=1, seed=0, resc_schedule=False),
    ]
    return torchattacks.MultiAttack(members)  # type: ignore[no-any-return]


def of_foolbox(make: Callable[[Any], Any]) -> Callable[[nn.Module], Images]:
    """An attack of foolbox on a net."""
    import foolbox

    def on(net: nn.Module) -> Images:
        model, attack = foolbox.PyTorchModel(net, bounds=(0, 1)), make(foolbox.attacks)
        return lambda images, labels: attack(model, images, labels, epsilons=EPS)[1]

    return on


def pgd_of_foolbox(attacks: Any) -> Any:
    """PGD-20 from a random start."""
    return attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)


_PGD = PGD(THREAT, steps=STEPS, step_size=STEP)
_THEIRS = of_torchattacks("PGD", alpha=STEP, steps=STEPS)
_FOOLBOX = of_foolbox(pgd_of_foolbox)

WAYS: dict[str, dict[str, Callable[[Case], Found]]] = {
    FGSM_ACCURACY: {
        "ours": partial(Case.ours, attack=FGSM(THREAT)),
        "torchattacks": partial(Case.theirs, make=of_torchattacks("FGSM")),
        "foolbox": partial(Case.theirs, make=of_foolbox(lambda attacks: attacks.LinfFastGradientAttack())),
    },
    PGD_IMAGES: {
        "ours": partial(Case.ours_for_images, attack=_PGD),
        "torchattacks": partial(Case.theirs, make=_THEIRS, judge=False),
        "foolbox": partial(Case.theirs, make=_FOOLBOX, judge=False),
    },
    PGD_ACCURACY: {
        "ours": partial(Case.ours, attack=_PGD),
        "torchattacks": partial(Case.theirs, make=_THEIRS),
        "foolbox": partial(Case.theirs, make=_FOOLBOX),
    },
    RESTARTED: {
        "ours": partial(Case.ours, attack=PGD(THREAT, steps=STEPS, step_size=STEP, restarts=RESTARTS)),
        "torchattacks": partial(Case.theirs, make=_THEIRS, times=RESTARTS),
        "foolbox": partial(Case.theirs, make=of_foolbox(lambda a: pgd_of_foolbox(a).repeat(RESTARTS))),
    },
    AUTOATTACK: {
        "ours": partial(Case.ours, attack=autoattack(THREAT)),
        "torchattacks": partial(Case.theirs, make=autoattack_of_torchattacks),
    },
}
"""What is measured, by attack and library."""
