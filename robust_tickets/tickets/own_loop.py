"""A ticket in a training loop of the user's own: its network, and hooks that keep the network sparse."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn
from torch.optim import SGD, Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking, masking_for
from robust_tickets.recipe.fields import Compute
from robust_tickets.tickets.starting_net import starting_net
from robust_tickets.tickets.ticket import Ticket

_MASKS: WeakKeyDictionary[nn.Module, Mask] = WeakKeyDictionary()
"""Masks of the networks that `apply_ticket` gave: one without dead channels has a smaller one."""


def apply_ticket(ticket: Ticket, net: nn.Module, *, compact: bool = True) -> nn.Module:
    """Rewind a network to a ticket and prune it; returns the network to train.

    net: a network of the ticket's architecture; its weights are replaced.
    compact: remove dead channels, which makes steps faster; the network that is returned is then another one.

    Raises InputError for a network that does not fit.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}, expected an nn.Module of the ticket's architecture")
    start = starting_net(net, ticket, ticket.model.shape, Compute(compact=compact))
    mask = Mask.full(start.net) if start.mask is None else start.mask
    masking_for(start.net, mask, ticket.model.shape).mask_parameters()
    _MASKS[start.net] = mask
    return start.net


class SparsityHooks:
    """Keeps a network sparse while an optimiser trains it, by hooks around the optimiser's step.

    Gradients of pruned weights are zero before a step and the weights after it, so that they are exactly 0.0
    whatever the optimiser remembers. `with keep_sparse(...):` removes the hooks at the end of the block.
    """

    def __init__(self, masking: Masking, optimiser: Optimizer) -> None:
        self._masking = masking
        self._handles = [
            optimiser.register_step_pre_hook(self._before),
            optimiser.register_step_post_hook(self._after),
        ]
        masking.mask_parameters()

    def __repr__(self) -> str:
        return f"SparsityHooks({self.zeros:,} parameters held at zero)"

    @property
    def zeros(self) -> int:
        """Number of parameters held at zero, with biases and BatchNorms of filters that are pruned whole."""
        return self._masking.zeros

    def mask_gradients(self) -> None:
        """Set gradients of pruned weights to zero now, as before their norm is clipped."""
        self._masking.mask_gradients()

    def check(self) -> None:
        """Raise InputError where a pruned weight is not zero, as if something else wrote into it."""
        self._masking.check()

    def remove(self) -> None:
        """Remove the hooks; the network stays as it is."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> "SparsityHooks":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def _before(self, optimiser: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._masking.mask_gradients()
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._masked(args[1]), *args[2:]), kwargs
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._masked(kwargs["closure"])}
        return None

    def _masked(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure, which computes gradients within the step, and then masks them."""

        def masked() -> Any:
            loss = closure()
            self._masking.mask_gradients()
            return loss

        return masked

    def _after(self, optimiser: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._masking.mask_parameters()


def keep_sparse(net: nn.Module, ticket: Ticket, optimiser: Optimizer) -> SparsityHooks:
    """Keep a network sparse in a training loop of one's own; returns the hooks, with `remove()`.

        net = ticket.apply(build_net())
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
        hooks = keep_sparse(net, ticket, optimiser)

    net: what `ticket.apply` gave, or a network of the ticket's architecture; DistributedDataParallel,
        torch.compile and the like may be around it.
    optimiser: that of its parameters, in as many groups as you like; Accelerate may be around it.

    The network is pruned at once. Raises InputError for a network or an optimiser that is of another one, and
    for a ticket of coefficients (`search.basis`) with an optimiser other than SGD.
    """
    if not isinstance(ticket, Ticket):
        raise InputError(
            f"ticket is a {type(ticket).__name__}, expected a Ticket: read one by Ticket.load(path)"
        )
    net, optimiser = _inner_net(net), _inner_optimiser(optimiser)
    mask = _MASKS.get(net, ticket.mask)
    if mask.basis is not None and not isinstance(optimiser, SGD):
        mask.check_canonical(f"the optimiser {type(optimiser).__name__}")
    masking = masking_for(net, mask, ticket.model.shape)
    trained = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    if not any(id(weight) in trained for weight, _ in masking.weights.values()):
        raise InputError(
            "the optimiser trains none of the network's prunable weights: build it from the parameters of "
            "the network that ticket.apply returned, which can be another one than it was given"
        )
    return SparsityHooks(masking, optimiser)


def _inner_net(net: nn.Module) -> nn.Module:
    """A network without the wrappers of torch.compile and of data parallel training."""
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}, expected the nn.Module that ticket.apply returned")
    while True:
        if isinstance(getattr(net, "_orig_mod", None), nn.Module):
            net = net._orig_mod  # type: ignore[assignment]
        elif isinstance(net, nn.DataParallel | nn.parallel.DistributedDataParallel):
            net = net.module
        else:
            return net


def _inner_optimiser(optimiser: Optimizer) -> Optimizer:
    """An optimiser without the wrapper of a trainer, whose own `step` runs no hooks."""
    inner = getattr(optimiser, "optimizer", None)
    if isinstance(inner, Optimizer):
        return _inner_optimiser(inner)
    if not isinstance(optimiser, Optimizer):
        raise InputError(f"optimiser is a {type(optimiser).__name__}, expected one of torch.optim")
    return optimiser
