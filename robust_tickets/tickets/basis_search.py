"""The rounds of a search whose mask keeps coefficients of a basis: before the first, and after each."""

from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.basis import check_own_weights, make_basis
from robust_tickets.pruning.criteria import ignored_layers
from robust_tickets.pruning.layers import Shape, layer_roles, prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.training_fields import Search
from robust_tickets.tickets.pruning_step import PruningStep


def first_mask(net: nn.Module, search: Search, shape: Shape, seed: int) -> Mask:
    """The mask in which nothing is pruned, in the basis of the search where that is known by now.

    seed: of a random basis. Raises InputError for a weight that several layers share, and for a basis that
    transforms none.
    """
    full = Mask.full(net)
    if search.basis == "canonical":
        return full
    weights = prunable_weights(net)
    ignored = ignored_layers(search, full, layer_roles(net, shape))
    weights = {name: weight for name, weight in weights.items() if name not in ignored}
    check_own_weights(net, weights)
    if search.basis.startswith("svd"):
        return full
    basis = make_basis(search.basis, search.basis_axes, weights, seed)
    if not any(basis.factors.values()):
        raise InputError(
            f"search.basis {search.basis} leaves each layer of this network as it is, since none that is "
            "pruned has a kernel: give --search.basis-axes all, or take search.basis canonical"
        )
    return Mask(dict(full.items()), basis)


def pruned_in_basis(net: nn.Module, search: Search, mask: Mask, step: PruningStep, shape: Shape) -> Mask:
    """The mask after a round, by the scores of the network's coefficients.

    Of svd, the basis is that of the network's weights now.
    """
    weights = prunable_weights(net)
    if search.basis == "canonical":
        return step.prune(SCORES[search.criterion](weights, mask), mask)
    basis = mask.basis
    if search.basis.startswith("svd"):
        ignored = ignored_layers(search, mask, layer_roles(net, shape))
        own = {name: weight for name, weight in weights.items() if name not in ignored}
        basis = make_basis(search.basis, search.basis_axes, own, 0)
        mask = Mask({name: basis.candidates(name, e.shape) for name, e in mask.items()}, basis)
    assert basis is not None
    coefficients = {name: basis.coefficients(name, weight.detach()) for name, weight in weights.items()}
    pruned = step.prune(SCORES[search.criterion](coefficients, mask), mask)
    return Mask({name: basis.chosen(name, entries) for name, entries in pruned.items()}, basis)
