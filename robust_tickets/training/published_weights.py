"""Weights that others published: a state dict, for a network of the registry or of the user's own."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.data.dataset import SPECS, Spec
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import NetFactory, make_net
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.masks_in_files import is_mask, unused_masks
from robust_tickets.training.parameter_lists import find_listed
from robust_tickets.training.state_dicts import Candidate, find_candidates, is_averaged
from robust_tickets.training.weight_choice import choose_weights
from robust_tickets.training.weight_files import read_weight_file

ARM = "published"
"""The arm of published weights, in place of a training's."""

_NAMES_SHOWN = 3  # in messages


def load_published(
    path: Path,
    model: ModelSpec,
    recipe: Recipe,
    make: NetFactory | None = None,
    *,
    normalised: bool = False,
    weights: str | None = None,
    flags: str = "--model",
    log: Callable[[str], None] = lambda line: None,
) -> Checkpoint:
    """Read published weights as a checkpoint.

    path: a `.safetensors` file, or one that torch.load reads with weights_only. Dictionaries around the state
        dict and prefixes of its names are removed, where it does not fit as it is.
    model: the network that they are of.
    recipe: goes into the checkpoint.
    make: builds a network of the user's own.
    normalised: whether the user named a normalisation, which a file with its own would overrule.
    weights: which ones, of a file with several: "raw", "averaged" or a key; None: raw ones, if there are any.
    flags: the command line's name of the network's description, for messages.
    log: is told of a choice among several weights, and what is left out.

    Raises InputError for a file that cannot be read, and with the names that do not fit the network.
    """
    net = make_net(model, make, seed=0, train=False)
    expected = net.state_dict()
    # our networks have a normalisation too, and a count that old files lack
    ours = isinstance(getattr(net, "normalise", None), Normalise)
    optional = {
        name: tensor
        for name, tensor in expected.items()
        if (ours and name.startswith("normalise.")) or "num_batches_tracked" in name
    }
    content = read_weight_file(path)
    candidates = find_candidates(content, expected, set(optional))
    candidates += find_listed(content, net, set(optional), log)
    candidates = [each for each in candidates if not is_mask(each.key, each.state)]
    if not candidates:
        raise InputError(f"{path} holds no state dict: save net.state_dict() to it")
    buffers = {name for name, _ in net.named_buffers()}
    chosen = choose_weights(candidates, weights, buffers, f"{flags}.weights", log)
    if chosen is None:
        raise _misfit(path, model, min(candidates, key=lambda candidate: len(candidate.mistakes)))
    part = "" if weights in (None, "raw", "averaged") else chosen.key
    _check_outside(path, chosen, normalised, part, log)
    masks = unused_masks(content, chosen.state)
    if masks:
        log(
            f"{path} has masks beside the weights ({', '.join(masks)}), and weights that they prune are not "
            "zero: they are used as they are; to prune them, multiply them before you save them"
        )
    state = chosen.state
    own_normalisation = sorted(name for name in state if ours and name.startswith("normalise."))
    if normalised and own_normalisation:
        raise InputError(
            f"{path} has a normalisation of its own ({', '.join(own_normalisation)}): leave out the flag "
            "normalise"
        )
    state = optional | state
    _check_finite(path, state)
    return Checkpoint(
        state={name: state[name] for name in expected},
        model=model,
        recipe=recipes.to_table(recipe),
        data="",
        arm=ARM if weights is None else f"{ARM} ({chosen.key})",
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


def _misfit(path: Path, model: ModelSpec, candidate: Candidate) -> InputError:
    """The InputError for weights that do not fit: each kind of mistake, with a few names."""
    kinds = []
    for words in (" is missing", " is not in the network", ", in the network "):
        mistakes = [mistake for mistake in candidate.mistakes if words in mistake]
        if mistakes:
            more = len(mistakes) - _NAMES_SHOWN
            kinds.append("; ".join(mistakes[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
    return InputError(
        f"{path} does not fit {model.name} at width {model.width:g} for {model.classes} classes, choose "
        f"another network by --model.name; {_count(candidate.mistakes)}: " + "; ".join(kinds)
    )


def _check_outside(
    path: Path, chosen: Candidate, normalised: bool, part: str, log: Callable[[str], None]
) -> None:
    """Raise InputError for parts of the network that was trained which the named network does not have.

    normalised: whether the user named a normalisation, which replaces one in the file.
    part: the key of the weights, where the user named it: then the rest is meant to be left out; else "".
    """
    averaged = [name for name in chosen.outside if is_averaged(name)]
    outside = [name for name in chosen.outside if name not in averaged]
    if averaged and not chosen.averaged:
        log(f"left out: averaged weights whose names do not fit the network's ({_few(averaged)})")
    if outside and part:
        log(f"left out: {_count(outside)} besides {part} ({_few(outside)})")
    elif outside:
        choice = (
            ""
            if chosen.key == "top"
            else f"; or, where they take no part in the logits, --model.weights {chosen.key}"
        )
        raise InputError(
            f"{path} has {_count(outside)} besides the network's ({_few(outside)}), so "
            "the network that was trained has other parts: name your own function that builds all of it, as "
            f"--model.name my_nets.py:build{choice}"
        )
    if not chosen.normalisation:
        return
    names = _few(list(chosen.normalisation))
    if not normalised:
        values = "; ".join(
            f"{name} = {[round(x, 4) for x in value.flatten().tolist()[:4]]}"
            for name, value in list(chosen.normalisation.items())[:_NAMES_SHOWN]
        )
        raise InputError(
            f"{path} has a normalisation under other names ({values}): give it by --model.normalise "
            "MEAN,STD (none: for images in [0, 1])"
        )
    log(f"left out: the file's own normalisation ({names}), in favour of the one that is named")


def _count(names: list[str]) -> str:
    return f"{len(names)} name{'s' * (len(names) != 1)}"


def _few(names: list[str]) -> str:
    """The first names, and that there are more."""
    return ", ".join([*names[:_NAMES_SHOWN], *["..."] * (len(names) > _NAMES_SHOWN)])


def _check_finite(path: Path, state: dict[str, Tensor]) -> None:
    broken = next((name for name in state if not bool(torch.isfinite(state[name].float()).all())), None)
    if broken is not None:
        raise InputError(
            f"{path} has values in {broken} that are not finite: the training diverged, or the file is "
            "damaged; use another"
        )
