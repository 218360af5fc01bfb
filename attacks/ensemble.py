"""The worst case over several attacks."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from .adapter import fab_t
from .apgd import APGD, APGDTargeted
from .attack import Attack
from .blocks import Blocks
from .square import Square
from .task import AttackResult, Task
from .threat import ThreatModel


class Ensemble(Attack):
    """Several attacks in turn, each on the samples that are still robust, which costs less than each on all.

    The result's `broken_by` is the attack that broke a sample. A broken sample comes with the image that
    broke it, the others with that of the last attack. A start that `run` is given is every attack's.

    attacks: at least one, all of the same threat model.
    names: one for each attack, no two alike; by default their classes (PGD, PGD-2, ...).

    Raises ValueError for others.

        attack = Ensemble([PGD(threat, steps=100), Square(threat)])
        robust = ~attack.run(net, images, labels).broken
    """

    def __init__(self, attacks: Sequence[Attack], names: Sequence[str] = ()) -> None:
        if not isinstance(attacks, Sequence) or not all(isinstance(attack, Attack) for attack in attacks):
            raise ValueError(f"an ensemble takes a list of attacks, each built by itself, got {attacks!r}")
        if not attacks:
            raise ValueError("an ensemble needs at least one attack")
        if len({attack.threat for attack in attacks}) > 1:
            threats = ", ".join(str(attack.threat) for attack in attacks)
            raise ValueError(f"the attacks of an ensemble need one threat model, got {threats}")
        if isinstance(names, str) or (names and len(names) != len(attacks)):
            raise ValueError(f"expected a list of {len(attacks)} names, got {names!r}")
        names = tuple(names) or _number_repeats([type(attack).__name__ for attack in attacks])
        if len(set(names)) < len(names):
            raise ValueError(f"each attack of an ensemble needs a name of its own, got {', '.join(names)}")
        self.threat = attacks[0].threat
        self.least_classes = max(attack.least_classes for attack in attacks)
        self.attacks = tuple(attacks)
        self.names = tuple(names)

    @property
    def settings(self) -> dict[str, object]:
        """The settings of each attack, by its name."""
        return {name: attack.settings for name, attack in zip(self.names, self.attacks, strict=True)}

    def without_first(self, count: int) -> "Ensemble":
        """The attacks after the first `count`; at least one must be left."""
        return Ensemble(self.attacks[count:], self.names[count:])

    @property
    def is_random(self) -> bool:
        """Whether one of the attacks is."""
        return any(attack.is_random for attack in self.attacks)

    @property
    def passes_per_sample(self) -> int:
        """Those of all attacks together."""
        return sum(attack.passes_per_sample for attack in self.attacks)

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        images = task.images.clone()
        broken_by = torch.full_like(task.labels, -1)
        outside = 0
        # an attack in an ensemble is run for its verdicts, so a broken sample may always leave
        options = replace(task.options, stop_when_broken=True, verdict=True)
        for number, attack in enumerate(self.attacks):
            rows = (broken_by < 0).nonzero()[:, 0]
            if len(rows) == 0:
                break
            result = attack._run(net, replace(task.select(rows), options=options))
            assert result.broken is not None
            images[rows] = result.images
            broken_by[rows] = torch.where(result.broken, number, -1)
            outside += result.outside
        broken = broken_by >= 0 if task.options.verdict else None
        return AttackResult(images, broken, net.forwards, net.backwards, broken_by, outside)


def _number_repeats(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with a number after each that stood before: PGD, PGD-2."""
    repeats = [names[:place].count(name) for place, name in enumerate(names)]
    return tuple(f"{name}-{n + 1}" if n else name for name, n in zip(names, repeats, strict=True))


def apgd_pair(threat: ThreatModel) -> Ensemble:
    """The first two attacks of `autoattack`, which decide nearly all: APGD on cross-entropy, and targeted.

    Built as there, so that `autoattack` has only the other two left to run on what is robust to these.
    Needs 4 classes.
    """
    return Ensemble([APGD(threat), APGDTargeted(threat)], names=("apgd-ce", "apgd-t"))


def autoattack(threat: ThreatModel) -> Ensemble:
    """The standard set of AutoAttack (Croce & Hein 2020, section 5), the yardstick of robustness.

    APGD on cross-entropy and on the targeted DLR loss (9 targets), both of 100 steps, FAB-T of 100 steps
    (torchattacks') and Square of 5,000 queries. Needs 4 classes.
    """
    pair = apgd_pair(threat)
    return Ensemble([*pair.attacks, fab_t(threat), Square(threat)], names=(*pair.names, "fab-t", "square"))
