"""What each study varies: its cells, each a recipe of `compare`."""

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Spec
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import ArmName, Compare, Search, Study, Train
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.pruning_methods import make_pruning_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import plan

MAKING: tuple[ArmName, ...] = ("ticket", "ticket-reinit")
"""The arms of most studies besides dense ones: the ticket, and its mask with a new init."""


@dataclass(frozen=True)
class Cell:
    """One setting of a study: its name in the table, and the recipe whose arms are compared there.

    `source` is the recipe that the ticket is found by, where that is another one: then it is an arm of its
    own, `ticket-from`.
    """

    setting: str
    recipe: Recipe
    source: Recipe | None = None


def _beside_dense(train: Train, others: tuple[ArmName, ...]) -> Compare:
    """These arms, beside dense and, where the ticket's schedule is another, beside dense on that.

    Warm-up and milestones are shares of a schedule, so that two of different lengths differ from the
    first step.
    """
    same = (train.epochs, train.iterations) == (train.ticket_epochs, train.ticket_iterations)
    beside = others if "dense" in others else ("dense", *others)
    if not same and "dense-short" not in beside:
        at = beside.index("dense") + 1
        beside = (*beside[:at], "dense-short", *beside[at:])
    return Compare(beside)


def _searched(base: Recipe, **changes: Any) -> Recipe:
    return replace(base, search=replace(base.search, **changes), compare=_beside_dense(base.train, MAKING))


def _lr(base: Recipe) -> Iterator[Cell]:
    for lr in base.study.lr:
        yield Cell(f"{lr:g}", _searched(base, lr=lr))


def _ratio(base: Recipe) -> Iterator[Cell]:
    """The fraction that is pruned in the end, whatever the rounds."""
    compare = _beside_dense(base.train, MAKING if make_pruning_method(base.search).uses_data else MAKING[:1])
    for ratio in base.study.ratio:
        yield Cell(
            f"{ratio:g}",
            replace(base, search=_at_density(base.search, 1 - ratio, ratio), compare=compare),
        )


def _at_density(search: Search, density: float, once: float) -> Search:
    """The search that leaves that density in the end; `once` is the share that one round removes for it."""
    return replace(search, ratio=once if search.rounds == 1 else 1 - density ** (1 / search.rounds))


def _width(base: Recipe) -> Iterator[Cell]:
    for width in base.study.width:
        model, compare = replace(base.model, width=width), _beside_dense(base.train, MAKING)
        recipe = replace(base, model=model, compare=compare)
        yield Cell(f"{width:g}", recipe)


def _mask_source(base: Recipe) -> Iterator[Cell]:
    for method in base.study.mask_source:
        yield Cell(method, _searched(base, method=method))


def _search_length(base: Recipe) -> Iterator[Cell]:
    if base.search.iterations:
        raise InputError("it is in epochs: use a recipe without search.iterations")
    for epochs in base.study.search_length:
        yield Cell(f"{epochs}", _searched(base, epochs=epochs))


def _rounds(base: Recipe) -> Iterator[Cell]:
    """As many rounds, each removing what leaves the densities that the base's own rounds end with."""
    search = base.search
    for rounds in base.study.rounds:
        changes: dict[str, Any] = {"rounds": rounds}
        for field in ("ratio", "fc_ratio", "output_ratio"):
            share = getattr(search, field)
            if share is not None and rounds != search.rounds:
                changes[field] = 1 - (1 - share) ** (search.rounds / rounds)
        yield Cell(f"{rounds}", _searched(base, **changes))


def _controls(base: Recipe) -> Iterator[Cell]:
    for arm in ("dense", "ticket"):
        if arm not in base.study.controls:
            raise InputError(f"study.controls lacks {arm}, which the controls are held against: add it")
    asked = base.study.controls
    if asked == Study().controls:  # nobody asked for those that this ticket makes no sense of
        asked = tuple(arm for arm in asked if _makes_sense(base, arm))
    yield Cell("controls", replace(base, compare=_beside_dense(base.train, asked)))


def _makes_sense(base: Recipe, arm: str) -> bool:
    try:
        recipes.check(replace(base, compare=Compare(("dense", arm) if arm != "dense" else ("dense",))))
    except InputError:
        return False
    return True


def _schedule(base: Recipe) -> Iterator[Cell]:
    all_: tuple[ArmName, ...] = ("dense", "dense-short", "dense-equal-cost", "ticket")
    if base.train.iterations:
        raise InputError("it is in epochs: use a recipe without train.iterations")
    for epochs in base.study.schedule:
        train = replace(base.train, ticket_epochs=epochs)
        yield Cell(f"{epochs}", replace(base, train=train, compare=Compare(all_)))


def _transfer(base: Recipe) -> Iterator[Cell]:
    """The ticket found by the base with one field changed, trained by the base."""
    there = replace(base, compare=_beside_dense(base.train, MAKING))
    for change in base.study.transfer:
        yield Cell(change, there, changed(base, change))


