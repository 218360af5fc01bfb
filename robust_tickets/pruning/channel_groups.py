"""Channel groups of a network: channels that can only be removed together, from every tensor they lie in."""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from robust_tickets.attacks.network import set_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.placement import blank_image
from robust_tickets.models.probe import eager
from robust_tickets.pruning.layers import Shape

_COMPUTED = "computed from other parameters"


@dataclass(frozen=True)
class Part:
    """Where the channels of a group lie in one tensor of the network.

    tensor: name of the parameter or buffer.
    dim: its dimension along which they lie.
    indices: int64 (channels, k), the k indices of each channel along it; behind a flattened feature map a
        channel has k = H x W inputs.
    """

    tensor: str
    dim: int
    indices: Tensor


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together, as those of all layers added to one residual stream.

    name: the first weight that makes them.
    channels: how many they are.
    filters: parts of the weights that make them.
    companions: parts of what else belongs to them, biases and BatchNorms.
    readers: parts of the weights that read them.
    scales: parts of parameters of the network's own that they are multiplied or shifted by, as LayerScale's.
    obstacle: why they cannot be removed, as a layer and a reason; "" where they can.

    Parts are in the order of the network's state dict.
    """

    name: str
    channels: int
    filters: tuple[Part, ...]
    companions: tuple[Part, ...]
    readers: tuple[Part, ...]
    scales: tuple[Part, ...] = ()
    obstacle: str = ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts of the network in which they lie."""
        return self.filters + self.companions + self.readers + self.scales


def channel_groups(net: nn.Module, shape: Shape) -> list[Group]:
    """The channel groups of a network, in the order of its parameters; logits, which nothing reads, are none.

    They follow torch-pruning's dependency graph (Fang et al. 2023, "DepGraph: Towards Any Structural
    Pruning"), traced with an image (C, H, W). A group with a part that cannot be narrowed has an obstacle.
    Raises InputError for a network that cannot be followed.
    """
    twin = set_mode(copy_net(net), False)
    for parameter in twin.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(True)
    try:
        return _trace(twin, shape)
    except Exception as error:  # the tracer raises whatever the network's own code makes it raise
        if is_device_error(error):
            raise
        raise InputError(
            "the channels of the network cannot be followed through its forward, as where its own code "
            "reshapes, shuffles or regroups them: prune weights instead, --search.granularity weight"
        ) from error


def _trace(net: nn.Module, shape: Shape) -> list[Group]:
    import torch_pruning  # slow to import, and needed by few trainings

    image = blank_image(net, shape)
    with warnings.catch_warnings(), torch.enable_grad(), eager():
        warnings.simplefilter("ignore")  # of parameters that it does not know: they are obstacles here
        # without a function of ours, a single image without its batch would be tried first
        graph = torch_pruning.DependencyGraph().build_dependency(
            net, image, forward_fn=lambda model, images: model(images), verbose=False
        )
        groups = list(graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear]))
    names = {id(module): name for name, module in net.named_modules()}
    names |= {id(parameter): name for name, parameter in net.named_parameters()}
    shared = _shared_layers(net)
    sizes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    converted = (_group(graph, items, names, shared, sizes) for items in groups if not _are_logits(items))
    order = list(names.values())
    return sorted(
        (g for g in converted if g.readers or g.obstacle),
        key=lambda group: order.index(group.name.rpartition(".")[0]),
    )


def _are_logits(items: Any) -> bool:
    """Whether channels are given out, perhaps scaled or through an activation: these stay as many."""
    return any(type(item.dep.target.module).__name__ == "_OutputOp" for item in items)


