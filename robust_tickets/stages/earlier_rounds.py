"""Rounds that an earlier search has done already."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.reuse import same_machine
from robust_tickets.tickets.methods.base import SearchResult
from robust_tickets.tickets.ticket import Ticket


@dataclass(frozen=True)
class EarlierRounds:
    """Rounds found on disk: what they gave, what they cost, and where they lie."""

    found: SearchResult
    ledger: dict[str, Any]
    folder: ArmDirectory


def earlier_rounds(
    what: Experiment, seed: int, run: RunDirectory, machine: Machine, inputs: Mapping[str, str]
) -> EarlierRounds | None:
    """The most rounds, at most as many as the recipe wants, that a search like this one has done.

    Sought in the run directory and in those beside it, if they were begun on the same machine with the same
    inputs. What cannot be read is passed over and said so.
    """
    wanted = what.recipe.search.rounds
    candidates = [
        (rounds, folder)
        for other in _alike(what.recipe, run)
        for rounds, folder in _rounds(other, seed)
        if rounds <= wanted and same_machine(other, machine, inputs)
    ]
    model = what.model_spec(machine)
    for rounds, folder in sorted(candidates, key=lambda item: item[0], reverse=True):
        try:
            return _read(folder, rounds, (search_fields(what.recipe, rounds), inputs["images"], model, seed))
        except InputError as error:
            machine.progress.log(f"passed over: {error}")
    return None


def _read(folder: ArmDirectory, rounds: int, origin: tuple[Any, ...]) -> EarlierRounds:
    """So many rounds from a folder, of a search with this part of the recipe, images, net and seed.

    Raises InputError for files that are damaged or not of that search.
    """
    ticket = Ticket.load(folder.ticket)
    account = files.read_json(folder.ledger)
    history = files.read_jsonl(folder.metrics)
    try:
        warnings = tuple(map(str, account["warnings"]))
        found = SearchResult(ticket.init, ticket.mask, history, warnings)
        Ledger("search").add_report(account)  # complain now, not when the search goes on from it
        belong = (found.rounds, ticket.passes) == (rounds, account["charged_passes"])
        belong = belong and (ticket.search, ticket.data, ticket.model, ticket.seed) == origin
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is damaged ({type(error).__name__}: {error}): remove it") from None
    if not belong:
        raise InputError(f"{folder} holds files of another search than this one with {rounds} rounds")
    return EarlierRounds(found, account, folder)


def _alike(what: Recipe, run: RunDirectory) -> Iterator[RunDirectory]:
    """The run directory itself, and those beside it that search alike but for the number of rounds."""
    yield run
    for other in run.siblings():
        if _but_for_rounds(other.recipe) == _but_for_rounds(what):
            yield other


def _but_for_rounds(what: Recipe) -> dict[str, Any]:
    whole = recipes.to_table(what)
    del whole["search"]["rounds"]
    return {
        concern: whole[concern] for concern in ("data", "model", "threat", "search", "evaluate", "compute")
    }


def _rounds(run: RunDirectory, seed: int) -> Iterator[tuple[int, ArmDirectory]]:
    folder = run.search(seed)
    if folder.is_finished:
        yield run.recipe.search.rounds, folder
    yield from folder.rounds()
