"""The training methods by name. One line of `METHODS` registers one: nothing else names it.

The recipe's allowed values, its nested settings (`train.<method>.<field>`), their flags and help come from
this table.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from robust_tickets.recipe.registry import load_class

if TYPE_CHECKING:
    from robust_tickets.recipe.fields import Training
    from robust_tickets.training.methods.base import Method

METHODS = {
    "natural": "robust_tickets.training.methods.natural:Natural",
    "fgsm": "robust_tickets.training.methods.fgsm:FGSM",
    "pgd": "robust_tickets.training.methods.pgd:PGD",
    "trades": "robust_tickets.training.methods.trades:TRADES",
    "mart": "robust_tickets.training.methods.mart:MART",
    "fgsm_rs": "robust_tickets.training.methods.fgsm_rs:FGSMRS",
    "nfgsm": "robust_tickets.training.methods.nfgsm:NFGSM",
    "sora": "robust_tickets.training.methods.sora:SORA",
    "pgi": "robust_tickets.training.methods.pgi:PGI",
    "liet": "robust_tickets.training.methods.liet:LIET",
    "bullet": "robust_tickets.training.methods.bullet:Bullet",
    "free": "robust_tickets.training.methods.free:Free",
}
"""Name in recipes -> module:class."""


def make_method(training: "Training") -> "Method":
    """The method of a training, fresh, with its settings from the recipe."""
    return method_class(training.method)(method_settings(training))


def method_settings(training: "Training") -> Any:
    """The settings of a training's own method."""
    empty = method_class(training.method).Settings
    return getattr(training, training.method, None) or empty()


@cache
def method_class(name: str) -> type["Method"]:
    """The class of a registered method. Raises TypeError for one that lacks a part of the interface."""
    base = "robust_tickets.training.methods.base:Method"
    return load_class("training method", name, METHODS[name], base)  # type: ignore[no-any-return]
