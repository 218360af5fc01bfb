"""The training methods and their wrappers by name. One line registers one: nothing else names it.

The recipe's allowed values, its nested settings (`train.<method>.<field>`), their flags and help come from
these tables.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from robust_tickets.recipe.registry import load_class

if TYPE_CHECKING:
    from robust_tickets.recipe.training_fields import Training
    from robust_tickets.training.methods.base import Method
    from robust_tickets.training.wrappers.base import Wrapper

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
    "nuat": "robust_tickets.training.methods.nuat:NuAT",
    "free": "robust_tickets.training.methods.free:Free",
}
"""Name in recipes -> module:class."""

WRAPPERS = {
    "curriculum": "robust_tickets.training.wrappers.curriculum:Curriculum",
    "awp": "robust_tickets.training.wrappers.awp:AWP",
    "dst": "robust_tickets.training.wrappers.dst:DST",
}
"""The same of the wrappers over any method, the innermost first."""


def make_method(training: "Training") -> "Method":
    """The method of a training, fresh, in the wrappers that the recipe turns on."""
    settings = used_settings(training)
    method = method_class(training.method)(settings.pop(training.method))
    for name, own in settings.items():
        method = wrapper_class(name)(own, method)
    return method


def used_settings(training: "Training") -> dict[str, Any]:
    """The settings of a training's method, and of the wrappers that are on, by name."""
    empty = method_class(training.method).Settings
    wrappers = {name: getattr(training, name) for name in WRAPPERS if hasattr(training, name)}
    return {
        training.method: getattr(training, training.method, None) or empty(),
        **{name: own for name, own in wrappers.items() if wrapper_class(name).wraps(own)},
    }


@cache
def method_class(name: str) -> type["Method"]:
    """The class of a registered method. Raises TypeError for one that lacks a part of the interface."""
    base = "robust_tickets.training.methods.base:Method"
    return load_class("training method", name, METHODS[name], base)  # type: ignore[no-any-return]


@cache
def wrapper_class(name: str) -> type["Wrapper"]:
    """The class of a registered wrapper. Raises TypeError for one that lacks a part of the interface."""
    base = "robust_tickets.training.wrappers.base:Wrapper"
    return load_class("wrapper", name, WRAPPERS[name], base)  # type: ignore[no-any-return]