def _group(
    graph: Any, items: Any, names: dict[int, str], shared: set[str], sizes: dict[str, torch.Size]
) -> Group:
    """Convert a group of torch-pruning's; `sizes`: of the network's tensors, in order."""
    order = {name: i for i, name in enumerate(sizes)}
    parts: dict[str, list[Part]] = {"filters": [], "companions": [], "readers": [], "scales": []}
    obstacle, channels = "", len(items[0].idxs)
    for item in items:
        module = item.dep.target.module
        kind = type(module).__name__
        if id(module) not in names:
            if kind in ("_ElementWiseOp", "_ConcatOp", "_ReshapeOp", "_SplitOp", "_SliceOp"):
                continue
            obstacle = obstacle or f"{kind.strip('_')} is among what reads them"
            continue
        name, out = names[id(module)], graph.is_out_channel_pruning_fn(item.dep.handler)
        indices = _indices(item.idxs, item.root_idxs, channels)
        reason = "" if indices is not None else "channels are mixed before it"
        if isinstance(module, nn.Parameter) and indices is not None and not reason:
            if module.numel() != max(module.shape) or int(indices.max()) >= module.numel():
                obstacle = obstacle or f"{name} (Parameter): it has more than a value a channel"
            else:
                parts["scales"].append(Part(name, module.shape.index(module.numel()), indices))
            continue
        reason = reason or _layer_obstacle(module)
        reason = reason or ("its weights are another layer's too" if name in shared else "")
        if reason or indices is None:
            obstacle = obstacle or f"{name} ({kind}): {reason}"
            continue
        found = list(_parts(module, name, indices, out))
        missing = next((part.tensor for _, part in found if part.tensor not in sizes), None)
        if missing:
            obstacle = obstacle or f"{name} ({kind}): its {missing.rpartition('.')[2]} is {_COMPUTED}"
            continue
        if any(int(part.indices.max()) >= sizes[part.tensor][part.dim] for _, part in found):
            obstacle = obstacle or f"{name} ({kind}): channels are added or cut before it, as by padding"
            continue
        for role, part in found:
            parts[role].append(part)
    if not parts["filters"]:
        obstacle = obstacle or "no filter makes them, as they are the image's own"
    ordered = {
        role: tuple(sorted(group, key=lambda part: order[part.tensor])) for role, group in parts.items()
    }
    root = f"{names[id(items[0].dep.target.module)]}.weight"
    name = ordered["filters"][0].tensor if ordered["filters"] else root
    return Group(name, channels, **ordered, obstacle=obstacle)


def _parts(module: nn.Module, name: str, indices: Tensor, out: bool) -> Iterator[tuple[str, Part]]:
    """The parts of a layer in which channels lie, with their roles; `out`: the layer makes the channels."""
    tensors = {n: t for n, t in (*module.named_parameters(), *module.named_buffers()) if t.ndim}
    if isinstance(module, _BatchNorm) or (isinstance(module, _ConvNd) and module.groups > 1):
        # a depthwise convolution makes the channels that it reads
        yield from (("companions", Part(f"{name}.{n}", 0, indices)) for n in tensors)
    elif not out:
        yield "readers", Part(f"{name}.weight", 1, indices)
    else:
        yield "filters", Part(f"{name}.weight", 0, indices)
        if "bias" in tensors:
            yield "companions", Part(f"{name}.bias", 0, indices)


def _indices(indices: list[int], channels_of: list[int], channels: int) -> Tensor | None:
    """(channels, k) indices by channel, from each index's channel; None where k differs among channels."""
    by_channel: list[list[int]] = [[] for _ in range(channels)]
    for index, channel in zip(indices, channels_of, strict=True):
        by_channel[channel].append(index)
    if not by_channel[0] or len({len(each) for each in by_channel}) > 1:
        return None
    return torch.tensor(by_channel)


def _layer_obstacle(module: nn.Module) -> str:
    """Why a layer cannot be narrowed; "" where it can."""
    if is_parametrized(module):
        return f"its {next(iter(module.parametrizations))} is {_COMPUTED}"  # type: ignore[arg-type]
    if isinstance(module, _ConvNd):
        if module.transposed:
            return "transposed convolutions are not narrowed"
        if module.groups not in (1, module.in_channels) or module.groups not in (1, module.out_channels):
            return f"its filters are in {module.groups} groups"
        return ""
    return "" if isinstance(module, (nn.Linear, _BatchNorm)) else "layers of this kind are not narrowed"


def _shared_layers(net: nn.Module) -> set[str]:
    """Layers with a parameter that the network has under several names."""
    owners = Counter(id(p) for _, p in net.named_parameters(remove_duplicate=False))
    return {name for name, m in net.named_modules() if any(owners[id(p)] > 1 for p in m.parameters(False))}
