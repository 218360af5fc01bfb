"""The stage that evaluates a checkpoint."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from robust_tickets.attacks.network import eval_mode
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.base.paths import follow_links
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.evaluation import result, robustness_csv
from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE, CLEAN, TABLE_ATTACKS
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_files import table_reports
from robust_tickets.evaluation.sanity_report import NO_CHECKS, SanityReport
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import fold
from robust_tickets.models.independent_copies import check_copies
from robust_tickets.models.placement import place_net
from robust_tickets.models.probabilities import probability_warnings
from robust_tickets.models.title import network_title
from robust_tickets.models.user_net import NetFactory, check_logits
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.eps_plot import robustness_curve
from robust_tickets.runs import files, locks
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.stages.adversarial_images import AdversarialImages, Strips
from robust_tickets.stages.evaluation_files import SavedEvaluation
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.evaluation_run import EvaluationRun, LoadedNet, compare_attacks
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.load_checkpoint import ImageSource, NetFile
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.program_file import Program
from robust_tickets.training.published_weights import ARM


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


def evaluate_net(
    experiment: Experiment, net: nn.Module, request: EvaluationRequest
) -> tuple[list[RobustnessRow], SanityReport]:
    """Evaluate a network under the recipe's threat model, and write nothing.

    net: from images (N, C, H, W) in [0, 1] to logits (N, K); it is not changed.
    Returns a row an attack, the worst case of several last, and the sanity report. Raises InputError for a
    request that makes no sense, and a network that does not fit the images.
    """
    recipe, machine = experiment.recipe, experiment.machine
    request.recipes(recipe)
    request.check_classes(recipe, experiment.spec)
    experiment.prepare()
    experiment.machine.process_group()  # whose start is charged to nobody
    check_copies(net, type(net).__name__, experiment.spec.shape)
    copy = place_net(copy_net(net), recipe.compute, machine.device)
    check_logits(copy, experiment.model_spec)
    ledger = Ledger("evaluate", clock_for(machine.device))
    with ledger.measure():
        loaded = LoadedNet(Path(type(net).__name__), fold(copy, experiment.spec.shape))
        run = EvaluationRun(request, machine, loaded, experiment.load(), ledger)
        rows = run.run_attacks(recipe)
        sanity = run.check_sanity(recipe).merge(compare_attacks({str(recipe.threat.eps): rows}))
    return [*rows, result.worst_case(rows)] if len(rows) > 1 else rows, sanity


def evaluate(file: Path, experiment: Experiment) -> Path:
    """Evaluate a run's checkpoint on the test images as the run's recipe says, unless that is done.

    Returns the path of the run's robustness.csv.
    """
    for request in table_requests(experiment, file.stem):
        _evaluate_request(file, request, experiment)
    return ArmDirectory(file.parent).robustness


def table_requests(experiment: Experiment, checkpoint: str) -> list[EvaluationRequest]:
    """How a checkpoint of a run is evaluated: for the tables, and by AutoAttack's two members if it is to be.

    checkpoint: its name, such as "last".
    """
    settings = experiment.recipe.evaluate
    checked = settings.checks_sanity_of(checkpoint)
    table = EvaluationRequest(tuple(TABLE_ATTACKS), limit=settings.images, sanity=checked)
    if not settings.aa_images or checkpoint not in settings.aa_checkpoints:
        return [table]
    if settings.aa_images == (settings.images or experiment.spec.test_images):
        return [replace(table, attacks=(*TABLE_ATTACKS, AA_PAIR))]
    return [table, _judge_request(AA_PAIR, experiment)]


def judge_whole(file: Path, experiment: Experiment) -> Path:
    """Judge a run's checkpoint by the whole of AutoAttack too, unless that is done; returns as `evaluate`."""
    _evaluate_request(file, _judge_request(AA_WHOLE, experiment), experiment)
    return ArmDirectory(file.parent).robustness


def _judge_request(attack: str, experiment: Experiment) -> EvaluationRequest:
    """AutoAttack or its two members on the recipe's images for it, with PGD-20 on the same ones.

    The sanity checks are among the evaluation for the tables.
    """
    images = experiment.recipe.evaluate.aa_images
    return EvaluationRequest((CLEAN, "pgd-20", attack), limit=images, account="judge", sanity=False)


