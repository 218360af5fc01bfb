"""Accuracy of a net on clean images and under attacks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import FGSM, PGD, Attack, ThreatModel, inspected, misclassified
from robust_tickets.data import Split, floats
from robust_tickets.errors import InputError, unknown
from robust_tickets.ledger import Passes

CLEAN = "clean"

Attacked = Callable[[str, Split, Tensor, Tensor], None]
"""Told of an attack's name, the samples, their attacked images, and bool (N,) which of them broke."""


@dataclass(frozen=True)
class Row:
    """What one attack did: `standing` bool (N,) is True where a sample is right, clean and attacked."""

    attack: str
    standing: Tensor
    seconds: float
    forwards: int
    backwards: int

    @property
    def accuracy(self) -> float:
        """Robust accuracy, a fraction: right on the clean image and at every iterate of the attack."""
        return float(self.standing.double().mean())

    @property
    def passes(self) -> Passes:
        """The passes, as a ledger counts them."""
        return Passes(forward=self.forwards, input_backward=self.backwards)


def attack_named(name: str, threat: ThreatModel, rel_step: float) -> Attack | None:
    """The attack called "fgsm" or "pgd-<steps>" (random start, step `rel_step` * eps); None for "clean".

    Raises InputError for any other name.
    """
    if name == CLEAN:
        return None
    if name == "fgsm":
        return FGSM(threat)
    kind, _, steps = name.partition("-")
    if kind == "pgd" and steps.isascii() and steps.isdigit() and int(steps) > 0:
        return PGD(threat, steps=int(steps), step_size=rel_step * threat.eps)
    if kind == "pgd":
        raise InputError(f"attack {name!r} has no number of steps: write pgd-20 for 20 steps")
    raise unknown("attack", name, ["clean", "fgsm", "pgd-10", "pgd-20", "pgd-100"])


def evaluate(
    net: Callable[[Tensor], Tensor],
    split: Split,
    attacks: Sequence[str],
    threat: ThreatModel,
    *,
    rel_step: float,
    batch: int,
    seed: int,
    channels_last: bool,
    advance: Callable[[int, int], None] = lambda samples, passes: None,
    attacked: Attacked | None = None,
) -> list[Row]:
    """Evaluate a net (images in [0, 1] to logits): a row for clean images, then one an attack named.

    A sample that is misclassified, clean or at any iterate, leaves the attack, so that passes fall with
    robust accuracy. Random numbers belong to samples (their ids), so the batch size is a matter of speed.
    `advance` is told of samples and passes as they are done, and `attacked` is given each attack's images:
    its name, the samples, their attacked images, and whether each was broken.
    """
    built = {name: attack_named(name, threat, rel_step) for name in (CLEAN, *attacks)}
    clean = _clean(net, split, batch, channels_last, advance)
    rows = []
    for name, attack in built.items():
        if attack is None:
            rows.append(clean)
            continue
        rows.append(
            _attacked(name, attack, net, split, clean.standing, batch, seed, channels_last, advance, attacked)
        )
    return rows


def worst_case(rows: Sequence[Row]) -> Row:
    """Right on the clean image and under every attack of the rows; costs what they cost together."""
    standing = torch.stack([row.standing for row in rows]).all(0)
    seconds = sum(row.seconds for row in rows)
    name = f"worst-case({' '.join(row.attack for row in rows)})"
    return Row(name, standing, seconds, sum(r.forwards for r in rows), sum(r.backwards for r in rows))


def _clean(
    net: Callable[[Tensor], Tensor],
    split: Split,
    batch: int,
    channels_last: bool,
    advance: Callable[[int, int], None],
) -> Row:
    begin = time.perf_counter()
    right = []
    with torch.no_grad(), inspected(net):
        for rows in torch.split(torch.arange(len(split)), batch):
            part = split.take(rows)
            right.append(~misclassified(net(floats(part.images, channels_last)), part.labels))
            advance(len(part), len(part))
    standing = torch.cat(right).cpu()  # waits for the device, so the time is whole
    return Row(CLEAN, standing, time.perf_counter() - begin, len(split), 0)


def _attacked(
    name: str,
    attack: Attack,
    net: Callable[[Tensor], Tensor],
    split: Split,
    right: Tensor,
    batch: int,
    seed: int,
    channels_last: bool,
    advance: Callable[[int, int], None],
    attacked: Attacked | None,
) -> Row:
    begin = time.perf_counter()
    standing = right.clone()
    forwards = backwards = 0
    advance(int((~right).sum()), 0)
    for rows in torch.split(right.nonzero()[:, 0], batch):
        if len(rows) == 0:  # splitting nothing gives one empty part
            break
        part = split.take(rows)
        result = attack.run(
            net,
            floats(part.images, channels_last),
            part.labels,
            sample_ids=part.ids,
            seed=seed,
            stop_when_broken=True,
        )
        assert result.broken is not None
        standing[rows] = ~result.broken.cpu()
        if attacked is not None:
            attacked(name, part, result.images.cpu(), result.broken.cpu())
        forwards += result.forwards
        backwards += result.backwards
        advance(len(part), result.forwards + result.backwards)
    return Row(name, standing, time.perf_counter() - begin, forwards, backwards)
