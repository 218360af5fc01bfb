"""Rounds that an earlier search has done already."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import JUDGING
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.reuse import same_machine
from robust_tickets.tickets.methods.base import SearchResult
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class EarlierRounds:
    """Rounds on disk: their result, their cost, and their folder."""

    result: SearchResult
    ledger: dict[str, Any]
    folder: ArmDirectory


def earlier_rounds(
    experiment: Experiment, seed: int, run: RunDirectory, inputs: Mapping[str, str]
) -> EarlierRounds | None:
    """Read the most rounds, at most as many as the recipe wants, that a search like this one has done.

    Looks in the run directory and in those beside it that began on the same machine with the same inputs.
    Files that cannot be read are passed over, with a line in the log.
    """
    recipe = experiment.recipe
    candidates = [
        (rounds, folder)
        for other in _similar_runs(recipe, run)
        for rounds, folder in _rounds(other, seed)
        if rounds <= make_pruning_method(recipe.search).rounds
        and (other.path == run.path or same_machine(other, experiment.machine, inputs))
    ]
    method, model = make_pruning_method(recipe.search), experiment.model_spec
    for rounds, folder in sorted(candidates, key=lambda item: item[0], reverse=True):
        try:
            name = method.network(rounds)
            own = replace(model, name=name or model.name)
            return _read(folder, rounds, (search_fields(recipe, rounds), inputs["images"], own, seed), name)
        except InputError as error:
            experiment.log(f"passed over: {error}")
    return None


def _read(folder: ArmDirectory, rounds: int, origin: tuple[Any, ...], network: str) -> EarlierRounds:
    """Read so many rounds from a folder.

    origin: part of the recipe, fingerprint of the images, network and seed of their search.
    network: the name of the last round's, where it is not the recipe's.

    Raises InputError for files that are damaged or not of that search.
    """
    ticket = Ticket.load(folder.ticket)
    account = files.read_json(folder.ledger)
    history = files.read_jsonl(folder.metrics)
    try:
        warnings = tuple(map(str, account["warnings"]))
        result = SearchResult(ticket.init, ticket.mask, history, warnings, network)
        Ledger("search").add_report(account)  # raises now rather than when the search resumes
        same = (result.rounds, ticket.passes) == (rounds, account["charged_passes"])
        same = same and (ticket.search, ticket.data, ticket.model, ticket.seed) == origin
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is damaged ({type(error).__name__}: {error}): remove it") from None
    if not same:
        raise InputError(f"{folder} holds files of another search than this one with {rounds} rounds")
    return EarlierRounds(result, account, folder)


def _similar_runs(recipe: Recipe, run: RunDirectory) -> Iterator[RunDirectory]:
    """The run directory itself, and those beside it that search alike but for the number of rounds."""
    yield run
    for other in run.siblings():
        if _without_rounds(other.recipe) == _without_rounds(recipe):
            yield other


def _without_rounds(recipe: Recipe) -> dict[str, Any]:
    table = recipes.to_table(recipe)
    del table["search"]["rounds"]
    for field in JUDGING:
        del table["evaluate"][field]
    return {
        concern: table[concern] for concern in ("data", "model", "threat", "search", "evaluate", "compute")
    }


def _rounds(run: RunDirectory, seed: int) -> Iterator[tuple[int, ArmDirectory]]:
    folder = run.search(seed)
    if folder.is_finished:
        yield make_pruning_method(run.recipe.search).rounds, folder
    yield from folder.rounds()
