"""The stage that judges a checkpoint."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from attacks import Attack
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.evaluation import result, robustness_csv, sanity_report
from robust_tickets.evaluation.attack_names import build_attack, expand_attacks
from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Threat
from robust_tickets.recipe.recipe import Recipe, check
from robust_tickets.report.plots import robustness_curve
from robust_tickets.report.trust import sanity_reports
from robust_tickets.runs import files, locks
from robust_tickets.runs.directory import ArmDirectory
from robust_tickets.stages.attacked_images import AttackedImages
from robust_tickets.stages.evaluation_run import EvaluationRequest, EvaluationRun, LoadedNet
from robust_tickets.stages.experiment import Experiment, threat_model
from robust_tickets.stages.load_checkpoint import (
    SOURCE_FLAGS,
    ImageSource,
    NetDescription,
    SourceNetDescription,
)
from robust_tickets.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class EvaluationOutput:
    """What came out: robustness.csv, the rows just made, the sanity checks, the curve over several eps."""

    file: Path
    rows: pd.DataFrame
    sanity: SanityReport
    curve: Path | None


def evaluate(file: Path, what: Experiment, machine: Machine) -> Path:
    """Judge a checkpoint of a run as its recipe says, on the test images; gives the run's robustness.csv."""
    recipe = what.recipe
    folder = ArmDirectory(file.parent)
    known = robustness_csv.read_rows(folder.robustness)
    n = recipe.evaluate.images or what.spec(machine).test_images
    done = {"checkpoint": file.stem, "split": "test", "n": n, "seed": 0, "source": ""}
    done |= {"eps": str(recipe.threat.eps), "norm": recipe.threat.norm}
    for column, value in done.items():
        known = known[known[column] == value]
    before = known.low.isna().all()  # rows from before there were sanity checks stay as they are
    if set(TABLE_ATTACKS) <= set(known.attack) and (before or sanity_reports(file, recipe.threat, n)):
        return folder.robustness
    return evaluate_file(
        file,
        machine,
        EvaluationRequest(tuple(TABLE_ATTACKS), limit=recipe.evaluate.images),
        source=ImageSource(None, recipe.data.root, recipe.data.download),
        make=what.make,
        images=what.images,
    ).file


def evaluate_file(
    file: Path,
    machine: Machine,
    asked: EvaluationRequest,
    *,
    source: ImageSource = ImageSource(),
    model: NetDescription = NetDescription(),
    source_model: SourceNetDescription = SourceNetDescription(),
    make: NetFactory | None = None,
    images: Dataset | None = None,
    elsewhere: Path | None = None,
    pictures: Path | None = None,
    done: Callable[[pd.DataFrame], None] = lambda rows: None,
) -> EvaluationOutput:
    """Judge any checkpoint.

    source: the images; by default of the set that the checkpoint was trained on. model: the net as the user
    names it, for published weights and nets of their own. source_model: what is different of the net that is
    attacked instead. make: the function that makes a net of the user's own. images: the user's own. The rows
    are merged into `robustness.csv` beside a checkpoint that lies in a run directory, and otherwise into one
    under `elsewhere`, as each attack is done; so are the verdicts, as each block is. The attacked images are
    written to `pictures`. `done` is given the rows before the sanity checks begin. Raises InputError for what
    cannot be evaluated.
    """
    file = file.resolve()  # a link stands for the file that it names
    make = model.make if make is None else make
    checkpoint = model.checkpoint(file, source, asked.split, machine)
    recorded = checkpoint.resolved_recipe()
    other = None
    if asked.source is not None:
        theirs = source_model.over(model, asked.source)
        # what its file cannot say, the judged one does
        there = source if source.name is not None else replace(source, name=recorded.data.name)
        other = theirs.checkpoint(asked.source, there, asked.split, machine)
    elif source_model:
        raise InputError(f"{SOURCE_FLAGS} says what net --from is of: give --from too, or leave it out")
    whats = _whats(asked, checkpoint, source)
    what = whats[0]
    experiment = Experiment(what, images=images)
    spec = experiment.spec(machine)
    _check_fits(file, checkpoint, spec, what, "leave out --data.name, or name a set of its shape and classes")
    if asked.source is not None and other is not None:
        _check_fits(asked.source, other, spec, what, "choose another --from, of the same images")
    for name, attack in _attacks_of(asked, what).items():
        if attack.least_classes > spec.classes:
            raise InputError(
                f"attack {name} needs {attack.least_classes} classes, {what.data.name} has {spec.classes}: "
                "name attacks without it, as --attacks quick apgd square"
            )
    machine.prepare(what.compute)
    album = AttackedImages(pictures, apart=len(whats) > 1) if pictures is not None else None
    ledger = Ledger("evaluate", clock_for(machine.device), jobs=machine.jobs)
    # at the eps of the training, if that is among them: a curve's ends say little
    checked = next((w for w in whats if w.threat.eps == recorded.threat.eps), what)
    with ledger.measure(), ledger.phase("load"):
        dataset = experiment.load(machine)
    if elsewhere is None and dataset.fingerprint != checkpoint.data:
        raise InputError(
            f"{file} was trained on other images than these ({checkpoint.data}, not "
            f"{dataset.fingerprint}): give the same --data.root, or choose another folder by --runs"
        )
    folder = _folder(file, checkpoint, dataset.fingerprint, elsewhere)
    with locks.lock(folder.run_path if folder.in_run else folder.path), ledger.measure():
        net = LoadedNet.of(checkpoint, make, what, machine)
        attacked = None if other is None else LoadedNet.of(other, theirs.make, what, machine)
        judge = EvaluationRun(file, asked, machine, net, attacked, dataset, folder, ledger, album)
        judge.known_checks(checked)  # whether they are damaged is better known now
        found = {str(each.threat.eps): judge.judge(each) for each in whats}
        rows = pd.concat([table for table, _ in found.values()])
        done(rows)
        sanity = judge.check(checked)
        if other is None:  # on another net's images, weaker attacks may well transfer better
            sanity = sanity.merge(_order({eps: rows for eps, (_, rows) in found.items()}))
        ledger.settle()
        judge.account()
        curve = judge.curve_file(whats) if len(whats) > 1 else None
        if curve is not None:
            files.write(
                curve, lambda part: robustness_curve(rows, part, f"{checkpoint.model.name}, {dataset.title}")
            )
        if album is not None:
            machine.progress.log(album.write())
    return EvaluationOutput(folder.robustness, rows, sanity, curve)


