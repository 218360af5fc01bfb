"""Pages of the documentation that are made from the code: recipe fields, commands, recipes, Python names.

They are built with the site (`.ci/site_hook.py`) and lie in no file, so they cannot differ from the code.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from robust_tickets.cli.command import ByRecipe
from robust_tickets.cli.flags import Flag, Section
from robust_tickets.cli.registry import COMMANDS, command_class, flag_sections
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.recipe import load, read_text, shipped_names

ROOT = Path(__file__).parents[1]
_ARGUMENT = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")


def pages() -> dict[str, str]:
    """The Markdown of each page by its place in the site."""
    return {
        "reference/fields.md": fields_page(),
        "reference/commands.md": commands_page(),
        "reference/recipes.md": recipes_page(),
        "reference/python.md": python_page(),
        "reference/attacks.md": attacks_page(),
        "reference/methods.md": methods_page(),
    }


def fields_page() -> str:
    """Every field of a recipe, in the sections of a recipe file."""
    lines = [
        "# Recipe fields",
        "",
        "Every field of a recipe, with its default. In a recipe file the field `search.lr` is the line `lr` "
        "under `[search]`; on the command line it is the flag `--search.lr`. Underscores may be "
        "hyphens there. The texts are those of `robust-tickets COMMAND --help`.",
    ]
    for section in recipe_sections():
        lines += ["", f"## {section.name}", "", section.help, *_flag_table(section, _field_name)]
    return _text(lines)


def recipe_sections() -> list[Section]:
    """The sections of a recipe's fields, the grids of studies among them."""
    return [section for section in flag_sections("study") if section.name]


def commands_page() -> str:
    """Every command with its flags; the fields of recipes have a page of their own."""
    lines = ["# Commands", "", "What `robust-tickets COMMAND --help` says of each command."]
    for name in COMMANDS:
        own, *_ = flag_sections(name)
        words = [flag.name for flag in own.flags if not flag.name.startswith("--")]
        lines += ["", f"## {name}", "", f"`{' '.join(['robust-tickets', name, *words, '[OPTIONS]'])}`"]
        lines += ["", inspect.cleandoc(command_class(name).__doc__ or "")]
        if own.flags:
            lines += _flag_table(own, lambda flag: flag.name)
        if issubclass(command_class(name), ByRecipe):
            lines += ["", "Every [field of the recipe](fields.md) is a flag too."]
    return _text(lines)


def recipes_page() -> str:
    """The shipped recipes: a table of summaries, and the file of each."""
    recipes = {name: load(name) for name in shipped_names()}
    lines = [
        "# Shipped recipes",
        "",
        "`--recipe NAME` runs one, `robust-tickets recipes show NAME` prints it.",
        "",
        "| recipe | what it is |",
        "| --- | --- |",
        *(f"| [`{name}`](#{name}) | {_cell(recipe.summary)} |" for name, recipe in recipes.items()),
    ]
    for name in recipes:
        lines += ["", f"## {name}", "", "```toml", read_text(name).rstrip(), "```"]
    return _text(lines)


def python_page() -> str:
    """The names of `robust_tickets`."""
    import robust_tickets

    modules = ("attacks", "methods", "__version__")
    names = [name for name in robust_tickets.__all__ if name not in modules]
    lines = [
        "# Python",
        "",
        "`import robust_tickets as rt`. The modules `rt.attacks` and `rt.methods` have pages of their own: "
        "[attacks](attacks.md), [training methods](methods.md). `rt.__version__` is the version.",
        "",
        "Arguments that several functions share:",
        "",
        _shared_arguments(),
    ]
    return _text([*lines, *_objects(_api_places(names))])


def attacks_page() -> str:
    """The names of `robust_tickets.attacks`."""
    return _text(
        [
            "# Attacks",
            "",
            "`robust_tickets.attacks` is usable alone ([how to](../how-to/attacks.md)).",
            *_objects(_attack_places()),
        ]
    )


