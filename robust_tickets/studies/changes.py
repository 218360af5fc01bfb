"""Settings of studies that are changes of the recipe, as threat.eps=4/255."""

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import schema

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe


def changed(base: "Recipe", changes: Sequence[str], allowed: Sequence[str], name: str) -> "Recipe":
    """The recipe with other values of some fields; nothing is checked but their types.

    changes: texts as threat.eps=4/255.
    allowed: sections, or fields, that may be changed.
    name: of the setting that has the changes, for messages.
    Raises InputError for a text that changes no such field.
    """
    recipe, seen = base, set[str]()
    for change in changes:
        path, equals, value = change.partition("=")
        *tables, field = path.strip().split(".")
        if not equals or not tables or not {path.strip(), tables[0]} & set(allowed):
            raise InputError(
                f"{name}: {change!r} is no change of {', '.join(allowed[:-1])} or {allowed[-1]}: write "
                "FIELD=VALUE, such as threat.eps=4/255"
            )
        if path.strip() in seen:
            raise InputError(f"{name} changes {path.strip()} twice: leave one out")
        seen.add(path.strip())
        table: dict[str, Any] = {field: _value(value)}
        for each in reversed(tables):
            table = {each: table}
        try:
            recipe = schema.read(type(base), table, recipe)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    return recipe


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()  # a bare word, as natural
