"""Accuracy of a net on clean images and under attacks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import Attack, Ensemble, ThreatModel, inspected, misclassified
from attacks.blocks import Blocks, Net
from robust_tickets.data import Split, floats
from robust_tickets.evaluation.named import CLEAN, attack_named, attacks_named
from robust_tickets.evaluation.rows import Row
from robust_tickets.evaluation.verdicts import FELL, STANDS, Column, Verdicts
from robust_tickets.ledger import Passes

Attacked = Callable[[str, Split, Tensor, Tensor], None]
"""Told of an attack's name, the samples, their attacked images, and bool (N,) which of them broke."""

_CHUNK = 2
"""Batches of samples that are attacked together: as some leave, the others still fill whole blocks."""


@dataclass(frozen=True)
class Judging:
    """How images are judged.

    batch: how many go through the net at once. Random numbers belong to samples (their ids) and the seed, so
    that this is a matter of speed and memory alone.
    """

    threat: ThreatModel
    rel_step: float = 0.25
    batch: int = 250
    seed: int = 0
    channels_last: bool = False


def evaluate(
    net: Net,
    split: Split,
    attacks: Sequence[str],
    how: Judging,
    *,
    source: Net | None = None,
    verdicts: Verdicts | None = None,
    advance: Callable[[int, Passes], None] = lambda samples, passes: None,
    attacked: Attacked | None = None,
) -> Iterator[Row]:
    """Evaluate a net (images in [0, 1] to logits): a row for clean images, then one an attack or set named.

    A sample that is misclassified, clean or at any iterate, leaves the attack, so that passes fall with
    robust accuracy. source: another net, on which the attacks run to their end; the net itself sees their
    images alone (a transfer attack). verdicts: where the matrix is kept, and what of it is done already.
    `advance` is told of samples and passes as they are done, `attacked` is given the images of each attack.

    Raises InputError for an unknown attack before anything is run, and where the net gives NaN.
    """
    names = attacks_named(attacks)
    built = {name: attack_named(name, how.threat, how.rel_step) for name in names}
    verdicts = Verdicts(split.ids, split.labels) if verdicts is None else verdicts
    clean = _clean(net, split, how, verdicts, advance)
    yield clean.row()
    for name, attack in built.items():
        if attack is None:
            continue
        members = list(attack.names) if isinstance(attack, Ensemble) else []
        column = verdicts.column(name, _said(attack), members)
        _judge(column, attack, net, source, split, clean, how, verdicts, advance, attacked)
        yield column.row()


def _clean(
    net: Net, split: Split, how: Judging, verdicts: Verdicts, advance: Callable[[int, Passes], None]
) -> Column:
    column = verdicts.column(CLEAN)
    todo = column.open
    advance(len(split) - len(todo), Passes())
    for rows in torch.split(todo, _CHUNK * how.batch):
        if len(rows) == 0:  # splitting nothing gives one empty part
            break
        begin = time.perf_counter()
        part = split.take(rows)
        blocks = Blocks(net, how.batch, part.labels)
        with inspected(net):
            right = ~misclassified(blocks.logits(floats(part.images, how.channels_last)), part.labels)
        column.verdicts[rows] = right.cpu().to(torch.int8)  # waits for the device, so the time is whole
        column.seconds += time.perf_counter() - begin
        column.forwards += blocks.forwards
        verdicts.save()
        advance(len(rows), Passes(blocks.forwards))
    return column


def _judge(
    column: Column,
    attack: Attack,
    net: Net,
    source: Net | None,
    split: Split,
    clean: Column,
    how: Judging,
    verdicts: Verdicts,
    advance: Callable[[int, Passes], None],
    attacked: Attacked | None,
) -> None:
    """Fill what is open of a column, chunk by chunk."""
    column.verdicts[clean.verdicts == FELL] = FELL
    todo = column.open
    advance(len(split) - len(todo), Passes())
    for rows in torch.split(todo, _CHUNK * how.batch):
        if len(rows) == 0:
            break
        begin = time.perf_counter()
        part = split.take(rows)
        images = floats(part.images, how.channels_last)
        result = attack.run(
            net if source is None else source,
            images,
            part.labels,
            sample_ids=part.ids,
            seed=how.seed,
            stop_when_broken=source is None,
            verdict=source is None,
            block=how.batch,
        )
        forwards, broken = result.forwards, result.broken
        if source is not None:
            blocks = Blocks(net, how.batch, part.labels)
            with inspected(net):
                broken = misclassified(blocks.logits(result.images), part.labels)
            forwards += blocks.forwards
        assert broken is not None
        column.verdicts[rows] = torch.where(broken.cpu(), FELL, STANDS).to(torch.int8)
        if result.by is not None and source is None:
            column.by[rows] = result.by.cpu().to(torch.int8)
        column.seconds += time.perf_counter() - begin
        column.forwards += forwards
        column.backwards += result.backwards
        column.outside += result.outside
        if attacked is not None:
            attacked(column.attack, part, result.images.cpu(), broken.cpu())
        verdicts.save()
        advance(len(rows), Passes(forwards, result.backwards))


def _said(attack: Attack) -> str:
    """An attack's settings in one line."""
    return " ".join(f"{name}={value!r}".replace(" ", "") for name, value in attack.settings.items())
