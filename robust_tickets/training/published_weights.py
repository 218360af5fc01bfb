"""Weights that others published: a state dict, for a network of the registry or of the user's own."""

import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.data.dataset import SPECS, Spec
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import NetFactory, make_net
from robust_tickets.models.weights import mismatches
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training.checkpoint import Checkpoint

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("_orig_mod.", "module.", "model.")
_UNUSED = ("sub_block1.",)  # in TRADES's WideResNets, where no forward pass reaches it


def load_published(
    path: Path, model: ModelSpec, recipe: Recipe, make: NetFactory | None = None, *, normalised: bool = False
) -> Checkpoint:
    """Read published weights as a checkpoint.

    path: a `.safetensors` file, or one that torch.load reads with weights_only; a dictionary around the state
    dict and the prefixes `module.` and `model.` are removed.
    model: the network that they are of.
    recipe: goes into the checkpoint.
    make: builds a network of the user's own.
    normalised: whether the user named a normalisation, which a file with its own would overrule.

    Raises InputError for a file that cannot be read, and with each name that does not fit the network.
    """
    state = _without_prefixes(_state_dict(_read(path), path))
    own_normalisation = sorted(name for name in state if name.startswith("normalise."))
    if normalised and own_normalisation:
        raise InputError(
            f"{path} has a normalisation of its own ({', '.join(own_normalisation)}): leave out the flag "
            "normalise"
        )
    net = make_net(model, make, seed=0, train=False)
    expected = net.state_dict()
    # our networks have a normalisation too, and a count that old files lack
    optional = {n: t for n, t in expected.items() if n.startswith("normalise.") or "num_batches_tracked" in n}
    state = optional | state
    _check_fit(path, model, state, expected)
    return Checkpoint(
        state={name: state[name] for name in expected},
        model=model,
        recipe=recipes.to_table(recipe),
        data="",
        arm="published",
        seed=0,
        epoch=0,
        val_clean=math.nan,
        val_robust=math.nan,
    )


def parse_normalisation(text: str, spec: Spec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std, one a channel, from "none", the name of a data set, or "MEAN,STD".

    MEAN and STD are a number each, or one number a channel: all means, then all stds. Raises InputError for
    anything else.
    """
    channels = spec.shape[0]
    if text == "none":
        return (0.0,) * channels, (1.0,) * channels
    if text in SPECS:
        mean, std = SPECS[text].mean, SPECS[text].std
        if len(mean) != channels:
            raise InputError(
                f"normalise {text} is for {len(mean)} channels, the images have {channels}: write MEAN,STD"
            )
        return mean, std
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise unknown_name("normalisation", text, ["none", *SPECS, "MEAN,STD"]) from None
    if len(numbers) == 2:
        numbers = (numbers[0],) * channels + (numbers[1],) * channels
    mean, std = numbers[:channels], numbers[channels:]
    if len(numbers) != 2 * channels or not all(map(math.isfinite, numbers)) or min(std) <= 0:
        raise InputError(
            f"normalise {text!r} makes no sense for {channels} channels: write MEAN,STD, two numbers or "
            f"{2 * channels} (all means, then all stds), with stds above 0"
        )
    return mean, std


def _check_fit(path: Path, model: ModelSpec, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise InputError where a state dict does not fit the one that is expected, or is not finite."""
    mistakes = mismatches(state, expected)
    if mistakes:
        raise InputError(
            f"{path} does not fit {model.name} at width {model.width:g} for {model.classes} classes, choose "
            f"another network by --model.name; {len(mistakes)} names: {'; '.join(mistakes)}"
        )
    broken = next((n for n in expected if not bool(torch.isfinite(state[n].float()).all())), None)
    if broken is not None:
        raise InputError(
            f"{path} has values in {broken} that are not finite: the training diverged, or the file is "
            "damaged; use another"
        )


def _read(path: Path) -> Any:
    """The content of a file, of whatever type. Raises InputError for one that is unsafe or damaged."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file in it, as {path / 'best.safetensors'}")
    if not path.is_file():
        raise InputError(f"there is no file {path}: give the path of a checkpoint (.safetensors, .pt)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if _is_compressed(path):
            raise InputError(
                f"{path} is compressed, as torch.save never does, and may hold far more than it seems: fetch "
                "the file again, or unpack it"
            )
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is no file of weights, or holds more than weights, and code from a file is never run: "
            "save the network's state_dict() alone, or fetch the file again"
        ) from None
    except Exception:  # torch.load raises whatever a damaged file leads it to
        raise InputError(f"{path} is damaged or no file of weights: fetch it again") from None


def _is_compressed(path: Path) -> bool:
    """Whether a zip holds anything compressed."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that a file holds, perhaps inside another dictionary. Raises InputError without one."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no state dict: save net.state_dict() to it")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path} holds no state dict: {others[0]} is no tensor; save net.state_dict() to it")
    return {str(name): value for name, value in content.items()}


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without prefixes that all names have, and without weights that no pass reaches."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {name: value for name, value in state.items() if not name.startswith(_UNUSED)}
