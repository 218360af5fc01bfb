"""A trained network on disk."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.errors import InputError
from robust_tickets.models.fingerprint import function_fingerprint
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.resize import resize_layers
from robust_tickets.models.title import network_title
from robust_tickets.models.user_net import NetFactory, check_logits, function_name, make_net
from robust_tickets.models.weights import load_weights
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import tensor_file
from robust_tickets.runs.downloads import local_file

KIND = "checkpoint"

_PLAIN: dict[str, type[Any]] = {
    "recipe": dict,
    "data": str,
    "arm": str,
    "seed": int,
    "epoch": int,
    "val_clean": float,
    "val_robust": float,
    "function": str,
    "removed": int,
    "averaged": bool,
}
"""The fields of a checkpoint that a file holds as plain values."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """Weights, and everything that is needed to use them.

    state: the network's state dict; pruned weights are 0.0.
    model: how the network is built.
    recipe: the recipe's table, as `recipes.to_table` gives it.
    data: fingerprint of the images it was trained on.
    arm, seed, epoch: which training, and the epoch (from 1) after which these were its weights.
    val_clean, val_robust: validation accuracies, fractions.
    function: fingerprint of what a network of the user's own computes; empty for the registry's.
    removed: how many channels of the network a ticket removed.
    averaged: whether the weights are a moving average over the training.
    """

    state: dict[str, Tensor]
    model: ModelSpec
    recipe: dict[str, Any]
    data: str
    arm: str
    seed: int
    epoch: int
    val_clean: float
    val_robust: float
    function: str = ""
    removed: int = 0
    averaged: bool = False

    def __repr__(self) -> str:
        return f"<Checkpoint of {self.model.name}: {self.arm}, seed {self.seed}, epoch {self.epoch}>"

    def save(self, path: Path, *, packed: bool = False) -> None:
        """Write the file, whole or not at all; packed: in less room where many weights are zero."""
        tensor_file.save(path, KIND, self.state, self.meta(), packed=packed)

    def meta(self) -> dict[str, Any]:
        """All of it but the weights, as plain values."""
        return {name: getattr(self, name) for name in _PLAIN} | {"model": asdict(self.model)}

    @classmethod
    def load(cls, path: Path | str) -> "Checkpoint":
        """Read a checkpoint.

        path: of the file, or its address, as `Ticket.load` has it.

        Raises InputError where it is absent, damaged, another kind of file, or not what its checksum says.
        """
        file = local_file("path", path)
        tensors, meta = tensor_file.load(file, KIND)
        return cls(tensors, **plain_fields(file, meta))

    def net(self, make: NetFactory | None = None) -> nn.Module:
        """The network with these weights, in eval mode.

        make: builds a network of the user's own, since code that a file names is never imported.

        Raises InputError where the weights do not fit, or where `make` is needed.
        """
        name = self.model.name
        if make is None and ":" in name:
            raise InputError(
                f"the checkpoint is of {name}, a network of your own, and no code is run because a file "
                f"names it: name the function that makes it, --model.name {name}"
            )
        # messages name the user's function, which may be called otherwise than in the file
        spec = self.model if make is None else replace(self.model, name=function_name(make))
        net = make_net(spec, make, seed=0, train=False)
        if self.function and function_fingerprint(net, spec.shape) != self.function:
            raise InputError(
                f"{spec.name} makes another network than the checkpoint's: its layers, or what it computes "
                "with them, have changed since; use the code that it was trained with"
            )
        if self.removed:
            resize_layers(net, self.state)
        load_weights(net, self.state, f"checkpoint of {network_title(spec.name, spec.width)}")
        if self.removed:
            check_logits(net, spec)
        return set_mode(net, False)

    def resolved_recipe(self) -> Recipe:
        """The recipe that it was trained by."""
        return recipes.from_table(self.recipe)


def plain_fields(path: Path, meta: dict[str, Any]) -> dict[str, Any]:
    """All fields but the weights, from `Checkpoint.meta` in a file. Raises InputError where one is wrong."""
    try:
        plain = {name: tensor_file.field(meta, name, kind) for name, kind in _PLAIN.items()}
        return {"model": schema.read(ModelSpec, meta["model"], path="model"), **plain}
    except (KeyError, TypeError, InputError) as error:
        raise InputError(f"{path} is no whole checkpoint ({error}): copy it again, or train again") from None
