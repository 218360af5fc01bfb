"""The recipe: everything that defines a run; loaded by name or from a file, and written."""

import hashlib
import json
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import tomli_w
from tyro.conf import Fixed

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.base.paths import expand_home, module_name
from robust_tickets.recipe import checks, schema
from robust_tickets.recipe.arm_checks import check_arm_settings, check_arms, check_tuned
from robust_tickets.recipe.arm_settings import ArmSettings
from robust_tickets.recipe.arm_training import arm_trainings
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.fields import Compare, Compute, Data, Evaluate, Model, StudySettings, Threat
from robust_tickets.recipe.methods import WRAPPERS
from robust_tickets.recipe.studies import pruning_methods_of_studies
from robust_tickets.recipe.table_checks import table_names
from robust_tickets.recipe.training_checks import (
    check_eps,
    check_lengths,
    check_method,
    check_overfitting,
    check_training,
    two_lengths,
)
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.recipe.unused_settings import (
    METHOD_FIELDS,
    check_unused_settings,
    used_methods,
    used_wrappers,
)

FORMAT = 2
"""Version of the run directory's layout; part of a run's identity."""


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run. Two runs are the same run if their recipes are equal."""

    name: str = "custom"
    """name of the recipe; run directories begin with it"""
    summary: str = ""
    """one line on what it is for; not part of the run's identity"""
    data: Data = Data()
    model: Model = Model()
    threat: Threat = Threat()
    search: Search = Search()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    compare: Compare = Compare()
    compute: Compute = Compute()
    study: StudySettings = StudySettings()
    arms: Fixed[ArmSettings] = ArmSettings()
    """settings of single arms, in recipe files alone: [arms.NAME] has the fields that differ from [train]"""
    tuned: Fixed[ArmSettings] = ArmSettings()
    """how fields of arms were chosen, written by `tune`: [tuned.ARM] has fields, trials and seeds"""

    @property
    def identity(self) -> str:
        """Eight hex digits of the whole resolved recipe and the format, without paths and prose."""
        return _digest({"format": FORMAT, **to_table(self)})