def methods_page() -> str:
    """The names of `robust_tickets.methods`, each with its settings."""
    lines = [
        "# Training methods in your own loop",
        "",
        "`robust_tickets.methods` has each [training method](../methods.md) as a class that gives the loss "
        "of a batch. The settings are those of a recipe's `train.<method>`.",
        *_objects(["robust_tickets.training.methods_alone.MethodAlone"]),
    ]
    train = next(section for section in recipe_sections() if section.name == "train")
    for name in METHODS:
        cls = method_class(name)
        prefix = f"--train.{name.replace('_', '-')}."
        own = [flag for flag in train.flags if flag.name.startswith(prefix)]
        lines += ["", f"## {cls.__name__}", "", argument_lists(inspect.cleandoc(cls.__doc__ or ""))]
        if own:
            lines += _flag_table(
                Section(name, "", tuple(own)),
                lambda flag, prefix=prefix: _snake(flag.name.removeprefix(prefix)),
            )
    return _text(lines)


def argument_lists(text: str) -> str:
    """A docstring as Markdown: arguments, which stand one a line, become a list; indented code is fenced."""
    return "\n\n".join(map(_paragraph, text.split("\n\n")))


def _paragraph(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("    ") for line in lines):
        return "\n".join(["```python", *(line[4:] for line in lines), "```"])
    if not _ARGUMENT.match(lines[0]):
        return text
    items = (_ARGUMENT.sub(r"- **`\1`**: \2", line) for line in lines)
    return "\n".join(re.sub(r"^(\s+)#", r"\1\#", item) for item in items)  # no heading


def _flag_table(section: Section, name: Callable[[Flag], str]) -> list[str]:
    lines = ["", "| name | value | default | meaning |", "| --- | --- | --- | --- |"]
    for flag in section.flags:
        value = flag.metavar or ("" if not flag.name.startswith("--") else "on, off")
        default = "required" if flag.required else flag.default.partition(";")[0]
        cells = f"`{name(flag)}`", _code(value), _code(default), flag.help
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return lines


def _field_name(flag: Flag) -> str:
    return _snake(flag.name.removeprefix("--"))


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _code(text: str) -> str:
    """A choice or a default as code; `{a,b}` as a list of its words, so that long ones break."""
    if text in ("", "required", "on", "off", "on, off"):
        return text
    words = text[1:-1].split(",") if text.startswith("{") else [text]
    return ", ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    """A text in a table: outside of code, what Markdown would take for HTML or for a column is escaped."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*").replace("|", "\\|") for part in parts[::2]]
    return "`".join(parts)


def _objects(names: Iterable[str | tuple[str, str]]) -> list[str]:
    """Names whose docstrings mkdocstrings renders; of a pair the second is the name that users know."""
    lines: list[str] = []
    for item in names:
        place, heading = (item, item.rpartition(".")[2]) if isinstance(item, str) else item
        lines += [
            "",
            f"::: {place}",
            "    options:",
            f"        heading: {heading}",
            f"        toc_label: {heading}",
        ]
    return lines


def _api_places(names: Iterable[str]) -> list[tuple[str, str]]:
    """Where the names of `robust_tickets.api` are defined, read from its source, which imports torch."""
    tree = ast.parse((ROOT / "robust_tickets/api.py").read_text(encoding="utf-8"))
    places = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            places |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            places[node.name] = f"robust_tickets.api.{node.name}"
        elif isinstance(node, ast.Assign) and isinstance(
            node.value, ast.Call
        ):  # images = name_arguments(...)
            head, _, rest = ast.unparse(node.value.args[0]).partition(".")
            places[ast.unparse(node.targets[0])] = f"{places[head]}.{rest}".rstrip(".")
    return [(places[name], name) for name in names]


def _attack_places() -> list[tuple[str, str]]:
    from robust_tickets import attacks

    return [(f"robust_tickets.attacks.{attacks._MODULE_OF[name]}.{name}", name) for name in attacks.__all__]


def _shared_arguments() -> str:
    docstring = (
        ast.get_docstring(ast.parse((ROOT / "robust_tickets/api.py").read_text(encoding="utf-8"))) or ""
    )
    return argument_lists(docstring.split("\n\n")[-1])


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
