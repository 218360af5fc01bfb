"""Settings of single arms, where they differ from the recipe's `[train]`."""

import json
from collections.abc import Mapping
from typing import Any

from robust_tickets.base.errors import InputError

Tables = dict[str, dict[str, Any]]


class ArmSettings:
    """The tables `[arms.NAME]` of a recipe: fields of `[train]` with other values.

    NAME is that of an arm, or what follows the plus in names of arms: `[arms.liet]` is for `dense+liet` and
    `ticket+liet`, and `[arms."ticket+liet"]` for that arm alone, in which its fields come first.

    tables: plain values by field, by name.
    path: of the tables, in messages.
    Raises InputError for anything else than a table of tables.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]] | None = None, path: str = "arms") -> None:
        for name, table in _items({} if tables is None else tables, path):
            _items(table, f"{path}.{name}")
        self._text = json.dumps(tables or {}, sort_keys=True)

    @property
    def tables(self) -> Tables:
        """A copy of the tables, as recipes have them."""
        tables: Tables = json.loads(self._text)
        return tables

    def __bool__(self) -> bool:
        return bool(self.tables)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArmSettings) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"ArmSettings({self.tables})"


def _items(table: object, path: str) -> list[tuple[Any, Any]]:
    if not isinstance(table, Mapping):
        raise InputError(f"{path} must be a table of fields, got {table!r:.80}")
    return list(table.items())