GRIDS: dict[str, Callable[[Recipe], Iterator[Cell]]] = {
    "lr": _lr,
    "ratio": _ratio,
    "width": _width,
    "mask-source": _mask_source,
    "search-length": _search_length,
    "rounds": _rounds,
    "controls": _controls,
    "schedule": _schedule,
    "transfer": _transfer,
}
"""The studies by name: the cells that a base recipe gives."""


_AGAINST_EACH_OTHER = ("lr", "width", "mask-source", "search-length", "rounds")
"""Studies whose claim is about several settings; the others hold arms of one setting against each other."""

_OF_TRAINING = ("lr", "search-length", "rounds")
"""Studies of what only a search that trains has."""

_OF_INIT = ("width", "mask-source", "transfer")
"""Studies of what a random mask knows nothing of."""


def cells(name: str, base: Recipe) -> list[Cell]:
    """The cells of a study. Raises InputError where it, or one of them, makes no sense."""
    try:
        _check(name, base)
        found = list(GRIDS[name](base))
    except InputError as error:
        raise InputError(f"study {name}: {error}") from None
    for cell in found:
        try:
            recipes.check(cell.recipe)
            if cell.source is not None:
                recipes.check(cell.source)
        except InputError as error:
            raise InputError(f"study {name}, setting {cell.setting}: {named(name, str(error))}") from None
    field = f"study.{name.replace('-', '_')}"
    if len({cell.setting for cell in found}) < len(found):
        raise InputError(f"{field} names a setting twice: leave one out")
    if name in _AGAINST_EACH_OTHER and len(found) < 2:
        raise InputError(
            f"{field} has one setting, {found[0].setting}, and they are held against each other: add one"
        )
    return found


_VARIED = {
    "controls": "compare.arms",
    "ratio": "search.ratio",
    "width": "model.width",
    "lr": "search.lr",
    "search-length": "search.epochs",
    "rounds": "search.rounds",
}
"""Fields that a study's grid sets, so that it is the grid that a user would change."""


def named(name: str, message: str) -> str:
    """A message about a cell, in which a field that the grid sets goes by the grid's name."""
    field = _VARIED.get(name)
    return message.replace(field, f"study.{name.replace('-', '_')}") if field else message


def check(name: str, grid: Sequence[Cell], spec: Spec) -> None:
    """Raise InputError, before anything is run, for arms that are shorter than what the claims look at."""
    for cell in grid if name != "schedule" else ():
        span = cell.recipe.evaluate.early_epochs
        for arm in cell.recipe.compare.trained:
            epochs = plan.plan(cell.recipe, arm, spec).epochs
            if epochs < span:
                raise InputError(
                    f"study {name}, setting {cell.setting}: it is about the first {span} epochs "
                    f"(evaluate.early_epochs), but {arm} is trained for {epochs:.4g}: lower that, or train "
                    "for longer"
                )


def _check(name: str, base: Recipe) -> None:
    """Raise InputError for a recipe of which the question cannot be asked."""
    search = base.search
    if name != "schedule" and not base.evaluate.early_epochs:
        raise InputError("it is about the first epochs: let evaluate.early_epochs be at least 1")
    method = make_pruning_method(search)
    if (name in _OF_TRAINING and not method.trains) or (name in _OF_INIT and not method.uses_data):
        raise InputError(
            f"what it varies does nothing with search.pruning_method {search.pruning_method}: choose imp"
        )
    if name == "ratio" and (search.fc_ratio is not None or search.output_ratio is not None):
        raise InputError(
            "it varies one share for all layers: use a recipe without search.fc_ratio and search.output_ratio"
        )


def changed(base: Recipe, change: str) -> Recipe:
    """The recipe with one field changed, as `threat.eps=4/255`. Raises InputError where that is none."""
    place, equals, value = change.partition("=")
    *path, last = place.strip().split(".")
    if not (equals and path and path[0] in ("data", "threat", "search")):
        raise InputError(
            f"study.transfer {change!r} is no change of data, threat or search: write it as threat.eps=4/255"
        )
    try:
        table = {last: tomllib.loads(f"value = {value}")["value"]}
    except tomllib.TOMLDecodeError:
        table = {last: value.strip()}  # a bare word, as natural
    for part in reversed(path):
        table = {part: table}
    try:
        found = recipes.from_table(table, base)
        if found.data.name != base.data.name:  # the root is where the base's images are
            found = replace(found, data=replace(found.data, root=None))
    except InputError as error:
        raise InputError(f"study.transfer {change!r}: {error}") from None
    if found == base:
        raise InputError(f"study.transfer {change!r} changes nothing: the recipe has that already")
    if path[0] == "threat" and not make_method(base.search).attacks:
        raise InputError(f"study.transfer {change!r} changes nothing: a natural search has no adversary")
    return found
