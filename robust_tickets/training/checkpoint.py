"""A trained net on disk."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.fingerprint import function_fingerprint
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.resize import resize_layers
from robust_tickets.models.user_net import NetFactory, check_logits, function_name, make_net
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import tensor_file

KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Weights and all that is needed to use them: the net, the recipe, which arm, seed and epoch.

    `state` is the net's state dict, pruned weights being 0.0 in it; `data` the fingerprint of the images it
    was trained on; `val_clean` and `val_robust` are fractions. `function` is the fingerprint of what a net of
    the user's own computes; empty for the registry's. `removed` channels of the net are not there any more.
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

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        meta = {
            "model": asdict(self.model),
            "recipe": self.recipe,
            "data": self.data,
            "arm": self.arm,
            "seed": self.seed,
            "epoch": self.epoch,
            "val_clean": self.val_clean,
            "val_robust": self.val_robust,
        }
        if self.function:
            meta["function"] = self.function
        if self.removed:
            meta["removed"] = self.removed
        tensor_file.save(path, KIND, self.state, meta)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint. Raises InputError where it is absent, damaged or none."""
        tensors, meta = tensor_file.load(path, KIND)
        try:
            return cls(
                state=tensors,
                model=schema.read(ModelSpec, meta["model"], path="model"),
                recipe=tensor_file.field(meta, "recipe", dict),
                data=tensor_file.field(meta, "data", str),
                arm=tensor_file.field(meta, "arm", str),
                seed=tensor_file.field(meta, "seed", int),
                epoch=tensor_file.field(meta, "epoch", int),
                val_clean=tensor_file.field(meta, "val_clean", float),
                val_robust=tensor_file.field(meta, "val_robust", float),
                function=tensor_file.field({"function": "", **meta}, "function", str),
                removed=tensor_file.field({"removed": 0, **meta}, "removed", int),
            )
        except (KeyError, TypeError, InputError) as error:
            raise InputError(f"{path} is no whole checkpoint: {error}") from None

    def net(self, make: NetFactory | None = None) -> nn.Module:
        """The net with these weights, in eval mode; `make` makes a net of the user's own.

        Raises InputError where the weights do not fit, or where a net of the user's own needs `make`: what a
        file names is never imported.
        """
        name = self.model.name
        if make is None and ":" in name:
            raise InputError(
                f"the checkpoint is one of {name}, and no code is run because a file names it: name the "
                f"function that makes the net yourself, --model.name {name}"
            )
        # messages name the function that was given, which need not be called as the file says
        spec = self.model if make is None else replace(self.model, name=function_name(make))
        net = make_net(spec, make, seed=0, train=False)
        if self.function and function_fingerprint(net, spec.shape) != self.function:
            raise InputError(
                f"{spec.name} makes another net than the checkpoint is of: its layers, or what it computes "
                "with them, have changed since; use the code that it was trained with"
            )
        if self.removed:
            resize_layers(net, self.state)
        load_weights(net, self.state, "checkpoint")
        if self.removed:
            check_logits(net, spec)
        return net.eval()

    def resolved_recipe(self) -> Recipe:
        """The recipe it was trained by."""
        return recipes.from_table(self.recipe)


@torch.no_grad()
def load_weights(net: nn.Module, state: dict[str, Tensor], kind: str) -> None:
    """Copy a state into a net, in place. Raises InputError with the first parameter that does not fit."""
    own = net.state_dict()
    for name in [*own, *state]:
        if name not in state:
            raise InputError(f"the {kind} does not fit the net: it has nothing for {name}")
        if name not in own:
            raise InputError(f"the {kind} does not fit the net: the net has no {name}")
        if own[name].shape != state[name].shape:
            raise InputError(
                f"the {kind} does not fit the net: {name} is {tuple(state[name].shape)} in the {kind}, "
                f"{tuple(own[name].shape)} in the net; use the recipe it was made by"
            )
    net.load_state_dict(state)
