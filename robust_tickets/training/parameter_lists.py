"""Weights of a file as a bare list in the order of a network's parameters, as torch_ema saves them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from robust_tickets.models.weights import StateDict
from robust_tickets.training.state_dicts import Candidate, leads_to_weights, names_average, read_candidate

_DEEPEST = 4  # dictionaries around a list


def find_listed(
    content: Any, net: nn.Module, optional: set[str], log: Callable[[str], None]
) -> list[Candidate]:
    """The lists of a file that have the number and the shapes of a network's parameters, as state dicts.

    content: of the file.
    optional: the network's names that a file need not have.
    log: is told of averages in a list that does not fit.
    """
    expected = net.state_dict()
    order = {id(parameter): place for place, parameter in enumerate(net.parameters())}
    places = {name: order[id(p)] for name, p in net.named_parameters(remove_duplicate=False)}
    shapes = [parameter.shape for parameter in net.parameters()]
    candidates = []
    for path, tensors in _lists(content, ()):
        averaged = any(map(names_average, path))
        if [tensor.shape for tensor in tensors] == shapes:
            state: StateDict = {name: tensors[place] for name, place in places.items()}
            candidates.append(read_candidate(path, averaged, state, expected, optional))
        elif averaged:
            log(
                f"left out: {'/'.join(path)}, a list of {len(tensors)} tensors that are not, in number and "
                f"shapes, the {len(shapes)} parameters of the network"
            )
    return candidates


def _lists(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Tensor]]]:
    """All lists of tensors alone, each with the keys that lead to it."""
    if isinstance(content, list | tuple):
        if path and content and all(isinstance(value, Tensor) for value in content):
            yield path, list(content)
    elif isinstance(content, Mapping) and len(path) <= _DEEPEST:
        for key, value in content.items():
            if leads_to_weights(str(key)):
                yield from _lists(value, (*path, str(key)))
