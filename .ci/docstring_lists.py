"""A griffe extension that turns docstrings into Markdown: arguments, one a line, become a list."""

from typing import Any

import griffe
from reference_pages import argument_lists


class DocstringLists(griffe.Extension):
    """Rewrites each docstring before mkdocstrings renders it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = argument_lists(obj.docstring.value)
