"""Pruning of single weights: scores and a mask in, a sparser mask out."""

import fnmatch
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.layers import LayerRoles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.training_fields import Search


def prune(
    scores: Mapping[str, Tensor], mask: Mask, ratio: float, *, ignored: frozenset[str] = frozenset()
) -> Mask:
    """Remove a share of the weights that are left: those of lowest score over all layers together.

    scores: by parameter name, shaped like the mask's entries, on any device.
    ratio: share to remove; exactly round(ratio * count) weights go. Ties are broken by position, the earlier
        first in the network's order of parameters: a threshold would take too many or too few.
    ignored: layers that are left as they are and not counted.

    Raises InputError where a score is not finite, or a layer would be left without a single weight.
    """
    names = [name for name in mask if name not in ignored]
    flat = torch.cat([scores[name].flatten() for name in names])
    entries = torch.cat([mask[name].flatten() for name in names]).to(flat.device)
    if not bool(flat[entries].isfinite().all()):
        raise InputError(
            "weights are not finite, so nothing can be pruned: the training diverged; lower search.lr"
        )
    candidates = entries.nonzero()[:, 0]
    remove = round(ratio * len(candidates))
    if remove:
        values = flat[candidates]
        highest = torch.kthvalue(values, remove).values  # the highest score that goes; others may share it
        below = values < highest
        ties = (values == highest).nonzero()[:, 0]  # in order of position
        entries[candidates[below]] = False
        entries[candidates[ties[: remove - int(below.sum())]]] = False
    pruned_mask = mask.with_entries(names, entries.cpu())
    for name in names:
        if not bool(pruned_mask[name].any()):
            raise InputError(
                f"pruning a share of {ratio:g} (density {pruned_mask.density:.2g} in all) leaves nothing of "
                f"{name}: lower search.ratio or search.rounds, or leave the layer out by "
                f"search.ignored_layers {name}"
            )
    return pruned_mask


def prune_by_layer(scores: Mapping[str, Tensor], mask: Mask, ratios: Mapping[str, float]) -> Mask:
    """Remove from each layer a share of its own of the weights left there, exactly round(ratio * count).

    Raises InputError as `prune` does, with the name of the layer that would be empty.
    """
    entries = dict(mask.items())
    for name in mask:
        _removal_count(name, ratios[name], int(mask[name].sum()))
        entries[name] = prune(scores, Mask({name: mask[name]}), ratios[name])[name]
    return Mask(entries, mask.basis)


def prune_round(search: Search, scores: Mapping[str, Tensor], mask: Mask, roles: LayerRoles) -> Mask:
    """The mask after one more round, by the search's scope, ratios and ignored layers.

    Scope layer follows Frankle & Carbin 2019, section 2: a share for convolutions, one for hidden linear
    layers and one for the output. Raises InputError as `prune` and `ignored_layers` do.
    """
    ignored = ignored_layers(search, mask, roles)
    if search.scope == "global":
        return prune(scores, mask, search.ratio, ignored=ignored)
    return prune_by_layer(scores, mask, _layer_ratios(search, mask, roles, ignored))


def check_rounds(search: Search, mask: Mask, roles: LayerRoles, rounds: int) -> None:
    """Raise InputError, before any training, where so many rounds would empty a layer.

    That is known beforehand with scope layer alone. Raises InputError as `ignored_layers` does, too.
    """
    ignored = ignored_layers(search, mask, roles)
    if search.scope == "layer":
        for name, ratio in _layer_ratios(search, mask, roles, ignored).items():
            count = int(mask[name].sum())
            for _ in range(rounds):
                count -= _removal_count(name, ratio, count)


def _removal_count(name: str, ratio: float, count: int) -> int:
    """How many of a layer's `count` weights go. Raises InputError where all of them would."""
    remove = round(ratio * count)
    if remove == count:
        raise InputError(
            f"pruning a share of {ratio:g} leaves nothing of {name}: lower search.ratio, search.fc_ratio or "
            "search.output_ratio, or search.rounds"
        )
    return remove


def _layer_ratios(
    search: Search, names: Iterable[str], roles: LayerRoles, ignored: frozenset[str]
) -> dict[str, float]:
    """The share that each layer loses with scope layer."""
    fc = search.ratio if search.fc_ratio is None else search.fc_ratio
    output = fc if search.output_ratio is None else search.output_ratio
    ratios = {name: fc if name in roles.linear else search.ratio for name in names}
    return ratios | {roles.output: output} | dict.fromkeys(ignored, 0.0)


def ignored_layers(search: Search, weights: Iterable[str], roles: LayerRoles) -> frozenset[str]:
    """Names of the weights that the search never prunes.

    Raises InputError where a field names a layer that does not exist, or nothing would be left to prune.
    """
    names = list(weights)
    ignored = set(roles.frozen)
    if not search.prune_first_conv:
        if roles.first_conv is None:
            raise InputError("the network has no convolution: leave out search.prune_first_conv")
        ignored.add(roles.first_conv)
    if not search.prune_output:
        ignored.add(roles.output)
    for pattern in search.ignored_layers.split():
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise InputError(
                f"search.ignored_layers {pattern!r} fits no weight of the network: leave it out, or write a "
                f"pattern of its weights, which are {', '.join(names)}"
            )
        ignored.update(matches)
    if len(ignored) == len(names):
        raise InputError(
            f"no layer is left to prune: all of {', '.join(names)} are ignored or frozen: name fewer in "
            "search.ignored_layers, or let search.prune_first_conv or search.prune_output be true"
        )
    return frozenset(ignored)
