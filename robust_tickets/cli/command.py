"""What a command is: a frozen dataclass whose fields are its flags, with a `run` that does the work."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

import tyro
from tyro.conf import arg

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import stderr_progress
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.schema import Count, CountOrZero, NotNegative, Range

C = TypeVar("C")

Seed = Annotated[int, Range(least=0, most=2**31 - 1)]

CONSTRUCTORS = tyro.constructors.ConstructorRegistry()
"""How tyro reads types of our own."""


@CONSTRUCTORS.primitive_rule
def _eps(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Eps] | None:
    if info.type is not Eps:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="EPS",
        instance_from_str=lambda words: Eps(words[0]),
        is_instance=lambda value: isinstance(value, Eps),
        str_from_instance=lambda eps: [str(eps)],
    )


class Command:
    """A command of the program. The text under a field is the help of its flag."""

    def run(self) -> None:
        """Do the work and print what came of it."""
        raise AssertionError(f"{type(self).__name__} has no run()")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def command(cls: type[C]) -> type[C]:
    """Make a class a command. Raises TypeError for one without a docstring, a `run`, or help on a field."""
    if not cls.__dict__.get("__doc__"):
        raise TypeError(f"the command {cls.__name__} has no docstring: it is its help")
    made = dataclass(frozen=True, kw_only=True)(cls)
    if not issubclass(cls, Command) or cls.run is Command.run:
        raise TypeError(f"the command {cls.__name__} has no run(): it does the work")
    texts = field_help(made)
    for item in fields(made):  # type: ignore[arg-type]
        if item.name not in texts and not is_section(item.type):
            raise TypeError(f"the command {cls.__name__} has no help under its field {item.name}")
    return made


def is_section(hint: Any) -> bool:
    """Whether a field's type is a dataclass, whose fields are flags of their own."""
    while hasattr(hint, "__origin__") and hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    return hasattr(hint, "__dataclass_fields__") and hint is not Eps


def field_help(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass and of those that it inherits from, in one line each."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not hasattr(base, "__dataclass_fields__"):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):  # composed from others: its fields are sections
            continue
        assert isinstance(tree, ast.ClassDef)
        for item, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                value = text.value if isinstance(text, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    texts[item.target.id] = " ".join(value.value.split())
    for name, hint in get_type_hints(cls, include_extras=True).items():
        # help that is made from a table, such as that of the arms
        for extra in getattr(hint, "__metadata__", ()):
            texts[name] = getattr(extra, "help", None) or texts.get(name, "")
    return texts


@dataclass(frozen=True, kw_only=True)
class OnMachine:
    """Flags of commands that compute."""

    seed: Seed = 0
    """seed of init, batches and attacks; the first one where there are several"""
    device: str = "cpu"
    """torch device: cpu, cuda or cuda:N"""
    runs: Path = Path("runs")
    """folder of the run directories"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe, with progress on stderr."""
        return Machine(self.device, stderr_progress())


@dataclass(frozen=True, kw_only=True)
class Resumable(OnMachine):
    """Flags of commands that keep checkpoints."""

    checkpoint_minutes: NotNegative = 1.0
    """minutes between checkpoints; run the same command again to resume; 0: off"""
    checkpoint_steps: CountOrZero = 0
    """steps between checkpoints; 0: off"""

    @property
    def machine(self) -> Machine:
        """The machine that the flags describe."""
        return Machine(self.device, stderr_progress(), self.checkpoint_minutes, self.checkpoint_steps)


@dataclass(frozen=True, kw_only=True)
class ByRecipe(Resumable):
    """Flags of commands that run a recipe."""

    recipe: Annotated[str, arg(metavar="NAME|FILE")]
    """a shipped recipe (see `robust-tickets recipes`) or a TOML file; other flags override its fields"""
    fields: Annotated[Recipe, arg(name="")] = field(default_factory=Recipe)


@dataclass(frozen=True, kw_only=True)
class SideBySide(ByRecipe):
    """Flags of commands that train several arms."""

    seeds: Count = 1
    """how many seeds, from --seed on"""
    jobs: Annotated[int, Range(least=1, most=1024)] = 1
    """arms trained at a time, each in a process of its own with compute.threads threads; the results are the
    same, and the table marks their seconds"""
    dry_run: bool = False
    """list arms, passes, FLOPs and the estimated time, and run nothing"""
