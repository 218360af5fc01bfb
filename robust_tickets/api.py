"""The Python interface, on networks and images of the user's own.

    data = images(train=(x, y), test=(x_test, y_test), val_images=500)
    ticket = find_ticket(build_net, data, search={"epochs": 5})
    trained = train(build_net, data, ticket, train={"ticket_epochs": 5})

The functions share these arguments:

net: a function that returns a fresh nn.Module, or a module, which is copied and never changed; None: the
    recipe's own.
data: what `images` gives, or a table of the recipe's fields on data; None: the recipe's own data set.
recipe: a shipped name, a TOML file or a Recipe; keyword arguments named like its sections override fields.
device: torch device. PyTorch's number of threads is set to the recipe's `compute.threads`, and stays so.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from robust_tickets.base.errors import InputError, RobustnessWarning, unknown_name
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import show_progress, stderr_progress
from robust_tickets.comparison import compare as comparison
from robust_tickets.data.dataset import Dataset
from robust_tickets.data.user_images import from_tensors as images
from robust_tickets.models.fold import copy_net
from robust_tickets.models.user_net import NetFactory, function_name
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe import old_names
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import STUDIES
from robust_tickets.stages import evaluate as evaluation
from robust_tickets.stages import search as searching
from robust_tickets.stages import train as training
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import plan
from robust_tickets.studies import study as studies
from robust_tickets.tickets.ticket import Ticket

__all__ = ["Trained", "compare", "evaluate", "find_ticket", "images", "show_progress", "study", "train"]

Net = nn.Module | NetFactory
Images = Dataset | Mapping[str, Any] | None


@dataclass(frozen=True)
class Trained:
    """A trained network.

    net: with the weights of the epoch that validation chose, in eval mode.
    best_epoch: that epoch, counted from 1.
    history: a row an epoch; accuracies are fractions.
    last: the state dict of the last epoch.
    ledger: seconds, passes and FLOPs by phase.
    """

    net: nn.Module
    best_epoch: int
    history: pd.DataFrame
    last: dict[str, Any]
    ledger: dict[str, Any]


def find_ticket(
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seed: int = 0,
    device: str = "cpu",
    **fields: Any,
) -> Ticket:
    """Find a boosting ticket: train, prune, rewind, for the rounds of `search`.

    `ticket.save(path)` writes it. Raises InputError for what cannot be searched with.
    """
    experiment = _experiment(net, data, recipe, device, fields)
    ticket, search_warnings = searching.find_ticket(experiment, _checked_seed(seed))
    _warn("a warning of this search", search_warnings)
    return ticket


def train(
    net: Net | None = None,
    data: Images = None,
    ticket: Ticket | None = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seed: int = 0,
    device: str = "cpu",
    **fields: Any,
) -> Trained:
    """Train adversarially: dense for `train.epochs`, or from a ticket for `train.ticket_epochs`.

    Raises InputError for a ticket that does not fit the network.
    """
    experiment = _experiment(net, data, recipe, device, fields)
    _checked_seed(seed)
    if not isinstance(ticket, Ticket | None):
        raise InputError(
            f"ticket is a {type(ticket).__name__}, expected what find_ticket gave, or Ticket.load(path) of "
            "robust_tickets.tickets.ticket"
        )
    arm = plan(experiment.recipe, "dense" if ticket is None else "ticket", experiment.spec)
    work, result = training.train_net(experiment, seed, arm, ticket)
    _warn("a warning of this training", result.warnings)
    trained = work.start.net
    load_weights(trained, result.best, "best epoch")
    history = pd.DataFrame(result.history)
    return Trained(trained.eval(), result.best_epoch, history, result.last, work.ledger.report())


def evaluate(
    net: nn.Module,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    attacks: str | Sequence[str] = ("clean", "fgsm", "pgd-20"),
    limit: int = 0,
    seed: int = 0,
    device: str = "cpu",
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
    if limit < 0:
        raise InputError(f"limit must be at least 0, got {limit}")
    experiment = _experiment(net, data, recipe, device, fields)
    names = (attacks,) if isinstance(attacks, str) else tuple(attacks)
    request = EvaluationRequest(names, limit=limit, seed=_checked_seed(seed))
    rows, sanity = evaluation.evaluate_net(experiment, net, request)
    _warn("this robust accuracy may mislead", sanity.warnings)
    columns = ["attack", "n", "accuracy", "low", "high", "seconds", "passes"]
    values = [(r.attack, len(r.robust), r.accuracy, *r.interval, r.seconds, r.passes.total) for r in rows]
    return pd.DataFrame(values, columns=columns)


def compare(
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int | Sequence[int] = 1,
    runs: Path | str = "runs",
    jobs: int = 1,
    device: str = "cpu",
    **fields: Any,
) -> Path:
    """Train and evaluate all arms; returns the run directory, with timing.md and timing.csv.

    Finished arms are not trained again.

    seeds: how many, from 0 on, or the seeds themselves, such as range(10, 16).
    runs: the folder of the run directories.
    jobs: how many arms are trained at a time, in processes of their own, for which a script needs its
        `if __name__ == "__main__":`.

    Raises InputError for a module with several seeds, since it has one init.
    """
    experiment = _experiment(net, data, recipe, device, fields)
    chosen = _seeds(experiment, net, seeds)
    return comparison.compare(experiment, chosen, Path(runs), _checked_jobs(jobs)).path


def study(
    name: str,
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int | Sequence[int] = 3,
    runs: Path | str = "runs",
    jobs: int = 1,
    device: str = "cpu",
    **fields: Any,
) -> Path:
    """Answer a question by several comparisons; returns the study's folder, with <name>.csv, .svg and .md.

    Finished cells are not run again.

    name: lr, ratio, width, mask-source, search-length, rounds, controls, schedule or transfer; its settings
        are a field of `study`.
    seeds, runs, jobs: as `compare` has them.

    Raises InputError as `compare` does, and for settings that make no sense.
    """
    if name not in STUDIES:
        raise unknown_name("study", str(name), STUDIES)
    experiment = _experiment(net, data, recipe, device, fields)
    chosen = _seeds(experiment, net, seeds)
    return studies.study(name, experiment, chosen, Path(runs), _checked_jobs(jobs)).folder


def _seeds(experiment: Experiment, net: Net | None, seeds: int | Sequence[int]) -> Sequence[int]:
    """The seeds of a comparison. Raises InputError where the network has one init for several."""
    if isinstance(seeds, Iterable):
        chosen: Sequence[int] = [_checked_seed(seed) for seed in seeds]
    else:
        chosen = range(seeds) if type(seeds) is int else ()
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"seeds must be a whole number of at least 1, or different seeds as range(10, 16), got {seeds!r}"
        )
    if isinstance(net, nn.Module) and len(chosen) > 1 and experiment.recipe.model.init == "default":
        raise InputError(
            f"{len(chosen)} seeds need as many inits, and a module has one: pass a function that returns a "
            "fresh network, or give model={'init': 'glorot-normal'}"
        )
    return chosen


def _experiment(
    net: Net | None, data: Images, recipe: str | Path | Recipe, device: str, fields: Mapping[str, Any]
) -> Experiment:
    """The experiment of a call. Raises InputError for arguments of another type, and wrong fields."""
    if net is not None and not callable(net):
        raise InputError(
            f"net is a {type(net).__name__}, expected a function that returns an nn.Module, or a module; a "
            "network of this package is named by model={'name': 'resnet20'}"
        )
    for name in old_names.ARGUMENTS.keys() & fields.keys():
        raise InputError(f"there is no argument {name}: {old_names.ARGUMENTS[name]}")
    base = recipe if isinstance(recipe, Recipe) else recipes.load(str(recipe))
    table = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    if net is not None:
        model = table.setdefault("model", {})
        if isinstance(model, dict):  # anything else is refused below
            table["model"] = {"width": 1.0, "dropout": 0.0, **model, "name": function_name(net)}
    if isinstance(data, Dataset):
        counts = {"val_images": len(data.val), "train_images": len(data.train)}
        table["data"] = {"name": "own", "flip": data.spec.flip, "resize": 0} | counts
    elif isinstance(data, Mapping):
        table["data"] = data
    elif data is not None:
        raise InputError(
            "data must be what robust_tickets.images gives, or a table of fields, got a "
            f"{type(data).__name__}"
        )
    make = partial(copy_net, net) if isinstance(net, nn.Module) else net
    machine = Machine(device, stderr_progress())
    return Experiment(
        recipes.from_table(table, base), make, data if isinstance(data, Dataset) else None, machine
    )


def _warn(title: str, messages: Iterable[str]) -> None:
    for message in messages:
        warnings.warn(f"{title}: {message}", RobustnessWarning, stacklevel=3)


def _checked_jobs(jobs: int) -> int:
    if type(jobs) is not int or jobs < 1:
        raise InputError(f"jobs must be a whole number of at least 1, got {jobs!r}")
    return jobs


def _checked_seed(seed: int) -> int:
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed must be a whole number of at least 0 and below 2**31, got {seed!r}")
    return seed
