"""The help of a dataclass's fields, read from its source: the text under each."""

import ast
import dataclasses
import inspect
import sys
import textwrap
from functools import cache
from typing import Any, get_type_hints

HAVE_DOCSTRINGS = sys.flags.optimize < 2
"""Whether Python keeps docstrings; with -OO it drops them, and help has no texts of commands."""


@cache
def field_help(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass and of those that it inherits from, in one line each."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):  # composed from others: its fields are sections
            continue
        assert isinstance(tree, ast.ClassDef)
        for statement, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                value = text.value if isinstance(text, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    texts[statement.target.id] = " ".join(value.value.split())
    for name, hint in get_type_hints(cls, include_extras=True).items():
        text = arg_setting(hint, "help")  # made from a table, such as that of the arms
        if text:
            texts[name] = text
    return texts


def arg_setting(hint: Any, name: str) -> Any:
    """A setting of a field's `tyro.conf.arg`, None without one."""
    extras = [extra for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "metavar")]
    return next((getattr(extra, name) for extra in extras if getattr(extra, name)), None)
