"""What a training's fields are called in messages: by the table of the recipe that sets each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robust_tickets.recipe.methods import METHODS

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


@dataclass(frozen=True)
class FieldNames:
    """The names of the fields of one training.

    section: search or train.
    arm: whose training it is; "": that of the section itself.
    tables: the arm's own tables by name, the one whose fields come first before the other.
    """

    section: str = "train"
    arm: str = ""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of_arm(cls, recipe: "Recipe", arm: str) -> "FieldNames":
        """Those of an arm, whose settings are its own tables' and else those of `[train]`."""
        tables = recipe.arms.tables
        return cls("train", arm, {name: tables[name] for name in _names(arm) if name in tables})

    def __call__(self, field: str) -> str:
        """The name of a field, such as `train.lr`, `arms.liet.lr` or `train.pgd.steps`."""
        return f"{self.table(field) or self.section}.{field}"

    def table(self, field: str) -> str:
        """The arm's own table that sets a field, such as `arms.liet`; "": the section does."""
        return next((f"arms.{name}" for name, table in self.tables.items() if _has(table, field)), "")

    @property
    def method(self) -> str:
        """The name of what chooses the training method."""
        chosen_by_arm = not self.table("method") and self.arm.partition("+")[2] in METHODS
        return f"compare.arms {self.arm}: the method" if chosen_by_arm else self("method")

    @property
    def of_owner(self) -> str:
        """What follows the name of something that an arm has, as in "the method of ticket"; else ""."""
        return f" of {self.arm}" if self.arm else ""


def _names(arm: str) -> tuple[str, str]:
    """Names of the tables that an arm takes, the one whose fields come first before the other."""
    return arm, arm.partition("+")[2]


def _has(table: Mapping[str, Any], field: str) -> bool:
    """Whether nested tables have a field, whose name may have dots."""
    first, _, rest = field.partition(".")
    if first not in table or not rest:
        return first in table
    return isinstance(table[first], Mapping) and _has(table[first], rest)
