"""The evaluation of one network: attacks at one eps after another, and sanity checks."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.base.followers import shared_work
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.base.machine import Machine
from robust_tickets.data.dataset import Dataset, Split
from robust_tickets.evaluation import evaluate, result, sanity_report
from robust_tickets.evaluation.attack_names import expand_attacks
from robust_tickets.evaluation.attack_sets import CLEAN
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_checks import run_sanity_checks, sanity_passes
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport
from robust_tickets.evaluation.shared_evaluation import call_followers
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix
from robust_tickets.models.fingerprint import function_fingerprint, weights_fingerprint
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import FoldedNet, fold
from robust_tickets.models.placement import place_net
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages.adversarial_images import AdversarialImages
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.load_checkpoint import NetFile
from robust_tickets.stages.specs import threat_model


@dataclass(frozen=True)
class LoadedNet:
    """A network as attacks see it.

    path: its checkpoint; of a network in memory, a name.
    view: the network with BatchNorm folded.
    digest: sixteen hex digits of weights, architecture and the user's own code.
    training: the arm and the seed of its training, by which its lines begin; of a network in memory, empty.
    """

    path: Path
    view: FoldedNet
    digest: str = ""
    training: str = ""

    @classmethod
    def of(cls, file: NetFile, recipe: Recipe, device: str) -> "LoadedNet":
        """Build a checkpoint's network on a torch device."""
        checkpoint = file.checkpoint
        net = place_net(checkpoint.net(file.make), recipe.compute, device)
        model, training = checkpoint.model, f"{checkpoint.arm}, seed {checkpoint.seed}"
        own = "" if file.make is None else function_fingerprint(net, model.shape)
        digest = short_digest([weights_fingerprint(net), asdict(model), own], 16)
        return cls(file.path, fold(net, model.shape), digest, training)

    def title(self, work: str) -> str:
        """The beginning of the lines about some work on it."""
        return f"{self.training}: {work}" if self.training else work


@dataclass(frozen=True)
class EvaluationRun:
    """The evaluation of one network on loaded images, in memory.

    request: attacks, images and so on.
    machine: the device, and who sees the progress.
    net: the network that is evaluated.
    dataset: the images.
    ledger: the account of the evaluation.
    source: the network that is attacked instead.
    album: takes the adversarial images.
    """

    request: EvaluationRequest
    machine: Machine
    net: LoadedNet
    dataset: Dataset
    ledger: Ledger
    source: LoadedNet | None = None
    album: AdversarialImages | None = None
    split: Split = field(init=False)

    def __post_init__(self) -> None:
        """Select the images of the request."""
        images, limit = getattr(self.dataset, self.request.split), self.request.limit
        if limit > len(images):
            raise InputError(
                f"limit is {limit}, but there are {len(images)} {self.request.split} images: ask for fewer, "
                "or 0 for all"
            )
        split = images.first(limit)
        object.__setattr__(self, "split", split)

    def run_attacks(self, recipe: Recipe) -> list[RobustnessRow]:
        """Run all attacks at the recipe's eps; returns their rows."""
        verdicts = self.verdicts(recipe)
        names = expand_attacks(self.request.attacks)
        for name in names:
            if self.album is not None and name != CLEAN:
                verdicts.columns.pop(name, None)  # verdicts of an earlier command come without images
        # seconds of earlier commands; their passes are in the columns
        self.ledger.seconds["attack"] += sum(c.seconds for c in map(verdicts.columns.get, names) if c)
        rows: list[RobustnessRow] = []
        several = len(self.request.eps) > 1
        title = f"evaluate {self.net.path.stem}" + (f" at {recipe.threat.eps}" if several else "")
        title = self.net.title(title)
        config = self._config(recipe)
        passes_by_row = evaluate.passes_by_row(names, config)
        group, source = self.machine.process_group(), None if self.source is None else self.source.view
        progress = self.machine.progress.stage(title, len(self.split) * sum(passes_by_row))
        with progress as meter, self.ledger.phase("attack"), shared_work(group):
            with_images = self.album is not None
            call_followers(group, self.net.view, self.split, names, config, source, verdicts, with_images)
            for row in evaluate.evaluate(
                self.net.view,
                self.split,
                names,
                config,
                source=source,
                verdicts=verdicts,
                # an attack takes as long as its passes, so that the time left is right
                advance=lambda samples, passes, source_passes: meter.advance(
                    samples * passes_by_row[len(rows)], passes.total + source_passes.total
                ),
                on_images=None if self.album is None else self.album.at(str(recipe.threat.eps)),
                group=group,
            ):
                rows.append(row)
                self.save_rows(rows, recipe)
                meter.note("  ".join(f"{row.attack} {row.accuracy:.1%}" for row in rows))
        columns = [verdicts.columns[row.attack] for row in rows]
        for column in columns:
            if any(column.is_beginning_of(other) for other in columns):
                continue  # its passes are among the other's
            self._charge(self.net, column.passes)
            if self.source is not None:
                self._charge(self.source, column.source_passes)
        return rows

    def check_sanity(self, recipe: Recipe) -> SanityReport:
        """Run the sanity checks at the recipe's eps."""
        title = self.net.title(f"sanity checks of {self.net.path.stem}")
        with self.machine.progress.stage(title, sanity_passes(len(self.split))) as meter:

            def advance(check: str, passes: Passes) -> None:
                meter.advance(passes.total, passes.total)
                meter.part(check)

            with self.ledger.phase("attack"):
                report = run_sanity_checks(self.net.view, self.split, self._config(recipe), advance)
            failed = [check.finding for check in report.checks if not check.passed]
            meter.note(f"WARNING: {'; '.join(failed)}" if failed else f"all {len(report.checks)} pass")
        self._charge(self.net, report.passes)
        return report

    def verdicts(self, recipe: Recipe) -> VerdictMatrix:
        """The verdicts at the recipe's eps so far."""
        return VerdictMatrix(self.split.ids, self.split.labels)

    def save_rows(self, rows: list[RobustnessRow], recipe: Recipe) -> None:
        """Keep the rows at the recipe's eps so far."""

    def _charge(self, net: LoadedNet, passes: Passes) -> None:
        self.ledger.count("attack", passes, forward_flops(net.view, self.dataset.spec.shape))

    def _config(self, recipe: Recipe) -> EvaluationConfig:
        attacked = self.net if self.source is None else self.source
        return EvaluationConfig(
            threat_model(recipe),
            recipe.evaluate.rel_step,
            recipe.evaluate.batch,
            self.request.seed,
            recipe.compute.channels_last,
            forward_flops(attacked.view, self.dataset.spec.shape),
        )


def compare_attacks(rows_by_eps: dict[str, list[RobustnessRow]]) -> Iterator[SanityCheck]:
    """Compare the attacks at each eps, and the worst cases of all eps."""
    for eps, rows in rows_by_eps.items():
        suffix = f" at {eps}" if len(rows_by_eps) > 1 else ""
        yield from (replace(c, name=c.name + suffix) for c in sanity_report.order_of_attacks(rows))
    worst = {eps: result.worst_case(rows) for eps, rows in rows_by_eps.items()}
    samples = len(next(iter(worst.values())).robust)
    yield from sanity_report.order_of_eps({eps: row.accuracy for eps, row in worst.items()}, samples)


def short_digest(value: object, digits: int = 8) -> str:
    """The first hex digits of plain values' hash, as in the names of files."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]
