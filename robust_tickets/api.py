"""The same job from Python, on nets and tensors of the user's own.

    data = images(train=(x, y), test=(x_test, y_test), val_images=500)
    ticket = find_ticket(build_net, data, search={"epochs": 5})
    trained = train(build_net, data, ticket, train={"ticket_epochs": 5})

`net` is a function that returns a fresh nn.Module, or a module, which is copied and never changed; None
means the recipe's own. `data` comes from `images`, or is a table of the recipe's fields on data; None means
the recipe's own data set. `recipe` is a shipped name, a TOML file or a Recipe; keyword arguments named like
its concerns override its fields. PyTorch's number of threads is set to `compute.threads`, and stays so.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from robust_tickets.base.errors import InputError, RobustnessWarning, unknown_name
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import Progress, SilentProgress, stderr_progress
from robust_tickets.comparison import compare as comparison
from robust_tickets.data.dataset import Dataset
from robust_tickets.data.user_images import from_tensors as images
from robust_tickets.evaluation import evaluate as evaluation
from robust_tickets.evaluation import result, sanity_checks, sanity_report
from robust_tickets.evaluation.evaluate import EvaluationConfig
from robust_tickets.models.fold import copy_net, fold
from robust_tickets.models.placement import place_net
from robust_tickets.models.user_net import NetFactory, check_logits, function_name
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import STUDIES
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment, make_ticket
from robust_tickets.stages.unsupported import warn_unsupported
from robust_tickets.studies import study as studies
from robust_tickets.tickets.methods.base import SearchTask
from robust_tickets.tickets.search import find_ticket as search_tickets
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit

__all__ = ["Trained", "compare", "evaluate", "find_ticket", "images", "study", "train"]

Net = nn.Module | NetFactory
Images = Dataset | Mapping[str, Any] | None


@dataclass(frozen=True)
class Trained:
    """A trained net, with the weights of the epoch that validation chose, in eval mode.

    `history` has a row an epoch (accuracies are fractions); `last` is the state dict of the last epoch;
    `ledger` is where seconds, passes and FLOPs went.
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
    quiet: bool = False,
    **fields: Any,
) -> Ticket:
    """Find a boosting ticket: train, prune, rewind, for the rounds of `search`.

    `ticket.save(path)` writes it. Raises InputError for what cannot be searched with.
    """
    what, machine = _experiment(net, data, recipe, fields), _machine(device, quiet)
    _check_seed(seed)
    machine.prepare(what.recipe.compute.threads)
    module = warn_unsupported(what.fresh_net(seed, machine), machine.progress.log)
    ledger = Ledger("search", clock_for(device))
    with ledger.measure():
        with ledger.phase("load"):
            dataset = what.load(machine)
        plan = planning.search_plan(what.recipe, dataset.spec)
        search = what.recipe.search
        with machine.progress.stage(f"search, seed {seed}", plan.steps) as meter:
            how = what.fit(search, plan.round_steps, seed)
            found = search_tickets(search, SearchTask(module, dataset, how, Session(ledger, meter)))
    for warning in found.warnings:
        warnings.warn(f"a warning of this search: {warning}", RobustnessWarning, stacklevel=2)
    return make_ticket(what, found, dataset, seed, ledger)


def train(
    net: Net | None = None,
    data: Images = None,
    ticket: Ticket | None = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seed: int = 0,
    device: str = "cpu",
    quiet: bool = False,
    **fields: Any,
) -> Trained:
    """Train adversarially: dense for `train.epochs`, or from a ticket for `train.ticket_epochs`.

    Raises InputError for a ticket that does not fit the net.
    """
    what, machine = _experiment(net, data, recipe, fields), _machine(device, quiet)
    _check_seed(seed)
    if not isinstance(ticket, Ticket | None):
        raise InputError(
            f"ticket is a {type(ticket).__name__}, expected what find_ticket gave, or Ticket.load(path) of "
            "robust_tickets.tickets"
        )
    machine.prepare(what.recipe.compute.threads)
    module = warn_unsupported(what.fresh_net(seed, machine), machine.progress.log)
    shape, say = what.spec(machine).shape, machine.progress.log
    ledger = Ledger("train", clock_for(device))
    with ledger.measure():
        with ledger.phase("prune"):
            begins = starting_net(module, ticket, shape, what.recipe.compute, say)
        with ledger.phase("load"):
            dataset = what.load(machine)
        plan = planning.plan(what.recipe, "dense" if ticket is None else "ticket", dataset.spec)
        with machine.progress.stage(f"{plan.arm}, seed {seed}", plan.steps) as meter:
            how = what.fit(plan.training, plan.steps, seed)
            fitted = fit(begins.net, begins.mask, dataset, how, Session(ledger, meter))
    for warning in fitted.warnings:
        warnings.warn(f"a warning of this training: {warning}", RobustnessWarning, stacklevel=2)
    load_weights(begins.net, fitted.best, "best epoch")
    history = pd.DataFrame(fitted.history)
    return Trained(begins.net.eval(), fitted.best_epoch, history, fitted.last, ledger.report())


