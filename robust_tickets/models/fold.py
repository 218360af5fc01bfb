"""The net as attacks see it: in eval mode the convolution before a BatchNorm can do its affine map too."""

import copy
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from robust_tickets.base.errors import InputError


def foldable_batchnorms(net: nn.Module) -> dict[str, str]:
    """For each 2-d convolution with a BatchNorm right behind it: the convolution's name -> the norm's.

    Only pairs that can be folded without a doubt: both are PyTorch's own, without hooks or
    parametrisations, are called once, under one name, share no parameter with anything else, and nothing
    else reads what lies between them. A net that torch.fx cannot trace has no pairs that we know of. Raises
    InputError as `copied` does.
    """
    # attacks run in eval mode; and tracing runs the net's own code, which may count its calls
    net = copy_net(net).eval()
    graph = _trace(net)
    if graph is None:
        return {}
    candidates = _plain_modules(net, graph)
    pairs = {}
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(candidates.get(node.target), nn.BatchNorm2d):
            continue
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        if isinstance(candidates.get(str(before.target)), nn.Conv2d):
            pairs[str(before.target)] = str(node.target)
    return pairs


def _plain_modules(net: nn.Module, graph: fx.Graph) -> dict[str, nn.Module]:
    """Convolutions and BatchNorms by name that are exactly what they seem, and called once."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    names = Counter(id(module) for _, module in net.named_modules(remove_duplicate=False))
    owners = Counter(id(p) for _, p in net.named_parameters(remove_duplicate=False))
    plain = {}
    for name, module in net.named_modules():
        exact = type(module) is nn.Conv2d or (
            type(module) is nn.BatchNorm2d and module.running_var is not None
        )
        hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        own = all(owners[id(p)] == 1 for p in module.parameters())
        if exact and own and not hooked and calls[name] == names[id(module)] == 1 and name not in read:
            plain[name] = module
    return plain


@dataclass(frozen=True)
class _Pair:
    layer: nn.Conv2d
    norm: nn.BatchNorm2d
    folded: nn.Conv2d


class FoldedNet(nn.Module):
    """A view of a net for attacks: always in eval mode, without gradients to parameters, BatchNorms folded
    away.

    What is not folded shares its memory with the net. What is folded is a copy, which `refresh` renews after
    the net has changed. In float64 its logits equal the net's to 1e-10. Raises InputError as `copied` does.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        # the copy's parameters are the net's own memory, out of the graph
        shared: dict[int, object] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in net.parameters()
        }
        shared |= {id(b): b for b in net.buffers()}
        self.view = copy_net(net, shared)
        self._pairs = [self._fold(net, layer, norm) for layer, norm in foldable_batchnorms(net).items()]
        self.eval()
        self.refresh()

    def _fold(self, net: nn.Module, layer_name: str, norm_name: str) -> _Pair:
        layer, norm = net.get_submodule(layer_name), net.get_submodule(norm_name)
        folded = self.view.get_submodule(layer_name)
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(folded, nn.Conv2d)
        assert norm.running_mean is not None
        folded.weight = nn.Parameter(torch.empty_like(layer.weight), requires_grad=False)
        folded.bias = nn.Parameter(torch.empty_like(norm.running_mean), requires_grad=False)
        self.view.set_submodule(norm_name, nn.Identity())
        return _Pair(layer, norm, folded)

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold the net's weights and running statistics as they are now."""
        for pair in self._pairs:
            layer, norm, folded = pair.layer, pair.norm, pair.folded
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert folded.bias is not None
            scale = (norm.running_var + norm.eps).rsqrt()
            if norm.weight is not None:
                scale = scale * norm.weight
            torch.mul(layer.weight, scale.reshape(-1, 1, 1, 1), out=folded.weight)
            bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
            folded.bias.copy_(bias * scale if norm.bias is None else bias * scale + norm.bias)

    def train(self, mode: bool = True) -> "FoldedNet":
        """Stay in eval mode: folded statistics mean nothing in training."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes), the net's own in eval mode."""
        return self.view(images)  # type: ignore[no-any-return]


def fold(net: nn.Module) -> FoldedNet:
    """The folded view of a net, on the net's device; to renew it costs one pass over the weights."""
    return FoldedNet(net)


def copy_net(net: nn.Module, shared: dict[int, object] | None = None) -> nn.Module:
    """A deep copy of a net; `shared` has what stands in for a part of it, by the part's id.

    Raises InputError for a net that cannot be copied.
    """
    try:
        return copy.deepcopy(net, shared)
    except Exception as error:  # whatever the net holds may refuse in its own way
        raise InputError(
            f"the net cannot be copied, and attacks work on a copy ({type(error).__name__}: {error}): keep "
            "no files or locks in it, and no tensors computed from parameters; what torch.nn.utils.prune "
            "changed is plain again after torch.nn.utils.prune.remove(layer, 'weight')"
        ) from error


def _trace(net: nn.Module) -> fx.Graph | None:
    try:
        return fx.Tracer().trace(net)
    except Exception:  # fx raises whatever the net's own code raises on proxies
        return None
