"""Which channels of a net belong together: what has to go from every tensor where a channel goes."""

import copy
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from robust_tickets.base.errors import InputError

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """Where the channels of a group lie in a tensor of the net: channel c at `places[c]` along `dim`.

    `places` is (channels, k): behind a flattened feature map a channel has k = H x W inputs.
    """

    tensor: str
    dim: int
    places: Tensor


@dataclass(frozen=True)
class Group:
    """Channels that can only go together, as those of all layers that are added to one residual stream.

    `filters` are the weights that make them, `along` what else they have (biases, BatchNorms), `readers` the
    weights that read them; each is in the order of the net. `obstacle` says why the channels have to stay, as
    a layer and what keeps it from being narrowed; "" where they need not. `name` is the first weight that
    makes them.
    """

    name: str
    channels: int
    filters: tuple[Part, ...]
    along: tuple[Part, ...]
    readers: tuple[Part, ...]
    obstacle: str = ""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything of the net that they lie in."""
        return self.filters + self.along + self.readers


def channel_groups(net: nn.Module, shape: Shape) -> list[Group]:
    """The groups of a net's channels, in the order of its parameters; what nothing reads, as logits, is none.

    They follow torch-pruning's dependency graph (Fang et al. 2023, "DepGraph: Towards Any Structural
    Pruning"), traced with an image (C, H, W). A group that reaches what cannot be narrowed has an obstacle.
    Raises InputError for a net that cannot be traced.
    """
    twin = copy.deepcopy(net).eval().requires_grad_(True)
    try:
        return _traced(twin, shape)
    except Exception as error:  # the tracer raises whatever the net's own code leads it to
        raise InputError(
            f"the channels of the net cannot be followed ({type(error).__name__}: {error}): prune weights "
            "instead, --search.granularity weight"
        ) from error


def _traced(net: nn.Module, shape: Shape) -> list[Group]:
    import torch_pruning  # here, as most trainings have no need of it

    like = next(net.parameters())
    image = torch.zeros((1, *shape), dtype=like.dtype, device=like.device)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # of parameters that it does not know: they are obstacles here
        graph = torch_pruning.DependencyGraph().build_dependency(net, image, verbose=False)
        groups = list(graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear]))
    names = {id(module): name for name, module in net.named_modules()}
    shared = _shared(net)
    order = {name: i for i, name in enumerate(net.state_dict())}
    made = (_group(graph, items, names, shared, order) for items in groups)
    found = [group for group in made if group.readers or group.obstacle]
    return sorted(found, key=lambda group: order[group.name])


def _group(graph: Any, items: Any, names: dict[int, str], shared: set[str], order: dict[str, int]) -> Group:
    """A group of torch-pruning's as ours."""
    parts: dict[str, list[Part]] = {"filters": [], "along": [], "readers": []}
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
        places = _places(item.idxs, item.root_idxs, channels)
        why = "" if places is not None else "channels are mixed before it"
        why = why or _unable(module) or ("its weights are another layer's too" if name in shared else "")
        if why or places is None:
            obstacle = obstacle or f"{name} ({kind}): {why}"
            continue
        for what, part in _parts(module, name, places, out):
            parts[what].append(part)
    if not parts["filters"]:
        obstacle = obstacle or "no filter makes them, as they are the image's own"
    ordered = {what: tuple(sorted(of, key=lambda part: order[part.tensor])) for what, of in parts.items()}
    root = f"{names[id(items[0].dep.target.module)]}.weight"
    name = ordered["filters"][0].tensor if ordered["filters"] else root
    return Group(name, channels, **ordered, obstacle=obstacle)


def _parts(module: nn.Module, name: str, places: Tensor, out: bool) -> Iterator[tuple[str, Part]]:
    """Where channels lie in a layer, as what it makes (out) or what it reads."""
    tensors = {n: t for n, t in (*module.named_parameters(), *module.named_buffers()) if t.ndim}
    if isinstance(module, _BatchNorm) or (isinstance(module, _ConvNd) and module.groups > 1):
        # what a depthwise convolution reads is what it makes
        yield from (("along", Part(f"{name}.{n}", 0, places)) for n in tensors)
    elif not out:
        yield "readers", Part(f"{name}.weight", 1, places)
    else:
        yield "filters", Part(f"{name}.weight", 0, places)
        if "bias" in tensors:
            yield "along", Part(f"{name}.bias", 0, places)


def _places(positions: list[int], channels_of: list[int], channels: int) -> Tensor | None:
    """(channels, k) places from each position's channel; None where channels have not equally many."""
    by_channel: list[list[int]] = [[] for _ in range(channels)]
    for position, channel in zip(positions, channels_of, strict=True):
        by_channel[channel].append(position)
    if not by_channel[0] or len({len(places) for places in by_channel}) > 1:
        return None
    return torch.tensor(by_channel)


def _unable(module: nn.Module) -> str:
    """Why a layer cannot be narrowed; "" where it can."""
    if isinstance(module, _ConvNd):
        if module.transposed:
            return "transposed convolutions are not narrowed"
        if module.groups not in (1, module.in_channels) or module.groups not in (1, module.out_channels):
            return f"its filters are in {module.groups} groups"
        return ""
    return "" if isinstance(module, (nn.Linear, _BatchNorm)) else "layers of this kind are not narrowed"


def _shared(net: nn.Module) -> set[str]:
    """Layers whose parameters stand in the net under several names."""
    owners = Counter(id(p) for _, p in net.named_parameters(remove_duplicate=False))
    return {name for name, m in net.named_modules() if any(owners[id(p)] > 1 for p in m.parameters(False))}
