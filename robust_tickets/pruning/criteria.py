"""The cut: scores and mask in, a sparser mask out."""

import fnmatch
from collections.abc import Mapping

import torch
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.layer_roles import LayerRoles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Search


def prune(
    scores: Mapping[str, Tensor], mask: Mask, ratio: float, *, spare: frozenset[str] = frozenset()
) -> Mask:
    """Remove the share `ratio` of the weights still kept, those of lowest score over all layers together.

    The layers in `spare` are left as they are, and their weights not counted. Exactly round(ratio * kept) go;
    ties are broken by position, in the net's order of parameters, the earlier first (a threshold would take
    too many or too few). Raises InputError if a score is not finite, or a layer would be left without a
    single weight.
    """
    names = [name for name in mask if name not in spare]
    flat = torch.cat([scores[name].flatten() for name in names])
    kept = torch.cat([mask[name].flatten() for name in names])
    if not bool(flat[kept].isfinite().all()):
        raise InputError(
            "weights are not finite, so nothing can be pruned: the training diverged; lower search.lr"
        )
    candidates = kept.nonzero()[:, 0]
    remove = round(ratio * len(candidates))
    if remove:
        found = flat[candidates]
        highest = torch.kthvalue(found, remove).values  # the highest score that goes; others may share it
        below = found < highest
        ties = (found == highest).nonzero()[:, 0]  # in order of position
        kept[candidates[below]] = False
        kept[candidates[ties[: remove - int(below.sum())]]] = False
    cut = mask.with_entries(names, kept)
    for name in names:
        if not bool(cut[name].any()):
            raise InputError(
                f"pruning a share of {ratio:g} (density {cut.density:.2g} in all) leaves nothing of {name}: "
                f"lower search.ratio or search.rounds, or leave the layer out by search.ignored_layers {name}"
            )
    return cut


def prune_by_layer(scores: Mapping[str, Tensor], mask: Mask, ratios: Mapping[str, float]) -> Mask:
    """Remove from each layer its own share of the weights still kept there, exactly round(share * kept).

    Raises InputError as `prune` does, with the layer that would be empty.
    """
    cut = dict(mask.items())
    for name in mask:
        _to_remove(name, ratios[name], int(mask[name].sum()))
        cut[name] = prune(scores, Mask({name: mask[name]}), ratios[name])[name]
    return Mask(cut)


def _to_remove(name: str, ratio: float, kept: int) -> int:
    """How many of a layer's weights go. Raises InputError if that is all of them."""
    remove = round(ratio * kept)
    if remove == kept:
        raise InputError(
            f"pruning a share of {ratio:g} leaves nothing of {name}: lower search.ratio, search.fc_ratio or "
            "search.output_ratio, or search.rounds"
        )
    return remove


def prune_round(search: Search, scores: Mapping[str, Tensor], mask: Mask, roles: LayerRoles) -> Mask:
    """The mask after a round, by the search's scope, ratios and spared layers.

    Scope layer follows Frankle & Carbin 2019, section 2: a share for convolutions, one for hidden linear
    layers and one for the output. Raises InputError as `prune` and `spared` do.
    """
    spare = spared_layers(search, mask, roles)
    if search.scope == "global":
        return prune(scores, mask, search.ratio, spare=spare)
    return prune_by_layer(scores, mask, _ratios(search, mask, roles, spare))


def check_rounds(search: Search, mask: Mask, roles: LayerRoles, rounds: int) -> None:
    """Complain before the training of what is known to go wrong after it.

    Raises InputError as `spared` does, and where so many rounds layer by layer would empty a layer.
    """
    spare = spared_layers(search, mask, roles)
    if search.scope == "layer":
        for name, ratio in _ratios(search, mask, roles, spare).items():
            kept = int(mask[name].sum())
            for _ in range(rounds):
                kept -= _to_remove(name, ratio, kept)


def _ratios(search: Search, mask: Mask, roles: LayerRoles, spare: frozenset[str]) -> dict[str, float]:
    """The share that each layer loses with scope layer."""
    fc = search.ratio if search.fc_ratio is None else search.fc_ratio
    output = fc if search.output_ratio is None else search.output_ratio
    ratios = {name: fc if name in roles.linear else search.ratio for name in mask}
    return ratios | {roles.output: output} | dict.fromkeys(spare, 0.0)


def spared_layers(search: Search, mask: Mask, roles: LayerRoles) -> frozenset[str]:
    """The weights that the search leaves as they are.

    Raises InputError where what it names is not there, or where nothing would be left to prune.
    """
    spare: set[str] = set()
    if not search.prune_first_conv:
        if roles.first_conv is None:
            raise InputError("the net has no convolution, so leave out search.prune_first_conv")
        spare.add(roles.first_conv)
    if not search.prune_output:
        spare.add(roles.output)
    for pattern in search.ignored_layers.split():
        found = fnmatch.filter(mask, pattern)
        if not found:
            raise InputError(
                f"search.ignored_layers {pattern!r} fits no weight of the net: leave it out, or "
                f"write a pattern of "
                f"its weights, which are {', '.join(mask)}"
            )
        spare.update(found)
    if len(spare) == len(mask):
        raise InputError(
            f"no layer is left to prune: all of {', '.join(mask)} are spared; name fewer in "
            f"search.ignored_layers, or "
            "let search.prune_first_conv or search.prune_output be true"
        )
    return frozenset(spare)