def _evaluate_request(file: Path, request: EvaluationRequest, experiment: Experiment) -> None:
    """Evaluate a run's checkpoint at the threat model of its training, unless that is done."""
    recipe, folder = experiment.recipe, ArmDirectory(file.parent)
    rows = robustness_csv.read_rows(folder.robustness)
    n = request.limit or experiment.spec.test_images
    key = {"checkpoint": file.stem, "split": "test", "n": n, "seed": 0, "source": ""}
    key |= {"eps": str(recipe.threat.eps), "norm": recipe.threat.norm}
    for column, value in key.items():
        rows = rows[rows[column] == value]
    checked = not request.sanity or table_reports(file, recipe.threat, n)
    attacked = set(request.attacks) <= set(rows.attack)
    # the ledger is written last
    if attacked and checked and folder.evaluation_ledger(file, request.account).is_file():
        return
    images = ImageSource(root=recipe.data.root, download=recipe.data.download)
    make, dataset = experiment.make, experiment.images
    evaluate_file(file, experiment.machine, replace(request, images=images), make=make, dataset=dataset)


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
    # a link stands for the file that it names
    target = request.load_target(follow_links(file), make, machine.progress)
    source = request.load_source(target.checkpoint, machine.progress)
    training = target.checkpoint.resolved_recipe()
    recipes = request.recipes(training)
    experiment = Experiment(recipes[0], images=dataset, machine=machine)
    spec = experiment.spec
    _check_fits(target, spec, recipes[0], "leave out --data.name, or name a set of its shape and classes")
    if source is not None:
        _check_fits(source, spec, recipes[0], "choose another --from, of the same images")
    request.check_classes(recipes[0], spec)
    experiment.prepare()
    experiment.machine.process_group()  # whose start is charged to nobody
    several = len(recipes) > 1
    album = None if request.save_images is None else AdversarialImages(request.save_images, apart=several)
    ledger = Ledger("evaluate", clock_for(machine.device), jobs=machine.jobs)
    # at the eps of the training, if that is among them: a curve's ends say little
    sanity_recipe = next(
        (recipe for recipe in recipes if recipe.threat.eps == training.threat.eps), recipes[0]
    )
    with ledger.measure(), ledger.phase("load"):
        dataset = experiment.load()
    folder = _folder(target, dataset, request.runs)
    with locks.lock(folder.run_path if folder.in_run else folder.path), ledger.measure():
        net = LoadedNet.of(target, recipes[0], machine.device)
        for line in probability_warnings(net.view, spec.shape):
            machine.progress.warn_once(line)
        source_net = None if source is None else LoadedNet.of(source, recipes[0], machine.device)
        run = SavedEvaluation(request, machine, net, dataset, ledger, source_net, album, folder=folder)
        run.check_files(sanity_recipe)
        results = [(recipe, run.run_attacks(recipe)) for recipe in recipes]
        rows = pd.concat([run.table(rows, recipe) for recipe, rows in results])
        on_rows(rows)
        sanity = run.check_sanity(sanity_recipe) if request.sanity else NO_CHECKS
        if source is None:  # on another network's images, weaker attacks may well transfer better
            sanity = sanity.merge(compare_attacks({str(recipe.threat.eps): rows for recipe, rows in results}))
        ledger.settle()
        run.save_ledger()
        curve = run.curve_file(recipes) if several else None
        if curve is not None:
            title = f"{_checkpoint_title(target.checkpoint)}, {dataset.title}"
            files.write(curve, lambda part: robustness_curve(rows, part, title))
        if album is not None:
            title = f"{_checkpoint_title(target.checkpoint)}, {dataset.title}, {recipes[0].threat.norm}"
            machine.progress.log(album.write(Strips(partial(_classes, net, machine.device), title)))
    return EvaluationOutput(folder.robustness, rows, sanity, curve)


def _classes(net: LoadedNet, device: str, images: Tensor) -> Tensor:
    """The classes that a network sees in images, long (N,)."""
    with torch.no_grad(), eval_mode(net.view):
        classes: Tensor = net.view(images.to(device)).argmax(1)
    return classes


def _checkpoint_title(checkpoint: Checkpoint) -> str:
    """The network, its arm and its seed, as a title has them."""
    model = checkpoint.model
    arm = f", {checkpoint.arm}, seed {checkpoint.seed}" if not checkpoint.arm.startswith(ARM) else ""
    return f"{network_title(model.name, model.width)}{arm}"


def _check_fits(net: NetFile, spec: Spec, recipe: Recipe, fix: str) -> None:
    model = net.checkpoint.model
    if (spec.shape, spec.classes) != (model.shape, model.classes):
        raise InputError(
            f"{net.path} is a network for {net.checkpoint.resolved_recipe().data.name}, which "
            f"{recipe.data.name} does not fit: {fix}"
        )


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
    # beside its checkpoint, a program's rows would take the place of those
    beside = dataset.fingerprint == checkpoint.data and not isinstance(checkpoint, Program)
    if runs is None or (folder.in_run and beside):
        return folder
    about = json.dumps([dataset.fingerprint, asdict(checkpoint.model)])
    if checkpoint.arm.startswith(f"{ARM} ("):
        about += checkpoint.arm  # one file may hold several weights
    digest = hashlib.sha256(target.path.read_bytes() + about.encode()).hexdigest()[:8]
    return ArmDirectory(runs / f"evaluate-{digest}")
