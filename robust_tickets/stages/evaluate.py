"""The stage that evaluates a checkpoint."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.evaluation import result, robustness_csv, sanity_report
from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_files import table_reports
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.plots import robustness_curve
from robust_tickets.runs import files, locks
from robust_tickets.runs.directory import ArmDirectory
from robust_tickets.stages.adversarial_images import AdversarialImages
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.evaluation_run import EvaluationRun, LoadedNet
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.load_checkpoint import ImageSource, NetFile


@dataclass(frozen=True)
class EvaluationOutput:
    """The results of an evaluation.

    file: robustness.csv.
    rows: those of this evaluation.
    sanity: the sanity report.
    curve: the plot over several eps, if there are several.
    """

    file: Path
    rows: pd.DataFrame
    sanity: SanityReport
    curve: Path | None


def evaluate(file: Path, experiment: Experiment, machine: Machine) -> Path:
    """Evaluate a run's checkpoint on the test images as the run's recipe says, unless that is done.

    Returns the path of the run's robustness.csv.
    """
    recipe = experiment.recipe
    folder = ArmDirectory(file.parent)
    rows = robustness_csv.read_rows(folder.robustness)
    n = recipe.evaluate.images or experiment.spec(machine).test_images
    key = {"checkpoint": file.stem, "split": "test", "n": n, "seed": 0, "source": ""}
    key |= {"eps": str(recipe.threat.eps), "norm": recipe.threat.norm}
    for column, value in key.items():
        rows = rows[rows[column] == value]
    if set(TABLE_ATTACKS) <= set(rows.attack) and table_reports(file, recipe.threat, n):
        return folder.robustness
    images = ImageSource(root=recipe.data.root, download=recipe.data.download)
    request = EvaluationRequest(tuple(TABLE_ATTACKS), limit=recipe.evaluate.images, images=images)
    make, dataset = experiment.make, experiment.images
    return evaluate_file(file, machine, request, make=make, dataset=dataset).file


def evaluate_file(
    file: Path,
    machine: Machine,
    request: EvaluationRequest,
    *,
    make: NetFactory | None = None,
    dataset: Dataset | None = None,
    on_rows: Callable[[pd.DataFrame], None] = lambda rows: None,
) -> EvaluationOutput:
    """Evaluate any checkpoint.

    The rows are merged into the `robustness.csv` beside a checkpoint that lies in a run directory, and
    otherwise into one under `request.runs`, as each attack is done; verdicts are written chunk by chunk.

    file: the checkpoint.
    machine: where to run, and who sees the progress.
    request: attacks, images, threat models, networks.
    make: builds a network of the user's own.
    dataset: images of the user's own.
    on_rows: receives the rows before the sanity checks begin.

    Raises InputError for a checkpoint or a request that does not fit.
    """
    target = request.load_target(file.resolve(), machine, make)  # a link stands for the file that it names
    source = request.load_source(target.checkpoint, machine)
    training = target.checkpoint.resolved_recipe()
    recipes = request.recipes(training)
    experiment = Experiment(recipes[0], images=dataset)
    spec = experiment.spec(machine)
    _check_fits(target, spec, recipes[0], "leave out --data.name, or name a set of its shape and classes")
    if source is not None:
        _check_fits(source, spec, recipes[0], "choose another --from, of the same images")
    request.check_classes(recipes[0], spec)
    machine.prepare(recipes[0].compute.threads)
    several = len(recipes) > 1
    album = None if request.save_images is None else AdversarialImages(request.save_images, apart=several)
    ledger = Ledger("evaluate", clock_for(machine.device), jobs=machine.jobs)
    # at the eps of the training, if that is among them: a curve's ends say little
    sanity_recipe = next(
        (recipe for recipe in recipes if recipe.threat.eps == training.threat.eps), recipes[0]
    )
    with ledger.measure(), ledger.phase("load"):
        dataset = experiment.load(machine)
    folder = _folder(target, dataset, request.runs)
    with locks.lock(folder.run_path if folder.in_run else folder.path), ledger.measure():
        net = LoadedNet.of(target, recipes[0], machine)
        source_net = None if source is None else LoadedNet.of(source, recipes[0], machine)
        run = EvaluationRun(request, machine, net, source_net, dataset, folder, ledger, album)
        run.saved_report(sanity_recipe)  # a damaged one is refused before any attack
        results = {str(recipe.threat.eps): run.run_attacks(recipe) for recipe in recipes}
        rows = pd.concat([table for table, _ in results.values()])
        on_rows(rows)
        sanity = run.check_sanity(sanity_recipe)
        if source is None:  # on another network's images, weaker attacks may well transfer better
            sanity = sanity.merge(_compare_attacks({eps: rows for eps, (_, rows) in results.items()}))
        ledger.settle()
        run.save_ledger()
        curve = run.curve_file(recipes) if several else None
        if curve is not None:
            title = f"{target.checkpoint.model.name}, {dataset.title}"
            files.write(curve, lambda part: robustness_curve(rows, part, title))
        if album is not None:
            machine.progress.log(album.write())
    return EvaluationOutput(folder.robustness, rows, sanity, curve)


def _check_fits(net: NetFile, spec: Spec, recipe: Recipe, fix: str) -> None:
    model = net.checkpoint.model
    if (spec.shape, spec.classes) != (model.shape, model.classes):
        raise InputError(
            f"{net.path} is a network for {net.checkpoint.resolved_recipe().data.name}, which "
            f"{recipe.data.name} does not fit: {fix}"
        )


def _compare_attacks(rows_by_eps: dict[str, list[RobustnessRow]]) -> Iterator[SanityCheck]:
    """Compare the attacks at each eps, and the worst cases of all eps."""
    for eps, rows in rows_by_eps.items():
        suffix = f" at {eps}" if len(rows_by_eps) > 1 else ""
        yield from (replace(c, name=c.name + suffix) for c in sanity_report.order_of_attacks(rows))
    worst = {eps: result.worst_case(rows) for eps, rows in rows_by_eps.items()}
    samples = len(next(iter(worst.values())).robust)
    yield from sanity_report.order_of_eps({eps: row.accuracy for eps, row in worst.items()}, samples)


def _folder(target: NetFile, dataset: Dataset, runs: Path | None) -> ArmDirectory:
    """Where the rows go: beside a checkpoint of a run, but under `runs` where they are on other images.

    Raises InputError for other images than those of the training where `runs` is None.
    """
    folder, checkpoint = ArmDirectory(target.path.parent), target.checkpoint
    if runs is None and dataset.fingerprint != checkpoint.data:
        raise InputError(
            f"{target.path} was trained on other images than these ({checkpoint.data}, not "
            f"{dataset.fingerprint}): give the same --data.root, or choose another folder by --runs"
        )
    if runs is None or (folder.in_run and dataset.fingerprint == checkpoint.data):
        return folder
    about = json.dumps([dataset.fingerprint, asdict(checkpoint.model)])
    digest = hashlib.sha256(target.path.read_bytes() + about.encode()).hexdigest()[:8]
    return ArmDirectory(runs / f"evaluate-{digest}")
