"""Accuracy of a net on clean images and under attacks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks import Attack, AttackResult, Bookmark, Ensemble, ThreatModel, inspected, misclassified
from attacks.blocks import Blocks, Net
from attacks.bookmark import State
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.attack_sets import CLEAN, build_attack, expand_attacks
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.verdict_matrix import BROKEN, ROBUST, VerdictColumn, VerdictMatrix

Attacked = Callable[[str, Split, Tensor, Tensor], None]
"""Told of an attack's name, the samples, their attacked images, and bool (N,) which of them broke."""

Advance = Callable[[int, Passes, Passes], None]
"""Told of samples that are done, and of the passes of the net and of the source that took."""

_CHUNK = 2
"""Batches of samples that are attacked together: as some leave, the others still fill whole blocks."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How images are judged.

    batch: how many go through the net at once. Random numbers belong to samples (their ids) and the seed, so
    that this is a matter of speed and memory alone; but for foreign attacks, which draw theirs by block.
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
    how: EvaluationConfig,
    *,
    source: Net | None = None,
    verdicts: VerdictMatrix | None = None,
    advance: Advance = lambda samples, passes, of_source: None,
    attacked: Attacked | None = None,
    mark: Bookmark | None = None,
) -> Iterator[RobustnessRow]:
    """Evaluate a net (images in [0, 1] to logits): a row for clean images, then one an attack or set named.

    A sample that is misclassified, clean or at any iterate, leaves the attack, so that passes fall with
    robust accuracy. source: another net, on which the attacks run to their end; the net itself sees their
    images alone (a transfer attack; of an ensemble each attack's images in turn). verdicts: where the matrix
    is kept, and what of it is done already. `advance` is told of samples and passes as they are done,
    `attacked` is given the images of each attack. mark: keeps where the evaluation stands within an attack,
    or goes on from where it stood, unless the verdicts know more.

    Raises InputError for an unknown attack before anything is run, and for an attack that
    does not work on the net, or a net that gives NaN.
    """
    built = _built(attacks, how)
    verdicts = VerdictMatrix(split.ids, split.labels) if verdicts is None else verdicts
    mark = mark or Bookmark()
    court = _Court(net, source, split, how, verdicts, advance, attacked, mark)
    with mark.level(verdicts.state) as kept:
        if kept is not None and not verdicts.take(kept):
            mark.forget()
        clean = court.clean()
        yield clean.row()
        for name, attack in built.items():
            if attack is not None:
                members = list(attack.names) if isinstance(attack, Ensemble) else []
                column = verdicts.column(name, _said(attack), members)
                column.verdicts[clean.verdicts == BROKEN] = BROKEN
                try:
                    court.judge(column, attack)
                except InputError as error:
                    raise InputError(f"attack {name}: {error}") from None
                yield column.row()


@dataclass(frozen=True)
class _Court:
    """Where attacks are tried, chunk by chunk of samples: see `evaluate`."""

    net: Net
    source: Net | None
    split: Split
    how: EvaluationConfig
    verdicts: VerdictMatrix
    advance: Advance
    attacked: Attacked | None
    mark: Bookmark

    def clean(self) -> VerdictColumn:
        """The verdicts on images as they are."""
        column = self.verdicts.column(CLEAN)
        for rows, part, images in self._chunks(column):
            begin = time.perf_counter()
            broken, passes = self._look(images, part)
            self._keep(column, rows, broken, begin, passes, Passes())
        return column

    def judge(self, column: VerdictColumn, attack: Attack) -> None:
        """Fill what is open of a column."""
        for rows, part, images in self._chunks(column):
            self._judge(column, attack, rows, part, images)

    def _judge(
        self, column: VerdictColumn, attack: Attack, rows: Tensor, part: Split, images: Tensor
    ) -> None:
        """Fill these rows of a column."""
        begin = time.perf_counter()
        which = {"attack": column.attack, "settings": column.settings}
        with self.mark.level(lambda: {**which, "seconds": time.perf_counter() - begin}) as kept:
            if kept is not None and which.items() <= kept.items():
                begin -= kept["seconds"]
            elif kept is not None:
                self.mark.forget()
            if self.source is None:
                result = self._run(self.net, attack, images, part, stop=True)
                passes, of_source = Passes(result.forwards, result.backwards), Passes()
            else:
                result, of_source = self._transferred(self.source, attack, images, part)
                passes = Passes(result.forwards, result.backwards)
        assert result.broken is not None
        if result.by is not None:
            column.by[rows] = result.by.cpu().to(torch.int8)
        column.outside += result.outside
        self._keep(column, rows, result.broken, begin, passes, of_source)
        if self.attacked is not None:
            self.attacked(column.attack, part, result.images.cpu(), result.broken.cpu())

    def _transferred(
        self, source: Net, attack: Attack, images: Tensor, part: Split
    ) -> tuple[AttackResult, Passes]:
        """Images made on the source, each attack of an ensemble on what stands, with the net's own verdicts
        and passes; and the source's passes.
        """
        members = attack.attacks if isinstance(attack, Ensemble) else (attack,)
        by, made = torch.full_like(part.labels, -1), images.clone()
        number = first = outside = forwards = source_forwards = source_backwards = 0

        def now() -> State:
            return {
                "number": number,
                "by": by,
                "made": made,
                "outside": outside,
                "forwards": forwards,
                "source_forwards": source_forwards,
                "source_backwards": source_backwards,
            }

        with self.mark.level(now) as kept:
            if kept is not None:
                first, by, made, outside, forwards, source_forwards, source_backwards = (
                    kept[name] for name in now()
                )
            for number, member in enumerate(members[first:], first):
                rows = (by < 0).nonzero()[:, 0]
                if len(rows) == 0:
                    break
                result = self._run(source, member, images[rows], part.take(rows), stop=False)
                broken, looked = self._look(result.images, part.take(rows))
                made[rows] = result.images
                by[rows[broken]] = number
                outside += result.outside
                forwards += looked.forward
                source_forwards += result.forwards
                source_backwards += result.backwards
        which = by if isinstance(attack, Ensemble) else None
        of_net = AttackResult(made, by >= 0, forwards, 0, which, outside)
        return of_net, Passes(source_forwards, source_backwards)

    def _chunks(self, column: VerdictColumn) -> Iterator[tuple[Tensor, Split, Tensor]]:
        """The samples without a verdict: their rows, the samples, and their images."""
        todo = column.open
        self.advance(len(self.split) - len(todo), Passes(), Passes())
        for rows in torch.split(todo, _CHUNK * self.how.batch):
            if len(rows) > 0:  # splitting nothing gives one empty part
                self.mark.offer()
                part = self.split.take(rows)
                yield rows, part, to_float(part.images, self.how.channels_last)

    def _look(self, images: Tensor, part: Split) -> tuple[Tensor, Passes]:
        """Which samples the net gets wrong, bool (N,), and what it took."""
        blocks = Blocks(self.net, self.how.batch, part.labels)
        with inspected(self.net):
            return misclassified(blocks.logits(images), part.labels), Passes(blocks.forwards)

    def _run(self, net: Net, attack: Attack, images: Tensor, part: Split, *, stop: bool) -> AttackResult:
        return attack.run(
            net,
            images,
            part.labels,
            sample_ids=part.ids,
            seed=self.how.seed,
            stop_when_broken=stop,
            verdict=stop,
            block=self.how.batch,
            mark=self.mark,
        )

    def _keep(
        self,
        column: VerdictColumn,
        rows: Tensor,
        broken: Tensor,
        begin: float,
        passes: Passes,
        of_source: Passes,
    ) -> None:
        """Note verdicts, seconds and passes; the first waits for the device, so the time is whole."""
        column.verdicts[rows] = torch.where(broken.cpu(), BROKEN, ROBUST).to(torch.int8)
        column.seconds += time.perf_counter() - begin
        column.forwards += passes.forward + of_source.forward
        column.backwards += passes.input_backward + of_source.input_backward
        column.source_forwards += of_source.forward
        column.source_backwards += of_source.input_backward
        self.verdicts.save()
        self.advance(len(rows), passes, of_source)


def _built(names: Sequence[str], how: EvaluationConfig) -> dict[str, Attack | None]:
    """The attacks by name; one that is named in two ways (pgd-20, pgd(steps=20)) is there once."""
    built: dict[str, Attack | None] = {}
    known = set()
    for name in expand_attacks(names):
        attack = build_attack(name, how.threat, how.rel_step)
        key = None if attack is None else (type(attack), _said(attack))
        if key not in known:
            built[name] = attack
        known.add(key)
    return built


def _said(attack: Attack) -> str:
    """An attack's settings in one line."""
    return " ".join(f"{name}={value!r}".replace(" ", "") for name, value in attack.settings.items())
