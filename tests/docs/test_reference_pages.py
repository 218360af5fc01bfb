"""The pages that are made from the code have every field, command, recipe, method and public name."""

import dataclasses
import inspect
import re
from typing import get_type_hints

import pytest
import reference_pages

import robust_tickets
from robust_tickets import attacks
from robust_tickets.cli.registry import COMMANDS, command_class, flag_sections
from robust_tickets.recipe import schema
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.recipe import Recipe, shipped_names

PAGES = reference_pages.pages()


def fields_of(cls: type, path: str = "") -> set[str]:
    """The dotted names of all fields, those of nested tables too."""
    found = set()
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = f"{path}.{field.name}" if path else field.name
        found |= fields_of(hints[field.name], name) if schema.is_table(hints[field.name]) else {name}
    return found


def rows_of(text: str) -> dict[str, list[str]]:
    """The rows of a page's tables, by the name in their first cell."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: re.split(r" \| ", rest) for name, rest in rows}


def test_every_field_of_a_recipe_has_a_row_with_its_meaning():
    rows = rows_of(PAGES["reference/fields.md"])
    for_files_alone = {"arms", "tuned"}
    assert rows.keys() == fields_of(Recipe) - for_files_alone
    assert not [name for name, cells in rows.items() if len(cells) != 3 or not cells[-1].strip()]
    assert rows["threat.eps"][1] == "`8/255`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_its_own_flags(name):
    text = PAGES["reference/commands.md"]
    assert f"\n## {name}\n" in text
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    own, *_ = flag_sections(name)
    assert rows_of(section).keys() == {flag.name for flag in own.flags}
    assert inspect.cleandoc(command_class(name).__doc__) in section


def test_every_shipped_recipe_and_method_is_there():
    assert all(f"\n## {name}\n" in PAGES["reference/recipes.md"] for name in shipped_names())
    text = PAGES["reference/methods.md"]
    assert all(f"\n## {method_class(name).__name__}\n" in text for name in METHODS)


@pytest.mark.parametrize(
    ("page", "module"), [("reference/python.md", robust_tickets), ("reference/attacks.md", attacks)]
)
def test_every_public_name_is_rendered_from_where_it_is_defined(page, module):
    pairs = re.findall(r"^::: ([\w.]+)\n {4}options:\n {8}heading: (\w+)$", PAGES[page], re.MULTILINE)
    places = {name: place for place, name in pairs}
    own_pages = {"attacks", "methods", "__version__"} if module is robust_tickets else set()
    assert places.keys() == set(module.__all__) - own_pages
    for name, place in places.items():
        value = getattr(module, name)
        value = getattr(value, "__wrapped__", value)
        assert place == f"{value.__module__}.{value.__qualname__}"


def test_arguments_become_a_list_and_indented_code_is_fenced():
    text = "One sentence.\n\nnet: a module,\n    or none.\nx, y: images: many.\n\nTail: no.\n\n    f(x)"
    assert reference_pages.argument_lists(text) == (
        "One sentence.\n\n- **`net`**: a module,\n    or none.\n- **`x, y`**: images: many.\n\n"
        "Tail: no.\n\n```python\nf(x)\n```"
    )
