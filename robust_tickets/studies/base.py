"""The record of a study, one question; `recipe.studies` is the table of them.

It is free of torch and pandas, as the recipe's fields and `--help` read it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from robust_tickets.recipe.fields import Evaluate
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.stages.experiment import Experiment

Figure = Literal["early", "end"]
"""early: the mean height of the early validation curve; end: the accuracy on test images, of the last epoch
and, beside it, of the best one."""

Place = tuple[str, str]
"""A setting and an arm."""


@dataclass(frozen=True)
class Source:
    """The ticket that another recipe finds, trained as one more arm of a cell.

    arm: one of `recipe.arms` whose ticket is that of another search; its transform is done to the ticket.
    recipe: the recipe that finds it, on the same network or on one of its family with another depth.
    """

    arm: str
    recipe: "Recipe"


@dataclass(frozen=True)
class Cell:
    """One setting of a study.

    setting: its name in the table.
    recipe: the recipe whose arms are compared.
    sources: tickets of other recipes, which the recipe trains as it trains its own.
    """

    setting: str
    recipe: "Recipe"
    sources: tuple[Source, ...] = ()

    @property
    def recipes(self) -> tuple["Recipe", ...]:
        """Its own recipe, and those that find the tickets of its sources, each once."""
        return tuple(dict.fromkeys((self.recipe, *(source.recipe for source in self.sources))))

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that have rows."""
        return (*self.recipe.compare.arms, *(source.arm for source in self.sources))


@dataclass(frozen=True)
class Comparison:
    """A difference between two places, seed by seed.

    label: says what is subtracted from what.
    first, second: the second is subtracted from the first.
    baseline: two places whose difference is subtracted from that of the first two; None: nothing is.
    """

    label: str
    first: Place
    second: Place
    baseline: tuple[Place, Place] | None = None


@dataclass(frozen=True)
class Hypothesis:
    """A sentence that holds if all its comparisons do.

    kind: what is claimed of the differences: that they are above zero (more), or within a margin (same).
    figure: the accuracy that decides it; None: that of the study.
    """

    text: str
    comparisons: list[Comparison]
    kind: Literal["more", "same"] = "more"
    figure: "Figure | None" = None


def accept_all_networks(experiment: "Experiment", cells: Sequence[Cell]) -> None:
    """Refuse no networks."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One question: what varies, which arms are trained, which differences answer it, and how it is drawn.

    A record that lacks something is refused when it is made.

    name: as commands, tables and folders have it.
    question: one sentence that ends with a question mark, for `--help`.
    help: what its settings are, for `--help` of its flag, `--study.NAME`.
    setting_type: the type of one setting, such as `recipe.schema.Positive`.
    defaults: its settings where neither recipe nor flags name any.
    cells: makes the cells from the base recipe and the settings.
    hypotheses: what it claims, from the names of the settings in order and the arms that have rows.
    figure: the accuracy that decides, where a hypothesis names no other.
    axis: the label of the figure's horizontal axis. A study of one setting has its arms along it.
    varies: the recipe's field that the settings are values of, as messages name it; "": none.
    metavar: what stands for the settings in `--help`; "": the name of their type.
    pruning_methods: those that it sets beside the recipe's own; a recipe file may have their settings.
    least_settings: 2 where settings are compared with each other.
    needs: each gives the reason why the question makes no sense for a recipe; "": it makes sense.
    check_networks: raises InputError, before anything is trained, for cells that cannot be compared.
    remark: a paragraph for the verdict, such as what the rows cost, from them and the recipe's fields on
        evaluation; "": none.
    """

    name: str
    question: str
    help: str
    setting_type: Any
    defaults: tuple[Any, ...]
    cells: Callable[["Recipe", tuple[Any, ...]], Iterable[Cell]]
    hypotheses: Callable[[Sequence[str], Sequence[str]], list[Hypothesis]]
    figure: Figure
    axis: str
    varies: str = ""
    metavar: str = ""
    pruning_methods: tuple[str, ...] = ()
    least_settings: int = 1
    needs: tuple[Callable[["Recipe"], str], ...] = ()
    check_networks: Callable[["Experiment", Sequence[Cell]], None] = accept_all_networks
    remark: Callable[["pd.DataFrame", "Evaluate"], str] = lambda rows, evaluate: ""

    def __post_init__(self) -> None:
        """Raise ValueError for a record that no study can be run from."""
        words = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
        faults = (
            ("name it in small letters, digits and hyphens", re.fullmatch(words, self.name)),
            ("give it a question that ends with '?'", re.fullmatch(r".+\?", self.question)),
            ("give it a help text of its settings", self.help.strip()),
            (f"give it at least {self.least_settings} defaults", len(self.defaults) >= self.least_settings),
            ("give it cells", callable(self.cells)),
            ("give it hypotheses", callable(self.hypotheses)),
            ("let its figure be early or end", self.figure in ("early", "end")),
            ("give it a label of its axis", self.axis.strip()),
        )
        advice = [text for text, fine in faults if not fine]
        if advice:
            raise ValueError(f"the study {self.name!r} cannot be run: {'; '.join(advice)}")

    def figure_of(self, hypothesis: Hypothesis) -> Figure:
        """The accuracy that decides a hypothesis."""
        return hypothesis.figure or self.figure

    @property
    def field(self) -> str:
        """The field of `recipe.study` that has its settings."""
        return self.name.replace("-", "_")

    def settings(self, recipe: "Recipe") -> tuple[Any, ...]:
        """Its settings in a recipe."""
        settings: tuple[Any, ...] = getattr(recipe.study, self.field)
        return settings