def to_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as run directories and tickets record it, every field resolved.

    Paths, prose, studies, and the settings of methods, wrappers and arms that are not used are left out.
    """
    table = _without_prose(recipe)
    names = table_names(recipe.compare.arms)
    arms = {name: own for name, own in table.pop("arms", {}).items() if name in names}
    if arms:
        table["arms"] = arms
    for concern, field, methods in METHOD_FIELDS:
        for name in methods.keys() - used_methods(recipe, concern, field):
            table[concern].pop(name, None)
    for concern in ("search", "train"):
        for name in WRAPPERS.keys() - used_wrappers(recipe, concern):
            table[concern].pop(name, None)  # no search has all of them
    del table["study"]
    return table


def _without_prose(recipe: Recipe) -> dict[str, Any]:
    """All fields but paths and prose."""
    table = dict(schema.plain(recipe))
    del table["summary"]
    for path in ("root", "download"):
        table["data"].pop(path, None)
    for tables in ("arms", "tuned"):
        if not table[tables]:
            del table[tables]
    if not recipe.compare.contrasts:
        del table["compare"]["contrasts"]
    return table


def from_table(table: object, base: Recipe | None = None, of_studies: Collection[str] = ()) -> Recipe:
    """A checked recipe from nested tables; fields that are missing are those of `base`, or the defaults.

    Raises InputError as `check` does, with its arguments.
    """
    recipe = schema.read(Recipe, table, base)
    check(recipe, base, of_studies)
    return recipe


def check(recipe: Recipe, base: Recipe | None = None, of_studies: Collection[str] = ()) -> None:
    """Raise InputError for a wrong value of a field, or fields that make no sense together.

    base: the recipe that it changes, whose settings of a method may stay where another is chosen.
    of_studies: pruning methods that a study sets beside the recipe's own, whose settings may stay too.
    """
    schema.check(recipe)
    if not recipe.name or not all(c.isalnum() or c in "-_." for c in recipe.name) or recipe.name[0] == ".":
        raise InputError(
            f"name {recipe.name!r:.80} becomes a folder: set name to letters, digits, '-', '_' and '.' alone"
        )
    checks.check_data(recipe.data)
    checks.check_model(recipe.model)
    checks.check_threat(recipe.threat)
    for concern, training in (("search", recipe.search), ("train", recipe.train)):
        check_training(FieldNames(concern), training)
        check_method(FieldNames(concern), training, recipe.threat)
    if base is not None:
        check_lengths(recipe.train, base.train)
    check_arm_settings(recipe, base)
    check_tuned(recipe)
    check_overfitting(FieldNames("search"), [recipe.search])
    check_overfitting(FieldNames("train"), [recipe.train, *arm_trainings(recipe).values()])
    check_eps(FieldNames("search"), [recipe.search], recipe.threat)
    check_eps(FieldNames("train"), [recipe.train, *arm_trainings(recipe).values()], recipe.threat)
    check_unused_settings(recipe, base, of_studies)
    checks.check_search(recipe.search)
    checks.check_evaluate(recipe.evaluate, None if base is None else base.evaluate)
    check_arms(recipe)


def load(recipe: str) -> Recipe:
    """Load the shipped recipe of that name, or a TOML file. Raises InputError if there is none."""
    return _load(recipe, ())


def _load(recipe: str, heirs: tuple[str, ...]) -> Recipe:
    """`load`; heirs: the recipes that extend each other down to this one."""
    if recipe in heirs:
        raise InputError(
            f"recipe {recipe} extends itself ({' -> '.join((*heirs, recipe))}): name another one"
        )
    return _from_toml(recipe, read_text(recipe), heirs=(*heirs, recipe))


def read_text(recipe: str) -> str:
    """The text of the shipped recipe of that name, or of a TOML file. Raises InputError if there is none."""
    if recipe in shipped_names():
        return (_folder() / f"{recipe}.toml").read_text(encoding="utf-8")
    path = expand_home(recipe)
    if recipe and path.is_dir():
        raise InputError(f"recipe {recipe} is a folder: name a TOML file, such as recipe.toml of a run")
    if path.suffix != ".toml" and not path.is_file():
        raise unknown_name("recipe", recipe, shipped_names())
    return _read(path)


def load_recorded(path: Path) -> Recipe:
    """Load the recipe that a run directory or a study recorded.

    Raises InputError for a file that is damaged or of another format.
    """
    text = _read(path)
    format_ = _parse(str(path), text).get("format", 1)
    if format_ != FORMAT:
        raise InputError(
            f"{path} is of format {format_!r:.20}, and this release reads format {FORMAT} alone: run it "
            "again, or use the release that wrote it"
        )
    return _from_toml(str(path), text, recorded=True)


def to_toml(recipe: Recipe, study: bool = False) -> str:
    """The recipe as TOML, as run directories record it.

    study: with the settings of its studies, and of all methods, since a study may vary the method.
    """
    return tomli_w.dumps({"format": FORMAT} | (_without_prose(recipe) if study else to_table(recipe)))


def to_whole_toml(recipe: Recipe) -> str:
    """The recipe as TOML, with the settings of its studies where it has any of its own."""
    return to_toml(recipe, study=recipe.study != StudySettings())


def shipped_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("robust_tickets.recipe") / "shipped"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin files with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        names = ", ".join(shipped_names())
        raise InputError(
            f"cannot read the recipe {path} ({reason}): give a TOML file, or one of {names}"
        ) from None


def _parse(source: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers may be too long, and tables too deep
        raise InputError(f"{source} is no valid TOML: {error}") from None


def _from_toml(source: str, text: str, recorded: bool = False, heirs: tuple[str, ...] = ()) -> Recipe:
    """A checked recipe from the text of a file; messages begin with `source`.

    recorded: by a study, with settings of methods that the base does not use.
    heirs: the recipes that extend each other down to this one.
    """
    table = _parse(source, text)
    by_hand = "format" not in table  # what is written here has every field
    try:
        if table.pop("format", FORMAT) != FORMAT:
            raise InputError(
                f"it is of another format than {FORMAT}: remove its line `format`, and rename old fields"
            )
        data = table.get("data")
        for field in ("root", "download"):
            if isinstance(data, dict) and field in data:
                raise InputError(
                    f"data.{field} belongs to a machine and not to a recipe: give it by --data.{field}"
                )
        model = table.get("model")
        if not recorded and isinstance(model, dict) and isinstance(model.get("name"), str):
            table["model"] = {**model, "name": module_name(model["name"])}
        if by_hand:
            _check_lengths(table.get("train"))
        base = _extended(source, table, heirs)
        recipe = schema.read(Recipe, {"name": Path(source).stem, "summary": "", **table}, base)
        check(recipe, recipe if recorded else base, pruning_methods_of_studies())
        return recipe
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    except RecursionError:
        raise InputError(f"{source} is no valid recipe: its tables are nested too deeply") from None


def _extended(source: str, table: dict[str, Any], heirs: tuple[str, ...]) -> Recipe | None:
    """The recipe that a file extends, whose name is taken out of its table; None: it extends none."""
    if "extends" not in table:
        return None
    name = table.pop("extends")
    if not isinstance(name, str):
        raise InputError(f"extends must be a recipe's name or file, got {name!r:.80}")
    if name not in shipped_names() and not expand_home(name).is_absolute():
        name = str(Path(source).parent / name)  # beside the file
    return _load(name, heirs)


def _check_lengths(train: object) -> None:
    """Raise InputError for a table `[train]` with epochs and a budget."""
    if isinstance(train, dict) and "budget" in train:
        for field in ("epochs", "ticket_epochs"):
            if field in train:
                raise two_lengths(field, str(train["budget"]))


def _digest(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
