"""What a pruning method is: it finds the mask of a ticket and the weights that the ticket starts from.

Files of pruning methods are importable without torch, since every `--help` and every check of a recipe reads
them: what needs torch is imported where it is used.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.recipe.methods import WRAPPERS, make_method
from robust_tickets.training.methods.base import NoSettings

if TYPE_CHECKING:
    from torch import nn

    from robust_tickets.data.dataset import Dataset
    from robust_tickets.models.weights import StateDict
    from robust_tickets.pruning.mask import Mask
    from robust_tickets.recipe.training_fields import Search
    from robust_tickets.tickets.pruning_step import PruningStep
    from robust_tickets.training.config import Session, TrainingConfig
    from robust_tickets.training.loop import TrainingResult


QUEUE = 4
"""Epochs whose masks a round's newest mask is compared with (You et al. 2020 keep the last five in all)."""


@dataclass(frozen=True)
class SearchPlan:
    """A search in optimiser steps.

    round_steps: length of a round's schedule; 0 in a search that trains nothing.
    rewind: step of the first round that later rounds start from.
    rounds: number of rounds; 1 in a search that trains nothing.
    per_epoch: steps of an epoch.
    last_steps: length of the last round, where it is another than that of the others; 0: it is not.
    """

    round_steps: int
    rewind: int
    rounds: int
    per_epoch: int
    last_steps: int = 0

    @property
    def schedules(self) -> list[tuple[int, int]]:
        """Of each round the step that it begins at, and the length of its schedule."""
        others = [(self.rewind, self.round_steps)] * (self.rounds - 1)
        if others and self.last_steps:
            others[-1] = (0, self.last_steps)
        return [(0, self.round_steps), *others]

    @property
    def steps_of_rounds(self) -> list[int]:
        """Steps of each round: the first from the init, every other from the rewind step on."""
        return [length - begin for begin, length in self.schedules]

    @property
    def steps(self) -> int:
        """Steps of all rounds."""
        return sum(self.steps_of_rounds)

    @property
    def validations(self) -> int:
        """How often it is validated, at most: after every epoch of every round."""
        return sum(-(-length // self.per_epoch) for _, length in self.schedules)


@dataclass(frozen=True)
class SearchResult:
    """What a search, or its rounds so far, gives.

    init: the state dict that the ticket starts from.
    mask: the ticket's mask.
    history: a record an epoch, with its `round`, counted from 1.
    warnings: those of its trainings' monitors.
    network: the name of the network of init and mask; "": the recipe's.
    """

    init: "StateDict"
    mask: "Mask"
    history: list[dict[str, Any]]
    warnings: tuple[str, ...] = ()
    network: str = ""

    @property
    def rounds(self) -> int:
        """How many rounds it took; 1 for a search that trains nothing."""
        return int(self.history[-1]["round"]) if self.history else 1


def _no_other_network(name: str) -> "nn.Module":
    raise InputError(f"there is no {name} here: search from a recipe")


@dataclass(frozen=True)
class SearchTask:
    """What a pruning method finds a ticket for.

    net: the network at its init; it may be trained in place.
    data: the images of the search.
    config: the training of a round; a method that trains nothing takes batches, threat and seed from it.
    session: takes seconds, passes and FLOPs, shows the progress, saves states within a round.
    earlier: result of the rounds to resume after; None: start with the first.
    save: called with the result so far after each round.
    keep: called instead with a round that no further one can follow, before that is refused.
    build: makes another network at its init, by its name.
    """

    net: "nn.Module"
    data: "Dataset"
    config: "TrainingConfig"
    session: "Session"
    earlier: SearchResult | None = None
    save: Callable[[SearchResult], None] = lambda result: None
    keep: Callable[[SearchResult], None] = lambda result: None
    build: "Callable[[str], nn.Module]" = _no_other_network


class PruningMethod(ABC):
    """One way to find a ticket.

    search: the recipe's fields of the search.

    Class attributes:
    Settings: dataclass of the method's own settings, whose fields become the recipe's
        `search.<name>.<field>`. All have defaults; an instance has them as `settings`.
    unused: fields of `search` that do nothing with the method, each with the reason. Wrappers that no search
        has may be among them: a wrapper's class is not loaded here, since its file may import this one.
    trains: whether it trains the network, so that learning rate, length and rounds matter.
    uses_data: whether it looks at the images at all.

    A search resumes after each of its `rounds`; `keeps_trained_weights` says whether its tickets start from
    weights that it trained, `trains_smaller_networks` whether rounds after the first have fewer channels.
    """

    Settings: ClassVar[type] = NoSettings
    unused: ClassVar[Mapping[str, str]] = {}
    trains: ClassVar[bool] = True
    uses_data: ClassVar[bool] = True
    trains_smaller_networks: ClassVar[bool] = False

    def __init__(self, search: "Search") -> None:
        self.search = search
        self.settings: Any = getattr(search, search.pruning_method, None) or self.Settings()

    @property
    def rounds(self) -> int:
        """How many rounds it takes."""
        return 1

    def network(self, number: int) -> str:
        """The name of the network of a round, from 1; "": the recipe's."""
        return ""

    @property
    def keeps_trained_weights(self) -> bool:
        """Whether its tickets start from the weights at the end of its training."""
        return False

    @abstractmethod
    def find(self, task: SearchTask) -> SearchResult:
        """Find a ticket. Raises InputError where the pruned network could not be trained."""

    @abstractmethod
    def plan(self, per_epoch: int) -> SearchPlan:
        """The search in steps, of which an epoch has `per_epoch`. Raises InputError for impossible ones."""

    @abstractmethod
    def passes(self, plan: SearchPlan, classes: int) -> Passes:
        """Passes of the whole search on images of so many classes; at most, where it may end early."""

    def check_networks(  # noqa: B027
        self, net: "nn.Module", build: "Callable[[str], nn.Module]", shape: tuple[int, int, int]
    ) -> None:
        """Raise InputError, before anything is written or trained, for networks that it finds no ticket of.

        net: the recipe's network, which may be changed.
        build: makes another network at its init, by its name.
        shape: channels, height and width of an image.
        """

    def check(self) -> None:
        """Raise InputError where a field of the search makes no sense with the method."""
        name = self.search.pruning_method
        for field in dataclasses.fields(self.search):
            if field.name in self.unused and getattr(self.search, field.name) != field.default:
                raise InputError(
                    f"search.{field.name} does nothing with search.pruning_method {name}, "
                    f"{self.unused[field.name]}: leave it as by default, or choose another method"
                )

    def describe(self) -> str:
        """The search in a few words, for people."""
        return f"{self.search.pruning_method}, {self.search.method}"

    @property
    def redundant_transforms(self) -> frozenset[str]:
        """Ticket transforms that give no other ticket than the method with another seed."""
        return frozenset()


def round_length(search: "Search", per_epoch: int) -> int:
    """The optimiser steps of a round, of which an epoch has `per_epoch`.

    Raises InputError for a round too short to end early by its masks.
    """
    steps = search.iterations or search.epochs * per_epoch
    epochs = -(-steps // per_epoch)
    if search.stop_distance and epochs <= QUEUE:
        raise InputError(
            f"search.stop_distance compares a mask with those of the last {QUEUE} epochs, and a round "
            f"has only {epochs}: give more by search.epochs (or search.iterations), or leave it out"
        )
    return steps


class PruningByTraining(PruningMethod):
    """A method whose rounds train the network as the search's settings say."""

    def passes(self, plan: SearchPlan, classes: int) -> Passes:
        method, passes = make_method(self.search), Passes()
        for begin, length in plan.schedules:
            passes.add(method.schedule_passes(self.search.batch, begin, length, classes).whole)
        return passes

    def end_round(self, task: SearchTask, net: "nn.Module", result: SearchResult) -> None:
        """Save a round. Raises InputError, once it is kept, where no path leads through its network."""
        from robust_tickets.tickets.connectivity import check_paths

        try:
            check_paths(net, result.mask, task.data.spec.shape)
        except InputError as error:
            task.keep(result)
            raise InputError(f"after round {result.rounds}, {error}") from None
        task.save(result)


def records_with(
    earlier: SearchResult | None, trained: "TrainingResult"
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """History and warnings of a search after one more round; earlier: what it gave before, if anything."""
    number = 1 if earlier is None or not earlier.history else earlier.rounds + 1
    history = [] if earlier is None else earlier.history
    warnings = () if earlier is None else earlier.warnings
    return (
        [*history, *({"round": number, **record} for record in trained.history)],
        (*warnings, *(f"round {number}, {warning}" for warning in trained.warnings)),
    )


def describe_length(search: "Search") -> str:
    """The length of a round, in words."""
    return f"{search.iterations} steps" if search.iterations else f"{search.epochs} epochs"


class PruningAtInit(PruningMethod):
    """A method that prunes the untrained network; a subclass gives the mask."""

    unused: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("rounds", "rewind_iterations", "rewind_epochs", "stop_distance", "after", *WRAPPERS),
        "which trains nothing",
    ) | dict.fromkeys(("basis", "basis_axes"), "which prunes weights")
    trains = False

    @abstractmethod
    def mask(self, task: SearchTask, step: "PruningStep") -> "Mask":
        """The mask of the untrained network; `step` prunes by scores."""

    def find(self, task: SearchTask) -> SearchResult:
        from robust_tickets.models.weights import copy_state
        from robust_tickets.tickets.connectivity import check_paths
        from robust_tickets.tickets.pruning_step import pruning_step

        net, shape, init = task.net, task.data.spec.shape, copy_state(task.net)
        step = pruning_step(net, self.search, shape)
        mask = self.mask(task, step)
        check_paths(net, mask, shape)
        if task.config.compute.compact:
            step.compact(net, mask)  # refuses now a network whose channels cannot be removed
        task.session.meter.note(f"density {mask.density:.1%}")
        result = SearchResult(init, mask, [])
        task.save(result)
        return result

    def plan(self, per_epoch: int) -> SearchPlan:
        return SearchPlan(round_steps=0, rewind=0, rounds=1, per_epoch=per_epoch)
