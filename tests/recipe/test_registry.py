"""A class that is registered by name is refused where it lacks a part, before anything runs."""

import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass

import pytest

from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, pruning_method_class
from robust_tickets.recipe.registry import first_lines, load_class


@dataclass(frozen=True)
class Numbers:
    """Settings with a default."""

    n: int = 1


@dataclass(frozen=True)
class NoDefault:
    """Settings without one."""

    n: int


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


class WithoutDefault(Complete):
    """Lacks a default of a setting."""

    Settings = NoDefault


class WithoutDataclass(Complete):
    """Has settings that are no dataclass."""

    Settings = Base


class WithoutBase:
    """Lacks the base class."""


def load(cls, name="odd"):
    return load_class("thing", name, f"{__name__}:{cls.__name__}", f"{__name__}:Base")


@pytest.mark.parametrize(
    ("cls", "part"),
    [
        (WithoutMethod, "run"),
        (WithoutDocstring, "a docstring of WithoutDocstring"),
        (WithoutDefault, "a default of NoDefault.n"),
        (WithoutDataclass, "a dataclass as Settings"),
        (WithoutBase, "the base class Base"),
    ],
)
def test_a_class_that_lacks_a_part_is_refused(cls, part):
    with pytest.raises(TypeError, match=rf"the thing odd \({__name__}:{cls.__name__}\) lacks {part}: add it"):
        load(cls)


def test_a_complete_class_needs_a_name_that_can_be_a_field():
    assert load(Complete) is Complete
    with pytest.raises(TypeError, match="a name that can be a field of the recipe"):
        load(Complete, "two words")


@pytest.mark.parametrize(
    ("module", "place", "missing"),
    [
        ("methods", "training.methods.base:Method", "loss, passes, perturb"),
        ("pruning_methods", "tickets.methods.base:PruningMethod", "find, passes, plan"),
    ],
)
def test_it_is_refused_when_the_recipe_is_imported_and_not_after_training(module, place, missing):
    place = f"robust_tickets.{place}"
    code = f"from robust_tickets.recipe import {module} as m; m.{module.upper()}['odd'] = {place!r}"
    code += "\nimport robust_tickets.recipe.fields"
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
        "import robust_tickets.recipe.fields"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "momentum is a method and another field of trainings: rename the method" in process.stderr
