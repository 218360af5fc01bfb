"""The record of an arm, one row of a comparison; `recipe.arms` is the table of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.recipe.training_fields import Training
    from robust_tickets.report.verdict import ArmFigures
    from robust_tickets.stages.step_lengths import StepLengths


@dataclass(frozen=True)
class Schedule:
    """How long something is trained, and with which settings.

    steps: chooses the optimiser steps from the lengths.
    settings: chooses the training settings from the recipe; None: `[train]`, changed by the arm's own tables.
    follows_ticket: the steps depend on what the ticket cost, where the comparison has one.
    follows_seconds: they depend on the seconds that the arm `ticket` took, and on those of a step.
    """

    steps: Callable[["StepLengths"], int]
    settings: Callable[["Recipe"], "Training"] | None = None
    follows_ticket: bool = False
    follows_seconds: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage that comes before an arm's own training and is charged to the arm.

    folder: its folder beside those of the arms.
    schedule: how the whole network is trained in it; None: it is the search.
    note: a sentence on its cost, for the notes under the table.
    """

    folder: str
    schedule: Schedule | None = None
    note: str = ""


SEARCH = Stage("search")
"""The search for the ticket."""


def no_sentence(figures: "dict[str, ArmFigures]") -> str:
    """Add nothing to the text under the table."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of a comparison. A record that lacks something is refused when it is made.

    name: as recipes, tables and folders have it.
    help: what it is, for `--help`.
    colour: in every plot, as #RRGGBB; arms with a plus get one from the plot (`report.arm_styles`).
    schedule: the length and settings of its training.
    sentence: makes its part of the text under the table, from the figures by arm; asked only where the
        comparison has a ticket.
    network: what is trained: the whole network, the ticket, a narrow network of the ticket's size, or the
        network from its init under a random mask (Erdos-Renyi with kernel sizes) of the ticket's density.
    match: of a narrow network, the quantity in which it equals the ticket.
    transform: the name in `tickets.transforms` of what is done to the ticket; "": nothing.
    before: the stage that comes before its training and is charged to it.
    best_epoch_of: the arm that this one is, had it been stopped at its best epoch; then it is not trained.
    other_search: its ticket is that of another recipe, so that no recipe can name the arm.
    in_controls_study: `study controls` has it by default.
    refusal: the reason why a recipe cannot have the arm, as the end of "compare.arms NAME ..."; "": none.
    caveat: the sentence under the table of a comparison with a ticket and without this arm.
    """

    name: str
    help: str
    colour: str
    schedule: Schedule
    sentence: Callable[["dict[str, ArmFigures]"], str]
    network: Literal["whole", "ticket", "narrow", "random"] = "whole"
    match: Literal["", "flops", "weights"] = ""
    transform: str = ""
    before: Stage | None = None
    best_epoch_of: str = ""
    other_search: bool = False
    in_controls_study: bool = False
    refusal: Callable[["Recipe"], str] = lambda recipe: ""
    caveat: Callable[["Recipe"], str] = lambda recipe: ""

    def __post_init__(self) -> None:
        """Raise ValueError for a record that cannot be a row of a comparison."""
        words = r"[a-z0-9]+(-[a-z0-9]+)*(\+[a-z0-9]+([-_][a-z0-9]+)*)?"
        faults = (
            ("name it in small letters, digits and hyphens", re.fullmatch(words, self.name)),
            ("give it a help text", self.help.strip()),
            ("give it a colour such as #0072B2", re.fullmatch(r"#[0-9A-F]{6}", self.colour)),
            ("give it a Schedule", isinstance(self.schedule, Schedule)),
            ("give it a sentence, or no_sentence", callable(self.sentence)),
            ("match is for network narrow, which needs it", (self.network == "narrow") == bool(self.match)),
            ("transform is for network ticket", self.network == "ticket" or not self.transform),
            ("a first stage is for network whole", self.network == "whole" or not self.has_first_stage),
        )
        advice = [text for text, fine in faults if not fine]
        if advice:
            raise ValueError(f"the arm {self.name!r} cannot be a row of a comparison: {'; '.join(advice)}")

    @property
    def is_trained(self) -> bool:
        """Whether it has a training and a folder of its own."""
        return not self.best_epoch_of

    @property
    def has_own_settings(self) -> bool:
        """Whether a recipe may give it settings of its own, and a training method after a plus."""
        return (
            self.schedule.settings is None
            and self.is_trained
            and not (self.has_first_stage or self.other_search)
        )

    @property
    def is_charged_search(self) -> bool:
        """Whether the search for the ticket is charged to it."""
        return self.before == SEARCH

    @property
    def uses_ticket(self) -> bool:
        """Whether its network or its cost is that of a ticket."""
        return self.network in ("ticket", "narrow") or self.is_charged_search

    @property
    def has_first_stage(self) -> bool:
        """Whether the whole network is trained in a stage before, whose weights it starts from."""
        return self.before is not None and self.before.schedule is not None
