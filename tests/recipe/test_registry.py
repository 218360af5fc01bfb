"""A class that is registered by name is refused where it lacks a part, before anything runs."""

import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from tyro.conf import arg

from robust_tickets.recipe import schema
from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, pruning_method_class
from robust_tickets.recipe.registry import first_lines, load_class


@dataclass(frozen=True)
class Numbers:
    """Settings that lack nothing."""

    n: int = 1
    """number"""


@dataclass(frozen=True)
class NoDefault:
    """Settings without a default."""

    n: int
    """number"""


@dataclass(frozen=True)
class NoHelp:
    """Settings without help."""

    n: int = 1


@dataclass(frozen=True)
class NoDocstring:
    n: int = 1
    """number"""


@dataclass
class NotFrozen:
    """Settings that could change."""


READABLE = {
    bool: True,
    int: 3,
    float: 0.5,
    str: "x",
    Path: Path("x"),
    Eps: Eps("8/255"),
    Budget: Budget("2e6passes"),
    Literal["x", "y"]: "x",
    schema.Positive: 0.5,
    float | None: None,
    tuple[schema.Share, ...]: (0.5, 0.75),
    tuple[int, ...] | None: (3,),
}
UNREADABLE = [dict, list, list[int], tuple, tuple[int, int], set[str], int | str, Any, object, ABC]


class Base(ABC):
    """What the registered classes have in common."""

    Settings: type = Numbers

    @abstractmethod
    def run(self): ...


class Complete(Base):
    """Lacks nothing."""

    def run(self): ...


class WithoutMethod(Base):
    """Lacks the method."""


class WithoutDocstring(Complete): ...


class WithoutBase:
    """Lacks the base class."""


def load(cls, name="odd"):
    return load_class("thing", name, f"{__name__}:{cls.__name__}", f"{__name__}:Base")


@pytest.mark.parametrize(
    ("cls", "part"),
    [
        (WithoutMethod, "run"),
        (WithoutDocstring, "a docstring of WithoutDocstring"),
        (WithoutBase, "the base class Base"),
    ],
)
def test_a_class_that_lacks_a_part_is_refused(cls, part):
    with pytest.raises(TypeError, match=rf"the thing odd \({__name__}:{cls.__name__}\) lacks {part}: add it"):
        load(cls)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (NoDefault, "a default of NoDefault.n"),
        (NoHelp, "a help text under NoHelp.n"),
        (NoDocstring, "a docstring of NoDocstring"),
        (NotFrozen, "a frozen dataclass as Settings"),
        (Base, "a frozen dataclass as Settings"),
        (Numbers(), "a frozen dataclass as Settings"),
        (None, "a frozen dataclass as Settings"),
    ],
)
def test_settings_that_lack_a_part_are_refused(settings, part, monkeypatch):
    monkeypatch.setattr(Complete, "Settings", settings)
    with pytest.raises(TypeError, match=f"Complete[)] lacks .*{part}.*: add it"):
        load(Complete)


@pytest.mark.parametrize("kind", [*READABLE, *UNREADABLE], ids=str)
def test_settings_have_types_that_a_recipe_can_hold(kind, monkeypatch):
    value = READABLE.get(kind)
    settings = make_dataclass("Made", [("n", Annotated[kind, arg(help="number")], value)], frozen=True)
    settings.__doc__ = "One setting."
    monkeypatch.setattr(Complete, "Settings", settings)
    if kind in READABLE:
        assert load(Complete) is Complete
        assert schema.read(settings, {} if value is None else {"n": value}) == settings(value)
    else:
        with pytest.raises(TypeError, match=r"lacks a type of Made\.n that a recipe can hold.*: add it"):
            load(Complete)


def test_a_table_within_settings_needs_the_same_parts(monkeypatch):
    outer = make_dataclass("Outer", [("inner", NoHelp, NoHelp())], frozen=True)
    monkeypatch.setattr(Complete, "Settings", outer)
    with pytest.raises(TypeError, match=r"lacks a docstring of Outer, a help text under NoHelp\.n: add it"):
        load(Complete)


def test_a_complete_class_needs_a_name_that_can_be_a_field():
    assert load(Complete) is Complete
    with pytest.raises(TypeError, match="a name that can be a field of the recipe"):
        load(Complete, "two words")


@pytest.mark.parametrize(
    ("module", "place", "missing"),
    [
        ("methods", "training.methods.base:Method", "attack_steps, loss, passes, perturb"),
        ("pruning_methods", "tickets.methods.base:PruningMethod", "find, passes, plan"),
    ],
)
def test_it_is_refused_when_the_recipe_is_imported_and_not_after_training(module, place, missing):
    place = f"robust_tickets.{place}"
    code = f"from robust_tickets.recipe import {module} as m; m.{module.upper()}['odd'] = {place!r}"
    code += "\nimport robust_tickets.recipe.training_fields"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].endswith(f"method odd ({place}) lacks {missing}: add it")


@pytest.mark.parametrize("cls", [*map(method_class, METHODS), *map(pruning_method_class, PRUNING_METHODS)])
def test_the_help_of_each_class_is_one_line(cls):
    assert len(first_lines({"pruning": cls})) < 120


def test_a_method_named_like_another_field_is_refused_at_import():
    code = (
        "from robust_tickets.recipe.methods import METHODS\n"
        "METHODS['momentum'] = METHODS['fgsm']\n"
        "import robust_tickets.recipe.training_fields"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "momentum is a method and another field of trainings: rename the method" in process.stderr
