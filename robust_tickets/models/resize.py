"""Changes the numbers of channels of a network."""

from collections.abc import Mapping

import torch
from torch import Size, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from robust_tickets.base.errors import InputError
from robust_tickets.models.gradient_hooks import copy_gradient_hooks


def resize_layers(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give convolutions, linear layers, BatchNorms and parameters of own modules the shapes of a state dict.

    It is done in place.

    Resized tensors are uninitialised, with their old memory format; tensors that the state lacks stay.
    Raises InputError for another layer with a tensor of another shape, and leaves the network half changed.
    """
    for name, module in net.named_modules():
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        prefix = f"{name}." if name else ""
        shapes = {n: state[prefix + n].shape for n, _ in tensors if prefix + n in state}
        changed = {n: shapes[n] for n, tensor in tensors if n in shapes and shapes[n] != tensor.shape}
        if not changed:
            continue
        known = isinstance(module, (_ConvNd, nn.Linear, _BatchNorm))
        if not (_resizable(module, shapes) if known else _are_own_vectors(module, changed)):
            n, shape = next(iter(changed.items()))
            raise InputError(
                f"{name} ({type(module).__name__}) cannot have a {n} of {tuple(shape)}: only the channels of "
                "convolutions, linear layers, BatchNorms and the network's own vectors can change"
            )
        for n, shape in changed.items():
            tensor = getattr(module, n)
            channels_last = tensor.ndim == 4 and not tensor.is_contiguous()
            layout = torch.channels_last if channels_last else torch.contiguous_format
            new = tensor.new_empty(shape).to(memory_format=layout)
            if n in module._parameters:
                parameter = nn.Parameter(new, tensor.requires_grad)
                copy_gradient_hooks(tensor, parameter, prefix + n)
                new = parameter
            setattr(module, n, new)
        _update_sizes(module)


def _resizable(module: nn.Module, shapes: Mapping[str, Size]) -> bool:
    """Whether numbers of channels alone would change."""
    if isinstance(module, _BatchNorm):
        return len({shape for shape in shapes.values() if shape}) == 1
    weight = module.weight
    assert isinstance(weight, Tensor)
    if len(shapes["weight"]) != weight.ndim or shapes["weight"][2:] != weight.shape[2:]:
        return False
    if isinstance(module, _ConvNd) and (module.transposed or (module.groups > 1 and not depthwise(module))):
        return False
    return "bias" not in shapes or shapes["bias"] == shapes["weight"][:1]


def _are_own_vectors(module: nn.Module, shapes: Mapping[str, Size]) -> bool:
    """Whether these are parameters of a module of the user's own, with a value a channel, as LayerScale's."""
    return not type(module).__module__.startswith("torch.") and all(
        n in module._parameters and len(shape) == getattr(module, n).ndim and shape.numel() == max(shape)
        for n, shape in shapes.items()
    )


def depthwise(layer: _ConvNd) -> bool:
    """Whether a convolution has one filter a channel."""
    return layer.groups == layer.in_channels == layer.out_channels


def _update_sizes(module: nn.Module) -> None:
    """Set a layer's numbers of channels to those of its tensors."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd):
        outputs, group_inputs = module.weight.shape[:2]
        module.groups = outputs if depthwise(module) and module.groups > 1 else 1
        module.out_channels, module.in_channels = outputs, group_inputs * module.groups
    elif isinstance(module, _BatchNorm):
        tensor = module.weight if module.weight is not None else module.running_mean
        assert tensor is not None
        module.num_features = len(tensor)
