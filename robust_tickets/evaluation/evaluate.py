"""Accuracy of a network on clean images and under attacks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor

from robust_tickets.attacks import (
    Attack,
    AttackResult,
    Ensemble,
    RunOptions,
    ThreatModel,
    eval_mode,
    misclassified,
)
from robust_tickets.attacks.blocks import Blocks
from robust_tickets.attacks.network import Net
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.attack_names import build_attack, expand_attacks
from robust_tickets.evaluation.attack_sets import CLEAN
from robust_tickets.evaluation.chunks import chunk_size
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.verdict_matrix import BROKEN, ROBUST, VerdictColumn, VerdictMatrix

OnImages = Callable[[str, Split, Tensor, Tensor], None]
"""Receives an attack's name, the samples, their adversarial images, and bool (N,) which of them broke."""

ChunkResult = tuple[AttackResult, Passes]
"""What an attack gave on a chunk, and the passes of the source that it took."""

Advance = Callable[[int, Passes, Passes], None]
"""Receives how many samples are done, and the passes of the network and of the source that they took."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How a network is evaluated.

    threat: the ball of all attacks.
    rel_step: step size of PGD as a share of eps, where an attack names none.
    batch: images that go through the network at once. Random numbers belong to samples (their ids) and the
        seed, so this is a matter of speed and memory alone; but third-party attacks draw theirs by block.
    seed: of the attacks' random numbers.
    channels_last: the memory format of the images.
    flops: FLOPs of a forward pass of one image through the attacked network, which chunks depend on where
        verdicts are written (see `chunk_size`); 0: chunks of two batches.
    """

    threat: ThreatModel
    rel_step: float = 0.25
    batch: int = 250
    seed: int = 0
    channels_last: bool = False
    flops: int = 0


def evaluate(
    net: Net,
    split: Split,
    attacks: Sequence[str],
    config: EvaluationConfig,
    *,
    source: Net | None = None,
    verdicts: VerdictMatrix | None = None,
    advance: Advance = lambda samples, passes, of_source: None,
    on_images: OnImages | None = None,
    group: ProcessGroup = ALONE,
) -> Iterator[RobustnessRow]:
    """Evaluate a network: a row for clean images, then one for each attack.

    A sample that is misclassified, clean or at any iterate, leaves the attack, so passes fall with robust
    accuracy.

    net: from images (N, C, H, W) in [0, 1] to logits (N, K).
    split: the samples.
    attacks: names of attacks and of sets of them.
    config: threat model, batch size and so on.
    source: another network, on which the attacks run to their end; `net` itself sees their images alone (a
        transfer attack; of an ensemble each attack's images in turn).
    verdicts: the matrix that is filled, chunk by chunk; what it holds already is not computed again.
    advance: called after each chunk.
    on_images: called with the adversarial images of each chunk.
    group: the processes that share the chunks; each calls this, and gets all rows.

    Raises InputError for an unknown attack before anything is run, for an attack that does not work on the
    network, and for a network that gives NaN.
    """
    by_name = _build_attacks(attacks, config)
    verdicts = VerdictMatrix(split.ids, split.labels) if verdicts is None else verdicts
    loop = _EvaluationLoop(net, source, split, config, verdicts, advance, on_images, group)
    clean = loop.run_clean()
    yield clean.row()
    for name, attack in by_name.items():
        if attack is not None:
            members = list(attack.names) if isinstance(attack, Ensemble) else []
            column = verdicts.column(name, _settings_line(attack), members)
            column.verdicts[clean.verdicts == BROKEN] = BROKEN
            # verdicts that are taken over come without images
            first = verdicts.take_over(column) if on_images is None else 0
            try:
                loop.run_attack(column, attack, first)
            except InputError as error:
                raise InputError(f"attack {name}: {error}") from None
            yield column.row()


def passes_by_row(attacks: Sequence[str], config: EvaluationConfig) -> list[int]:
    """The passes of a sample that nothing breaks, for each row that `evaluate` gives."""
    by_name = _build_attacks(attacks, config)
    return [1, *(attack.passes_per_sample for attack in by_name.values() if attack is not None)]


