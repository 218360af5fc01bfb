"""BatchNorm folding: in eval mode, a BatchNorm becomes a part of the convolution before it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx, nn

from robust_tickets.attacks.network import own_switch, restore_modes, set_mode
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold_proof import folds_wrongly
from robust_tickets.models.trial_pass import Shape


def foldable_batchnorms(net: nn.Module, shape: Shape | None = None) -> dict[str, str]:
    """The 2-d convolutions followed by nothing but a BatchNorm: name of the convolution -> of the norm.

    Both are PyTorch's own, without hooks or parametrisations, called once, under one name, and share no
    parameter with other layers; nothing else reads the output of the convolution. A network that torch.fx
    cannot trace has no pairs.

    shape: of an image, (C, H, W); a network that is shown to be another function when it is folded has none.
    Raises InputError as `copy_net` does.
    """
    pairs = _pairs(net)
    if pairs and shape is not None:
        fold_pairs = partial(FoldedNet, pairs=pairs)
        if folds_wrongly(lambda: set_mode(copy_net(net), False), fold_pairs, pairs.values(), shape):
            return {}
    return pairs


def _pairs(net: nn.Module) -> dict[str, str]:
    # in eval mode, as attacks are; a copy, since tracing runs the network's own code, which may have a state
    net = set_mode(copy_net(net), False)
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
    """Convolutions and BatchNorms by name that are PyTorch's own, called once and share nothing."""
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
        unshared = all(owners[id(p)] == 1 for p in module.parameters())
        # in train mode here, one normalises by its batch even in eval mode
        exact = exact and not (isinstance(module, nn.BatchNorm2d) and module.training)
        if exact and unshared and not hooked and calls[name] == names[id(module)] == 1 and name not in read:
            plain[name] = module
    return plain


@dataclass(frozen=True)
class _Pair:
    layer: nn.Conv2d
    norm: nn.BatchNorm2d
    folded: nn.Conv2d


@dataclass(frozen=True)
class _Rounded:
    """Parameters of a folded layer, and those in bfloat16 that stand in for them."""

    layer: nn.Conv2d
    full: dict[str, nn.Parameter]
    low: dict[str, nn.Parameter]