def _check_fits(file: Path, checkpoint: Checkpoint, spec: Spec, what: Recipe, mend: str) -> None:
    if (spec.shape, spec.classes) != (checkpoint.model.shape, checkpoint.model.classes):
        raise InputError(
            f"{file} is a net for {checkpoint.resolved_recipe().data.name}, which {what.data.name} does not "
            f"fit: {mend}"
        )


def _order(found: dict[str, list[RobustnessRow]]) -> Iterator[SanityCheck]:
    """The rows of each eps held against one another, and the worst cases of all eps."""
    for eps, rows in found.items():
        at = f" at {eps}" if len(found) > 1 else ""
        yield from (replace(c, name=c.name + at) for c in sanity_report.order_of_attacks(rows))
    worst = {eps: result.worst_case(rows) for eps, rows in found.items()}
    n = len(next(iter(worst.values())).robust)
    yield from sanity_report.order_of_eps({eps: row.accuracy for eps, row in worst.items()}, n)


def _whats(asked: EvaluationRequest, checkpoint: Checkpoint, source: ImageSource) -> list[Recipe]:
    """The checkpoint's recipe on the images asked for, at each eps, from the smallest on.

    Raises InputError for what makes no sense, before any image is read.
    """
    recorded = checkpoint.resolved_recipe()
    if asked.norm not in (None, recorded.threat.norm) and not asked.eps:
        raise InputError(
            f"the checkpoint's eps, {recorded.threat.eps}, is for {recorded.threat.norm}: give one for "
            f"{asked.norm} by --eps"
        )
    place = source.data(recorded.data, asked.split)
    written: dict[float, Eps] = {}
    for eps in asked.eps or (recorded.threat.eps,):
        written.setdefault(eps.value, eps)  # 0.5 and 1/2 are one point of the curve
    if recorded.threat.eps.value in written:  # as the training wrote it, so that its rows are found
        written[recorded.threat.eps.value] = recorded.threat.eps
    whats = []
    for _, eps in sorted(written.items()):
        what = replace(recorded, data=place, threat=Threat(eps, asked.norm or recorded.threat.norm))
        check(what)
        _attacks_of(asked, what)
        whats.append(what)
    return whats


def _attacks_of(asked: EvaluationRequest, what: Recipe) -> dict[str, Attack]:
    """The attacks asked for, by name, but for none at all (clean). Raises InputError for unknown ones."""
    built = {
        name: build_attack(name, threat_model(what), what.evaluate.rel_step)
        for name in expand_attacks(asked.attacks)
    }
    return {name: attack for name, attack in built.items() if attack is not None}


def _folder(file: Path, checkpoint: Checkpoint, images: str, elsewhere: Path | None) -> ArmDirectory:
    """Where the rows go: beside a checkpoint of a run, but for figures on other images than the run's."""
    folder = ArmDirectory(file.parent)
    if elsewhere is None or (folder.in_run and images == checkpoint.data):
        return folder
    told = json.dumps([images, asdict(checkpoint.model)])
    digest = hashlib.sha256(file.read_bytes() + told.encode()).hexdigest()[:8]
    return ArmDirectory(elsewhere / f"evaluate-{digest}")
