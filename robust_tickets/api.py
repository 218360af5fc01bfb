"""The Python interface, on networks and images of the user's own.

    data = images(train=(x, y), test=(x_test, y_test), val_images=500)
    ticket = find_ticket(build_net, data, search={"epochs": 5})
    trained = train(build_net, data, ticket, train={"ticket_epochs": 5})

The functions share these arguments:

net: a function that returns a fresh nn.Module, or a module, which is copied and never changed; None: the
    recipe's own.
data: what `images` gives, or a table of the recipe's fields on data; None: the recipe's own data set.
recipe: a shipped name, a TOML file or a Recipe; keyword arguments named like its sections override fields.
device: torch device. PyTorch's number of threads is set to the recipe's `compute.threads`, and stays so; on
    cuda so are deterministic kernels of cuDNN, and float32 without TF32.
devices: how many devices like it share each training and each evaluation, a process on each.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.arguments import name_arguments, to_path, whole_number
from robust_tickets.base.errors import InputError, RobustnessWarning, unknown_name
from robust_tickets.base.progress import show_progress
from robust_tickets.comparison import compare as comparison
from robust_tickets.comparison.executors.base import Executor
from robust_tickets.comparison.executors.choose import choose_executor
from robust_tickets.data.user_images import from_tensors
from robust_tickets.evaluation.attack_names import attack_names
from robust_tickets.models import attack_view as view
from robust_tickets.models.probabilities import probability_warnings
from robust_tickets.models.weights import load_weights
from robust_tickets.models.whole_state import unswitched_layers
from robust_tickets.recipe.arm_training import training_of
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import STUDIES
from robust_tickets.report import timing_text
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_table
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import evaluate as evaluation
from robust_tickets.stages import search as searching
from robust_tickets.stages import train as training
from robust_tickets.stages.arm_rates import ArmRates
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.from_python import Images, Net, experiment_from, seeds_from
from robust_tickets.stages.plan import plan
from robust_tickets.studies import study as studies
from robust_tickets.tickets import own_loop as hooks
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training import average_alone as averages
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.trained import Trained

__all__ = [
    "Checkpoint",
    "Ticket",
    "Trained",
    "attack_view",
    "average_weights",
    "compare",
    "evaluate",
    "find_ticket",
    "frontier",
    "images",
    "keep_sparse",
    "show_progress",
    "study",
    "table",
    "train",
]

images = name_arguments(from_tensors)
keep_sparse = name_arguments(hooks.keep_sparse)
attack_view = name_arguments(view.attack_view)
average_weights = name_arguments(averages.average_weights)


@name_arguments
def find_ticket(
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    devices: int = 1,
    **fields: Any,
) -> Ticket:
    """Find a boosting ticket: train, prune, rewind, for the rounds of `search`.

    `ticket.save(path)` writes it. Raises InputError for what cannot be searched with; where that shows
    after a round was trained, the round's ticket is the error's attribute `ticket`.
    """
    experiment = experiment_from(net, data, recipe, device, fields, devices=devices)
    ticket, search_warnings = searching.find_ticket(experiment, _seed(seed))
    _warn("a warning of this search", search_warnings)
    return ticket


@name_arguments
def train(
    net: Net | None = None,
    data: Images = None,
    ticket: Ticket | None = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    devices: int = 1,
    **fields: Any,
) -> Trained:
    """Train adversarially: dense for `train.epochs`, or from a ticket for `train.ticket_epochs` (or budgets).

    Raises InputError for a ticket that does not fit the network.
    """
    number = _seed(seed)
    experiment = experiment_from(net, data, recipe, device, fields, devices=devices)
    if not isinstance(ticket, Ticket | None):
        raise InputError(
            f"ticket is a {type(ticket).__name__}, expected what find_ticket gave, or "
            "robust_tickets.Ticket.load(path)"
        )
    experiment.prepare()
    name = "dense" if ticket is None else "ticket"
    rates = ArmRates(experiment, training_of(experiment.recipe, name), ticket)
    arm = plan(experiment.recipe, name, experiment.spec, rates=rates)
    work, result = training.train_net(experiment, number, arm, ticket)
    _warn("a warning of this training", result.warnings)
    trained = work.start.net
    load_weights(trained, result.best, "best epoch")
    return Trained(
        set_mode(trained, False),
        result.best_epoch,
        pd.DataFrame(result.history),
        result.last,
        work.ledger.report(),
        result.best_is_average,
        result.average,
    )


@name_arguments
def evaluate(
    net: nn.Module,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    attacks: str | Iterable[str] = ("clean", "fgsm", "pgd-20"),
    limit: int = 0,
    seed: int = 0,
    device: str | torch.device = "cpu",
    devices: int = 1,
    **fields: Any,
) -> pd.DataFrame:
    """Measure the accuracy of a network: a row an attack, and their worst case last.

    attacks: names, as on the command line.
    limit: test images, balanced over the classes; 0: all.

    Columns: accuracy, a fraction; low and high, its 95 % interval; passes, samples through the network. Warns
    (RobustnessWarning) of each sanity check that does not pass. Raises InputError for an unknown attack, or a
    network that does not fit the images.
    """
    if not isinstance(net, nn.Module):
        raise InputError(
            f"net is a {type(net).__name__}, expected the trained nn.Module itself, as the net of what train "
            "gave"
        )
    number = whole_number("limit", limit, least=0)
    request = EvaluationRequest(attack_names(attacks), limit=number, seed=_seed(seed))
    experiment = experiment_from(net, data, recipe, device, fields, devices=devices)
    layers = unswitched_layers(net, experiment.spec.shape)
    try:
        rows, sanity = evaluation.evaluate_net(experiment, net, request)
    except ValueError as error:
        if layers and not isinstance(error, InputError):  # a BatchNorm in train mode takes no single image
            raise InputError(f"the network {layers}") from error
        raise
    _warn("this robust accuracy may mislead", probability_warnings(net, experiment.spec.shape))
    _warn("this robust accuracy may mislead", [f"the network {layers}"] if layers else [])
    _warn("this robust accuracy may mislead", sanity.warnings)
    columns = ["attack", "n", "accuracy", "low", "high", "seconds", "passes"]
    values = [(r.attack, len(r.robust), r.accuracy, *r.interval, r.seconds, r.passes.total) for r in rows]
    return pd.DataFrame(values, columns=columns)


@name_arguments
def compare(
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int | Iterable[int] = 1,
    runs: Path | str = "runs",
    jobs: int = 1,
    executor: str = "",
    slurm: Mapping[str, str | bool] | None = None,
    shared_files: bool = True,
    any_machine: bool = False,
    device: str | torch.device = "cpu",
    devices: int = 1,
    **fields: Any,
) -> Path:
    """Train and evaluate all arms; returns the run directory, with timing.md and timing.csv.

    Finished arms are not trained again.

    seeds: how many, from 0 on, or the seeds themselves, such as range(10, 16).
    runs: the folder of the run directories.
    jobs: how many arms are trained at a time, in processes of their own, for which a script needs its
        `if __name__ == "__main__":`.
    executor: inline, processes, dask (as many workers on this machine), dask://HOST:PORT of a scheduler, or
        slurm; "": inline, or processes for several jobs.
    slurm: options of sbatch for each job, as {"partition": "gpu"}; True for one without a value.
    shared_files: whether the workers of a Dask cluster see `runs`; else files go with tasks and come back.
    any_machine: continue a run that began on another processor or GPU; the table marks its seconds.

    Raises InputError for a module with several seeds, since it has one init.
    """
    experiment = experiment_from(net, data, recipe, device, fields, devices=devices, any_machine=any_machine)
    chosen = seeds_from(experiment, net, seeds)
    return comparison.compare(
        experiment, chosen, to_path("runs", runs), _executor(jobs, executor, slurm, shared_files)
    ).path


@name_arguments
def frontier(runs: Path | str | Iterable[Path | str], *, of: str = "dense") -> pd.DataFrame:
    """Find who is on the frontier of cost and robust accuracy; returns a row an arm, by rising FLOPs.

    runs: one run directory, or several with the same data, network, threat model and attacks.
    of: the arm that costs are compared with.

    Columns: those of frontier.csv (`report.frontier_table`), such as robust_mean and on_front_flops. Raises
    InputError for runs that cannot be compared.
    """
    return frontier_table(read_frontier(_directories(runs)), of)


@name_arguments
def table(runs: Path | str | Iterable[Path | str]) -> pd.DataFrame:
    """Make the timing table of a run again from its files; returns a row an arm.

    runs: one run directory, or several, whose rows come one below the other after a column `run`.

    Columns: those of timing.csv (`report.tables.timing`), such as pgd20_last_mean, flops_vs_dense and
    break_even_flops. Raises InputError for a run without a complete seed.
    """
    return timing_text.table(_directories(runs))


@name_arguments
def study(
    name: str,
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int | Iterable[int] = 3,
    runs: Path | str = "runs",
    jobs: int = 1,
    executor: str = "",
    slurm: Mapping[str, str | bool] | None = None,
    shared_files: bool = True,
    any_machine: bool = False,
    device: str | torch.device = "cpu",
    devices: int = 1,
    **fields: Any,
) -> Path:
    """Answer a question by several comparisons; returns the study's folder, with <name>.csv, .svg and .md.

    Finished cells are not run again.

    name: as `robust-tickets study --help` lists them; its settings are a field of `study`.
    seeds, runs, jobs, executor, slurm, shared_files, any_machine: as `compare` has them.

    Raises InputError as `compare` does, and for settings that make no sense.
    """
    if not isinstance(name, str) or name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    experiment = experiment_from(
        net, data, recipe, device, fields, devices=devices, study=name, any_machine=any_machine
    )
    chosen = seeds_from(experiment, net, seeds)
    return studies.study(
        name, experiment, chosen, to_path("runs", runs), _executor(jobs, executor, slurm, shared_files)
    ).folder


def _directories(runs: Path | str | Iterable[Path | str]) -> list[RunDirectory]:
    """The run directories that were named."""
    paths = [runs] if isinstance(runs, str | Path) or not isinstance(runs, Iterable) else list(runs)
    if not paths:
        raise InputError("runs must be a run directory, or several, got none")
    return [RunDirectory.open(to_path("runs", path)) for path in paths]


def _warn(title: str, messages: Iterable[str]) -> None:
    for message in messages:
        warnings.warn(f"{title}: {message}", RobustnessWarning, stacklevel=4)


def _executor(jobs: int, name: str, slurm: Mapping[str, str | bool] | None, shared_files: bool) -> Executor:
    if not isinstance(name, str):
        raise InputError(f"executor must be a text such as 'dask', got {name!r:.80}")
    if slurm is not None and not isinstance(slurm, Mapping):
        raise InputError(f'slurm must be a dict such as {{"partition": "gpu"}}, got {slurm!r:.80}')
    given = (slurm or {}).items()
    options = [option if value is True else f"{option}={value}" for option, value in given]
    number = whole_number("jobs", jobs, least=1, most=1024)
    return choose_executor(number, name, slurm=options, shared_files=bool(shared_files))


def _seed(seed: int) -> int:
    return whole_number("seed", seed, least=0)