class FoldedNet(nn.Module):
    """A network as attacks run it: in eval mode, BatchNorms folded, without gradients of parameters.

    Folded layers are copies, which `refresh` updates after the network has changed; all others share their
    memory with it. In float64 its logits equal the network's to 1e-10. Raises InputError as `copy_net` does.

    pairs: the convolutions and BatchNorms to fold, as `foldable_batchnorms` gives them.
    """

    def __init__(self, net: nn.Module, pairs: dict[str, str]) -> None:
        super().__init__()
        # parameters without gradients that share the network's memory
        shared: dict[int, object] = {
            id(p): nn.Parameter(p.detach(), requires_grad=False) for p in net.parameters()
        }
        shared |= {id(b): b for b in net.buffers()}
        # one that merges weights when it is switched would merge those of the network
        switches = any(map(own_switch, net.modules()))
        self.view = copy_net(net, None if switches else shared)
        if switches:
            self.view.requires_grad_(False)
        self._take_modes = partial(_take_modes, net, self.view) if switches else None
        # TorchScript copies all of its tensors, whatever it is told to share
        separate = bool(_separate_tensors(net, self.view))
        self._separate = partial(_separate_tensors, net, self.view) if separate else list
        self._shared = [] if separate else list(zip(net.parameters(), self.view.parameters(), strict=True))
        self._pairs = [self._fold(net, layer, norm) for layer, norm in pairs.items()]
        self._rounded: list[_Rounded] = []
        self._with_buffers = _modules_with_buffers(net, self.view)
        self.train(False)
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
        # in its place, as functions and lists of the network may hold it too
        identity = self.view.get_submodule(norm_name)
        identity.__class__ = nn.Identity
        identity._parameters.clear()
        identity._buffers.clear()
        return _Pair(layer, norm, folded)

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold the network's current weights and running statistics."""
        if self._take_modes:
            self._take_modes()
        for own, seen in self._separate():
            seen.copy_(own)
        for own, seen in self._shared:
            # given other memory by forward, as self.weight.data = torch.renorm(...)
            if seen.data_ptr() != own.data_ptr():
                seen.data = own.data
        for module, copied in self._with_buffers:
            for name, buffer in module._buffers.items():
                # assigned anew by forward, as self.mean = 0.9 * self.mean + ...
                if copied._buffers[name] is not buffer:
                    copied._buffers[name] = buffer
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
        if self._take_modes:
            set_mode(self.view, False)
        self._round()

    def keep_bfloat16(self) -> None:
        """Keep what is folded in bfloat16 too from now on, for passes within `bfloat16_weights`."""
        if self._rounded:
            return
        for pair in self._pairs:
            full = {name: p for name, p in pair.folded._parameters.items() if p is not None}
            low = {name: nn.Parameter(p.bfloat16(), requires_grad=False) for name, p in full.items()}
            self._rounded.append(_Rounded(pair.folded, full, low))

    @torch.no_grad()
    def _round(self) -> None:
        for rounded in self._rounded:
            for name, parameter in rounded.full.items():
                rounded.low[name].copy_(parameter)

    @contextmanager
    def bfloat16_weights(self) -> Iterator[None]:
        """Within the block, folded layers have the weights and biases that autocast would round in each pass.

        Those of bfloat16 which `keep_bfloat16` keeps: the same numbers, rounded once a `refresh`.
        """
        try:
            for rounded in self._rounded:
                rounded.layer._parameters.update(rounded.low)
            yield
        finally:
            for rounded in self._rounded:
                rounded.layer._parameters.update(rounded.full)

    def train(self, mode: bool = True) -> "FoldedNet":
        """Stay in eval mode: there are no folded statistics in training."""
        self.training = False
        set_mode(self.view, False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W), those of the network in eval mode."""
        return self.view(images)  # type: ignore[no-any-return]


def fold(net: nn.Module, shape: Shape | None = None) -> FoldedNet:
    """A network with BatchNorms folded, on the same device.

    shape: of an image, (C, H, W), with which it is proved that folding leaves the function as it is.
    """
    return FoldedNet(net, foldable_batchnorms(net, shape))


def _modules_with_buffers(net: nn.Module, view: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """A network's modules with buffers, but for TorchScript, and those of its view that share them."""
    views = dict(view.named_modules())
    modules = [(module, views[name]) for name, module in net.named_modules() if name in views]
    return [
        (module, copied)
        for module, copied in modules
        if not isinstance(module, torch.jit.ScriptModule)
        and module._buffers
        and all(copied._buffers.get(name) is buffer for name, buffer in module._buffers.items())
    ]


def _take_modes(net: nn.Module, view: nn.Module) -> None:
    """Put a view into its network's modes, as by the user, so that its weights are merged where those are."""
    views = dict(view.named_modules())
    modes = [(name, module.training) for name, module in net.named_modules() if hasattr(module, "training")]
    restore_modes(view, [(views[name], mode) for name, mode in modes if name in views])


def _separate_tensors(net: nn.Module, view: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Pairs of a network's tensors and those of its view that do not share their memory."""
    views = {**dict(view.named_parameters()), **dict(view.named_buffers())}
    tensors = [*net.named_parameters(), *net.named_buffers()]
    pairs = [(tensor, views[name]) for name, tensor in tensors if name in views]
    return [(own, seen) for own, seen in pairs if own.data_ptr() != seen.data_ptr()]


def _trace(net: nn.Module) -> fx.Graph | None:
    try:
        return fx.Tracer().trace(net)
    except Exception:  # the network's own code may raise anything on proxies
        return None
