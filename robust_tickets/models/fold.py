"""The net as attacks see it: in eval mode the convolution before a BatchNorm can do its affine map too."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

_LAYERS = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def norms_after(net: nn.Module) -> dict[str, str]:
    """For each convolution or linear layer with a BatchNorm right behind it: the layer's name -> the norm's.

    Only pairs in which both are called once and nothing else reads what lies between. A net that torch.fx
    cannot trace has no pairs that we know of.
    """
    graph = _trace(net)
    if graph is None:
        return {}
    modules = dict(net.named_modules())
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    pairs = {}
    for node in graph.nodes:
        if node.op != "call_module" or not _is_affine_in_eval(modules[str(node.target)]):
            continue
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        layer, norm = str(before.target), str(node.target)
        if isinstance(modules[layer], _LAYERS) and calls[layer] == calls[norm] == 1:
            pairs[layer] = norm
    return pairs


@dataclass(frozen=True)
class _Pair:
    layer: nn.Conv2d | nn.Linear
    norm: nn.BatchNorm1d | nn.BatchNorm2d
    folded: nn.Conv2d | nn.Linear


class Folded(nn.Module):
    """A view of a net for attacks: always in eval mode, without gradients to parameters, BatchNorms folded
    away.

    What is not folded shares its memory with the net. What is folded is a copy, which `refresh` renews after
    the net has changed. In float64 its logits equal the net's to 1e-10.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        # the copy's parameters are the net's own memory, out of the graph
        shared: dict[int, object] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in net.parameters()
        }
        shared |= {id(b): b for b in net.buffers()}
        self.view: nn.Module = copy.deepcopy(net, shared)
        self._pairs = [self._fold(net, layer, norm) for layer, norm in norms_after(net).items()]
        self.eval()
        self.refresh()

    def _fold(self, net: nn.Module, layer_name: str, norm_name: str) -> _Pair:
        layer, norm = net.get_submodule(layer_name), net.get_submodule(norm_name)
        folded = self.view.get_submodule(layer_name)
        assert isinstance(layer, _LAYERS)
        assert isinstance(norm, _NORMS)
        assert isinstance(folded, _LAYERS)
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
            if norm.affine:
                scale = scale * norm.weight
            shape = (-1,) + (1,) * (layer.weight.ndim - 1)
            torch.mul(layer.weight, scale.reshape(shape), out=folded.weight)
            bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
            folded.bias.copy_(bias * scale + norm.bias if norm.affine else bias * scale)

    def train(self, mode: bool = True) -> "Folded":
        """Stay in eval mode: folded statistics mean nothing in training."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes), the net's own in eval mode."""
        return self.view(images)  # type: ignore[no-any-return]


def fold(net: nn.Module) -> Folded:
    """The folded view of a net, on the net's device; to renew it costs one pass over the weights."""
    return Folded(net)


def _is_affine_in_eval(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) and module.running_var is not None


def _trace(net: nn.Module) -> fx.Graph | None:
    try:
        return fx.Tracer().trace(net)
    except Exception:  # fx raises whatever the net's own code raises on proxies
        return None