@dataclass(frozen=True)
class _EvaluationLoop:
    """Runs attacks, chunk by chunk of samples; for its fields see `evaluate`."""

    net: Net
    source: Net | None
    split: Split
    config: EvaluationConfig
    verdicts: VerdictMatrix
    advance: Advance
    on_images: OnImages | None
    group: ProcessGroup

    def run_clean(self) -> VerdictColumn:
        """The column of verdicts on clean images."""

        def classify(images: Tensor, samples: Split) -> ChunkResult:
            broken, passes = self._classify(images, samples)
            return AttackResult(images, broken, passes.forward, 0), Passes()

        column = self.verdicts.column(CLEAN)
        self._run_chunks(column, 1, classify)
        return column

    def run_attack(self, column: VerdictColumn, attack: Attack, first: int = 0) -> None:
        """Fill the open rows of a column; first: the member to begin with, of an ensemble."""
        if isinstance(attack, Ensemble) and first:
            attack = attack.without_first(first)

        def run(images: Tensor, samples: Split) -> ChunkResult:
            if self.source is None:
                result = self._run(self.net, attack, images, samples, stop_when_broken=True)
                source_passes = Passes()
            else:
                result, source_passes = self._transfer(self.source, attack, images, samples)
            if result.broken_by is not None and first:
                by = torch.where(result.broken_by < 0, -1, result.broken_by + first)
                result = replace(result, broken_by=by)
            return result, source_passes

        self._run_chunks(column, attack.passes_per_sample, run, self.on_images)

    def _run_chunks(
        self,
        column: VerdictColumn,
        passes: int,
        run: Callable[[Tensor, Split], ChunkResult],
        on_images: OnImages | None = None,
    ) -> None:
        """Fill the open rows of a column, chunk by chunk; of several processes each takes every n-th."""
        alone = self.group.size == 1
        for turn in zip_longest(*[iter(self._chunks(column, passes))] * self.group.size):
            begin = time.perf_counter()
            rows = turn[self.group.rank]
            answer: ChunkResult | InputError | None = None
            if rows is not None:
                samples = self.split.take(rows)
                try:
                    answer = run(to_float(samples.images, self.config.channels_last), samples)
                except InputError as error:
                    if alone:
                        raise
                    answer = error
            answers = (
                [answer] if alone else self.group.gather_objects(_on_host(answer, on_images is not None))
            )
            failed = next((a for a in answers if isinstance(a, InputError)), None)
            if failed is not None:  # in all processes, so that none waits for another
                raise failed
            for rows, answer in zip(turn, answers, strict=True):
                if rows is None or answer is None or isinstance(answer, InputError):
                    continue
                result, source_passes = answer
                self._save(column, rows, begin, result, source_passes)
                begin = time.perf_counter()
                if on_images is not None and result.broken is not None:
                    on_images(column.attack, self.split.take(rows), result.images.cpu(), result.broken.cpu())

    def _transfer(
        self, source: Net, attack: Attack, images: Tensor, samples: Split
    ) -> tuple[AttackResult, Passes]:
        """Attack the source, each attack of an ensemble on the samples that are still robust.

        Returns the images with the network's own verdicts and passes, and the source's passes.
        """
        members = attack.attacks if isinstance(attack, Ensemble) else (attack,)
        broken_by, adversarial = torch.full_like(samples.labels, -1), images.clone()
        passes, source_passes, outside = Passes(), Passes(), 0
        for number, member in enumerate(members):
            rows = (broken_by < 0).nonzero()[:, 0]
            if len(rows) == 0:
                break
            result = self._run(source, member, images[rows], samples.take(rows), stop_when_broken=False)
            broken, looks = self._classify(result.images, samples.take(rows))
            adversarial[rows] = result.images
            broken_by[rows] = torch.where(broken, number, -1)
            outside += result.outside
            passes.add(looks)
            source_passes.add(Passes(result.forwards, result.backwards))
        by_member = broken_by if isinstance(attack, Ensemble) else None
        return AttackResult(adversarial, broken_by >= 0, passes.forward, 0, by_member, outside), source_passes

    def _chunks(self, column: VerdictColumn, passes: int) -> list[Tensor]:
        """The rows of the samples without a verdict, chunk by chunk."""
        rows_left = column.open_rows
        self.advance(len(self.split) - len(rows_left), Passes(), Passes())
        device = self.split.images.device.type
        size = chunk_size(self.config.batch, passes, self.config.flops, device)
        # splitting nothing gives one empty part
        return [rows for rows in torch.split(rows_left, size) if len(rows)]

    def _classify(self, images: Tensor, samples: Split) -> tuple[Tensor, Passes]:
        """Which samples the network gets wrong, bool (N,), and the passes that took."""
        blocks = Blocks(self.net, self.config.batch, samples.labels)
        with eval_mode(self.net):
            return misclassified(blocks.logits(images), samples.labels), Passes(blocks.forwards)

    def _run(
        self, net: Net, attack: Attack, images: Tensor, samples: Split, *, stop_when_broken: bool
    ) -> AttackResult:
        return attack.run(
            net,
            images,
            samples.labels,
            sample_ids=samples.ids,
            seed=self.config.seed,
            options=RunOptions(stop_when_broken, verdict=stop_when_broken, block=self.config.batch),
        )

    def _save(
        self, column: VerdictColumn, rows: Tensor, begin: float, result: AttackResult, source_passes: Passes
    ) -> None:
        """Save the result of a chunk; the first line waits for the device, so the time is whole."""
        assert result.broken is not None
        column.verdicts[rows] = torch.where(result.broken.cpu(), BROKEN, ROBUST).to(torch.int8)
        column.seconds += time.perf_counter() - begin
        if result.broken_by is not None:
            column.broken_by[rows] = result.broken_by.cpu().to(torch.int8)
        column.outside += result.outside
        column.forwards += result.forwards + source_passes.forward
        column.backwards += result.backwards + source_passes.input_backward
        column.source_forwards += source_passes.forward
        column.source_backwards += source_passes.input_backward
        self.verdicts.save()
        self.advance(len(rows), Passes(result.forwards, result.backwards), source_passes)


def _on_host(answer: ChunkResult | InputError | None, with_images: bool) -> ChunkResult | InputError | None:
    """What another process gets of a chunk's result, in host memory."""
    if answer is None or isinstance(answer, InputError):
        return answer
    result, passes = answer
    images = result.images.cpu() if with_images else result.images.new_zeros(0, device="cpu")
    broken = None if result.broken is None else result.broken.cpu()
    broken_by = None if result.broken_by is None else result.broken_by.cpu()
    return replace(result, images=images, broken=broken, broken_by=broken_by), passes


def _build_attacks(names: Sequence[str], config: EvaluationConfig) -> dict[str, Attack | None]:
    """The attacks by name, None for "clean"; one under two names (pgd-20, pgd(steps=20)) comes once."""
    by_name: dict[str, Attack | None] = {}
    keys = set()
    for name in expand_attacks(names):
        attack = build_attack(name, config.threat, config.rel_step)
        key = None if attack is None else (type(attack), _settings_line(attack))
        if key not in keys:
            by_name[name] = attack
        keys.add(key)
    return by_name


def _settings_line(attack: Attack) -> str:
    """An attack's settings in one line."""
    return " ".join(f"{name}={value!r}".replace(" ", "") for name, value in attack.settings.items())
