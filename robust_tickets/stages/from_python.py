"""The experiment of a call from Python: checked arguments become a recipe with the user's own inputs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robust_tickets.base.arguments import whole_number
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.paths import module_name
from robust_tickets.base.progress import stderr_progress
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.user_net import NetCopies, NetFactory, function_name
from robust_tickets.recipe import old_names
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.studies import check_study, load_study
from robust_tickets.stages.experiment import Experiment

Net = nn.Module | NetFactory
Images = Dataset | Mapping[str, Any] | None


def experiment_from(
    net: Net | None,
    data: Images,
    recipe: str | Path | Recipe,
    device: str | torch.device,
    fields: Mapping[str, Any],
    devices: int = 1,
    study: str = "",
    any_machine: bool = False,
) -> Experiment:
    """The experiment of a call. Raises InputError for arguments of another type, and wrong fields.

    devices: how many share each training and each evaluation.
    study: the study that is run; "": none.
    any_machine: whether a run that began on another processor or GPU may go on here.
    """
    if net is not None and not callable(net):
        raise InputError(
            f"net is a {type(net).__name__}, expected a function that returns an nn.Module, or a module; a "
            "network of this package is named by model={'name': 'resnet20'}"
        )
    for name in old_names.ARGUMENTS.keys() & fields.keys():
        raise InputError(f"there is no argument {name}: {old_names.ARGUMENTS[name]}")
    if not isinstance(recipe, str | Path | Recipe):
        raise InputError(
            f"recipe is a {type(recipe).__name__}, expected a shipped name, a TOML file's path or a Recipe"
        )
    if not isinstance(device, str | torch.device):
        raise InputError(f"device is a {type(device).__name__}, expected text as 'cpu' or 'cuda:0'")
    base = recipe if isinstance(recipe, Recipe) else recipes.load(str(recipe))
    table = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    if net is not None:
        model = table.setdefault("model", {})
        if isinstance(model, dict):  # anything else is refused below
            table["model"] = {"width": 1.0, "dropout": 0.0, **model, "name": function_name(net)}
    elif isinstance(table.get("model"), dict) and isinstance(table["model"].get("name"), str):
        table["model"]["name"] = module_name(table["model"]["name"])
    if isinstance(data, Dataset):
        counts = {"val_images": len(data.val), "train_images": len(data.train)}
        table["data"] = {"name": "own", "flip": data.spec.flip, "resize": 0} | counts
    elif isinstance(data, Mapping):
        table["data"] = data
    elif data is not None:
        raise InputError(
            "data must be what robust_tickets.images gives, or a table of fields, got a "
            f"{type(data).__name__}"
        )
    make = NetCopies(net) if isinstance(net, nn.Module) else net
    beside = load_study(study).pruning_methods if study else ()
    full = recipes.from_table(table, base, beside)
    check_study(study, full, base)
    number = whole_number("devices", devices, least=1)
    machine = Machine(str(device), stderr_progress(), any_machine=bool(any_machine), world_size=number)
    return Experiment(full, make, data if isinstance(data, Dataset) else None, machine)


def seeds_from(experiment: Experiment, net: Net | None, seeds: int | Iterable[int]) -> Sequence[int]:
    """The seeds of a comparison. Raises InputError where the network has one init for several."""
    # an array of no dimension is a number
    if isinstance(seeds, Iterable) and getattr(seeds, "ndim", None) != 0:
        chosen: Sequence[int] = [whole_number("seeds", seed, least=0) for seed in seeds]
    else:
        chosen = range(whole_number("seeds", seeds, least=1))
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds must be one or more different numbers, as range(10, 16), got {seeds!r:.80}")
    if isinstance(net, nn.Module) and len(chosen) > 1 and experiment.recipe.model.init == "default":
        raise InputError(
            f"{len(chosen)} seeds need as many inits, and a module has one: pass a function that returns a "
            "fresh network, or give model={'init': 'glorot-normal'}"
        )
    return chosen
