"""Probes of a compaction with negative live channels: one that is zero may then be the largest."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.probe import eager
from robust_tickets.pruning.compaction import Compaction

_TOLERANCE = {torch.float64: 1e-7}
_COARSE = 1e-2
"""Largest difference over the largest value of a layer's input, in float64 and in other types."""

Inputs = dict[str, list[Tensor]]
"""What each layer got, by its name and call."""


@torch.no_grad()
def same_for_signs(
    whole: nn.Module,
    small: nn.Module,
    plan: Compaction,
    masks: Sequence[Mapping[str, Tensor]],
    images: Tensor,
) -> bool:
    """Whether the layers of both networks get the same where channels are all negative, and where some are.

    Inputs are compared layer by layer, as negative channels seldom reach the logits through a ReLU. What is
    not finite proves nothing, nor does a network whose code refuses such values.

    whole: a network in eval mode with positive weights, the pruned ones zero. Both networks are left with the
        weights that they had.
    small: the same without its dead channels, by `plan`.
    masks: of the parameters of `whole` that are pruned.
    """
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    learned = [name for name, p in whole.named_parameters() if p.is_floating_point() or p.is_complex()]
    try:
        return all(
            _same_inputs(whole, small, plan, _masked({**state, **signed}, masks), images)
            for signed in (_negative(state, learned), _mixed(state, learned))
        )
    finally:
        whole.load_state_dict(state)
        small.load_state_dict(plan.narrow(state))


def _negative(state: Mapping[str, Tensor], learned: Sequence[str]) -> dict[str, Tensor]:
    """Parameters that make every channel negative: biases outweigh what BatchNorms make of their input."""
    weights = {name: -state[name] for name in learned if state[name].ndim > 1}
    return weights | {name: -5 * state[name] for name in learned if name.endswith("bias")}


def _mixed(state: Mapping[str, Tensor], learned: Sequence[str]) -> dict[str, Tensor]:
    """Parameters of random sign, one for each filter and bias."""
    generator = torch.Generator().manual_seed(2)
    signed = {}
    for name in learned:
        tensor = state[name]
        if tensor.ndim:
            signs = 2 * torch.randint(2, (len(tensor),), generator=generator) - 1
            signed[name] = tensor * signs.reshape(-1, *[1] * (tensor.ndim - 1)).to(tensor)
    return signed


def _masked(state: Mapping[str, Tensor], masks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    masked = dict(state)
    for mask in masks:
        masked |= {name: masked[name] * entries.to(masked[name].device) for name, entries in mask.items()}
    return masked


def _same_inputs(
    whole: nn.Module, small: nn.Module, plan: Compaction, state: Mapping[str, Tensor], images: Tensor
) -> bool:
    whole.load_state_dict(state)
    small.load_state_dict(plan.narrow(state))
    try:
        expected = _layer_inputs(whole, images)
    except Exception as error:  # the network's own code fails as it likes, as on what is negative
        if is_device_error(error):
            raise
        return True
    try:
        inputs = _layer_inputs(small, images)
    except Exception as error:
        if is_device_error(error):
            raise
        return False
    return all(
        _same(one, other)
        for name in expected
        for one, other in zip(_narrow(name, whole, plan, expected[name]), inputs[name], strict=False)
    )


def _layer_inputs(net: nn.Module, images: Tensor) -> Inputs:
    inputs: Inputs = defaultdict(list)
    with _recorded(net, inputs), eager(), use_seed(0):
        net(images)
    return inputs


@contextmanager
def _recorded(net: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Keep a copy of what each convolution and linear layer gets; a later one may write into it."""

    def observe(name: str, args: tuple[object, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            inputs[name].append(args[0].clone())

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: observe(name, args))
        for name, layer in net.named_modules()
        if isinstance(layer, _ConvNd | nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _narrow(name: str, whole: nn.Module, plan: Compaction, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The channels of a layer's inputs that the small network has."""
    layer = whole.get_submodule(name)
    grouped = isinstance(layer, _ConvNd) and layer.groups > 1
    indices = plan.indices.get(f"{name}.weight", {}).get(0 if grouped else 1)
    if indices is None:
        return list(inputs)
    dim = -1 if isinstance(layer, nn.Linear) else 1
    return [each.index_select(dim, indices.to(each.device)) for each in inputs]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not bool(one.isfinite().all()):
        return True  # the logits have been compared
    limit = _TOLERANCE.get(one.dtype, _COARSE) * one.abs().max().clamp(min=1e-30)
    return bool((one - other).abs().max() <= limit)
