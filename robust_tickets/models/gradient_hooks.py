"""Hooks on the gradients of parameters, by which some freeze weights or a part of them."""

from collections.abc import Callable
from typing import Any

from torch import nn

from robust_tickets.base.errors import InputError


def copy_gradient_hooks(source: nn.Parameter, target: nn.Parameter, name: str = "") -> None:
    """Register a parameter's hooks (`register_hook`, `register_post_accumulate_grad_hook`) on another.

    name: of a target with fewer channels; hooks that do not fit it raise InputError when they are called.
    """
    if not target.requires_grad:
        return
    for hook in list((source._backward_hooks or {}).values()):
        target.register_hook(_with_words(hook, name))  # type: ignore[no-untyped-call]
    for hook in list((source._post_accumulate_grad_hooks or {}).values()):
        target.register_post_accumulate_grad_hook(_with_words(hook, name))  # type: ignore[no-untyped-call]


def _with_words(hook: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    if not name:
        return hook

    def call(tensor: Any) -> Any:
        try:
            return hook(tensor)
        except RuntimeError as error:  # as of a mask with the shape before
            raise InputError(
                f"the gradient hook of {name} does not fit the ticket's channels ({error}): freeze by "
                "requires_grad_(False), or search with granularity weight"
            ) from error

    return call