def evaluate(
    net: nn.Module,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    attacks: Sequence[str] = ("clean", "fgsm", "pgd-20"),
    limit: int = 0,
    seed: int = 0,
    device: str = "cpu",
    **fields: Any,
) -> pd.DataFrame:
    """Accuracy of a net, fractions of the test images, a row an attack, and their worst case last.

    attacks: names, as on the command line. limit: test images, balanced over the classes; 0 means all.
    `low` and `high` are the 95 % interval; passes are samples through the net. Warns (RobustnessWarning) of
    each sanity check that does not pass. Raises InputError for an unknown attack, or a net that does not fit
    the images.
    """
    if not isinstance(net, nn.Module):
        raise InputError(
            f"net is a {type(net).__name__}, expected the trained nn.Module itself, as the net of what train "
            "gave"
        )
    if limit < 0:
        raise InputError(f"limit must be at least 0, got {limit}")
    what, machine = _experiment(net, data, recipe, fields), _machine(device, quiet=True)
    _check_seed(seed)
    machine.prepare(what.recipe.compute.threads)
    settings, compute = what.recipe.evaluate, what.recipe.compute
    ours = place_net(copy_net(net), compute, machine)
    check_logits(ours, what.model_spec(machine))
    folded = fold(ours)
    split = what.load(machine).test.first(limit)
    how = EvaluationConfig(what.threat, settings.rel_step, settings.batch, seed, compute.channels_last)
    named = [attacks] if isinstance(attacks, str) else attacks
    rows = list(evaluation.evaluate(folded, split, named, how))
    checks = sanity_checks.run_sanity_checks(folded, split, how).merge(sanity_report.order_of_attacks(rows))
    for warning in checks.warnings:
        warnings.warn(f"this robust accuracy may mislead: {warning}", RobustnessWarning, stacklevel=2)
    rows = [*rows, result.worst_case(rows)] if len(rows) > 1 else rows
    columns = ["attack", "n", "accuracy", "low", "high", "seconds", "passes"]
    values = [(r.attack, len(r.robust), r.accuracy, *r.interval, r.seconds, r.passes.total) for r in rows]
    return pd.DataFrame(values, columns=columns)


def compare(
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int = 1,
    seed: int = 0,
    runs: Path | str = "runs",
    jobs: int = 1,
    device: str = "cpu",
    quiet: bool = False,
    **fields: Any,
) -> Path:
    """Run all arms of `seeds` seeds, from `seed` on; gives the run directory, with timing.md and timing.csv.

    What is finished is not done again. jobs: how many arms are under way beside each other, in processes of
    their own, for which a script needs its `if __name__ == "__main__":`. Raises InputError for a module with
    several seeds: it has one init.
    """
    what = _seeded(net, data, recipe, fields, seeds, seed)
    machine = _machine(device, quiet)
    return comparison.compare(what, range(seed, seed + seeds), Path(runs), machine, _jobs(jobs)).path


def study(
    name: str,
    net: Net | None = None,
    data: Images = None,
    recipe: str | Path | Recipe = Recipe(),
    *,
    seeds: int = 3,
    seed: int = 0,
    runs: Path | str = "runs",
    jobs: int = 1,
    device: str = "cpu",
    quiet: bool = False,
    **fields: Any,
) -> Path:
    """Ask a question by a grid of comparisons, over `seeds` seeds from `seed` on; gives the study's folder.

    name: one of `robust_tickets.recipe.studies.STUDIES`, such as "controls"; its settings are a field of
        `study`. The folder has <name>.csv, <name>.svg and <name>.md, the verdict. Cells that are finished are
        not run again. jobs, and what is raised, as `compare` has it; also for settings that make no sense.
    """
    if name not in STUDIES:
        raise unknown_name("study", str(name), STUDIES)
    what = _seeded(net, data, recipe, fields, seeds, seed)
    machine = _machine(device, quiet)
    return studies.study(name, what, range(seed, seed + seeds), Path(runs), machine, _jobs(jobs)).folder


def _seeded(
    net: Net | None,
    data: Images,
    recipe: str | Path | Recipe,
    fields: dict[str, Any],
    seeds: int,
    seed: int,
) -> Experiment:
    """The experiment, once it is sure that it can have so many seeds."""
    if type(seeds) is not int or seeds < 1:
        raise InputError(f"seeds must be a whole number of at least 1, got {seeds!r}")
    _check_seed(seed)
    what = _experiment(net, data, recipe, fields)
    if isinstance(net, nn.Module) and seeds > 1 and what.recipe.model.init == "default":
        raise InputError(
            f"{seeds} seeds need as many inits, and a module has one: hand over a function that returns a "
            "fresh net, or give model={'init': 'glorot-normal'}"
        )
    return what


def _experiment(
    net: Net | None, data: Images, recipe: str | Path | Recipe, fields: dict[str, Any]
) -> Experiment:
    if net is not None and not callable(net):
        raise InputError(
            f"net is a {type(net).__name__}, expected a function that returns an nn.Module, or a module; a "
            "net of ours is named by model={'name': 'resnet20'}"
        )
    whole = recipe if isinstance(recipe, Recipe) else recipes.load(str(recipe))
    table = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    if net is not None:
        model = table.setdefault("model", {})
        if isinstance(model, dict):  # what is no table is complained of below
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
    whole = recipes.from_table(table, whole)
    make = partial(copy_net, net) if isinstance(net, nn.Module) else net
    return Experiment(whole, make, data if isinstance(data, Dataset) else None)


def _jobs(jobs: int) -> int:
    if type(jobs) is not int or jobs < 1:
        raise InputError(f"jobs must be a whole number of at least 1, got {jobs!r}")
    return jobs


def _check_seed(seed: int) -> None:
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"seed must be a whole number of at least 0 and below 2**31, got {seed!r}")


def _machine(device: str, quiet: bool) -> Machine:
    progress: Progress = SilentProgress() if quiet else stderr_progress()
    return Machine(device, progress)
