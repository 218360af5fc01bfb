"""Flags that name the user's own network, where a file must not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

if TYPE_CHECKING:
    from robust_tickets.models.user_net import NetFactory


@dataclass(frozen=True, kw_only=True)
class UserNet:
    """The network, where the file must not say."""

    name: Annotated[str | None, arg(metavar="MODULE:FUNCTION")] = None
    """your function that builds the file's network: no code is imported because a file names it"""

    def factory(self) -> "NetFactory | None":
        """The function, imported; None where none is named."""
        if self.name is None:
            return None
        from robust_tickets.models.user_net import import_function

        return import_function(self.name)
