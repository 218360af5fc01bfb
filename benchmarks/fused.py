"""Would fused calls lower the floor of an attack's step on a CPU?

    python -m benchmarks.fused --out runs/bench/fused

Beside the folded network, as attacks run it, stands one whose convolution, shortcut and ReLU are a single
call of oneDNN, with the weights in the layout of oneDNN, packed once; its backward pass writes into the
gradient that it is given where no other layer has it. The project does not use it: the table says why. In
bfloat16 a third one rounds its weights in every pass, as autocast does and the project did.
"""

import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, fx, nn
from torch.nn import functional as F

from benchmarks.measuring import Records, alternate, machine, median_of, paired_ratios
from benchmarks.step_ways import BATCH, NETS, SPEC, prepare, small_net
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compute
from robust_tickets.runs.files import write_text
from robust_tickets.training.precision import Bfloat16, supported_compute

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
OURS, FUSED, ROUNDED = "ours", "fused", "rounded in every pass"


@dataclass(frozen=True)
class Settings:
    """The measurements to take."""

    out: Path = Path("runs/bench/fused")
    """folder of the measurements and the table"""
    passes: int = 10
    """passes of a measurement, as many as PGD-10 takes"""
    repeats: int = 11
    """measurements of each"""
    threads: int = 2
    """CPU threads"""


class Fused(nn.Module):
    """A convolution with the shortcut that is added to it, if any, and the ReLU after it."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._settings = layer.padding, layer.stride, layer.dilation, layer.groups
        self._weight = layer.weight.detach().to(dtype)
        self._bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._packed: Tensor | None = None

    def forward(self, images: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """ReLU(convolution + shortcut)."""
        images = images.to(self._dtype)
        if self._packed is None:
            pack = torch.ops.mkldnn._reorder_convolution_weight
            self._packed = pack(self._weight, *self._settings, list(images.shape))
        result: Tensor = _Fused.apply(
            images, shortcut, self._weight, self._packed, self._bias, self._settings
        )
        return result


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, shortcut: Tensor | None, *layer: Any) -> Tensor:  # type: ignore[override]
        weight, packed, bias, settings = layer
        call = torch.ops.mkldnn._convolution_pointwise
        if shortcut is None:
            result: Tensor = call(images, packed, bias, *settings, "relu", [], "")
        else:
            result = call.binary(images, shortcut, packed, bias, *settings, "add", 1.0, "relu", [], "")
        ctx.save_for_backward(images, weight, result)
        ctx.settings, ctx.has_shortcut = settings, shortcut is not None
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        images, weight, result = ctx.saved_tensors
        padding, stride, dilation, groups = ctx.settings
        if ctx.has_shortcut:  # what comes from two layers may be read by both
            gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
        else:
            torch.ops.aten.threshold_backward.grad_input(gradient, result, 0, grad_input=gradient)
        of_images = torch.ops.aten.convolution_backward(
            gradient,
            images,
            weight,
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            [True, False, False],
        )[0]
        return of_images, gradient if ctx.has_shortcut else None, None, None, None, None


def fuse(view: nn.Module, dtype: torch.dtype) -> fx.GraphModule:
    """A folded network with one call for each convolution that a ReLU follows."""
    traced = fx.GraphModule(view, fx.Tracer().trace(view))
    modules = dict(traced.named_modules())

    def is_layer(node: object, kind: type[nn.Module]) -> bool:
        if not isinstance(node, fx.Node) or node.op != "call_module":
            return False
        return isinstance(modules[str(node.target)], kind)

    for node in list(traced.graph.nodes):
        if is_layer(node, nn.Identity):  # what folding leaves of a BatchNorm
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    for number, node in enumerate(list(traced.graph.nodes)):
        if not is_layer(node, nn.ReLU) and node.target not in (F.relu, torch.relu, "relu", "relu_"):
            continue
        before, shortcut = node.args[0], None
        if before.target in (operator.add, operator.iadd, torch.add):
            one, other = before.args[:2]
            layer, shortcut = (one, other) if is_layer(one, nn.Conv2d) else (other, one)
        else:
            layer = before
        if not is_layer(layer, nn.Conv2d) or len(layer.users) != 1 or len(before.users) != 1:
            continue
        traced.add_submodule(f"fused_{number}", Fused(modules[str(layer.target)], dtype))  # type: ignore[arg-type]
        with traced.graph.inserting_before(node):
            arguments = (layer.args[0],) if shortcut is None else (layer.args[0], shortcut)
            node.replace_all_uses_with(traced.graph.call_module(f"fused_{number}", arguments))
        for old in dict.fromkeys((node, before, layer)):
            traced.graph.erase_node(old)
    traced.recompile()
    return traced


class Rounded(nn.Module):
    """A network under autocast, which rounds its weights in every pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32."""
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = self.net(images)
        return logits.float()


def networks(net: str, precision: str) -> dict[str, nn.Module]:
    """The network as attacks run it, and in the other ways; shows that all are the same function."""
    original = small_net(net).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    ours: nn.Module = fold(original, SPEC.shape)
    fused: nn.Module = fuse(fold(original, SPEC.shape).view, TYPES[precision])
    ways = {OURS: ours, FUSED: fused}
    if precision == "bf16":
        ways = {OURS: Bfloat16(ours), FUSED: Bfloat16(fused), ROUNDED: Rounded(fold(original, SPEC.shape))}
    expected = gradient(ways[OURS], images())
    bounds = {FUSED: {"float32": 1e-5, "bf16": 0.2}[precision], ROUNDED: 0.0, OURS: 0.0}
    for name, way in ways.items():
        if (gradient(way, images()) - expected).norm() > bounds[name] * expected.norm():
            raise AssertionError(f"{net}, {name}, has other gradients")
    return ways


def images() -> Tensor:
    """A batch of noise, channels last."""
    noise = torch.rand(BATCH, *SPEC.shape, generator=torch.Generator().manual_seed(0))
    return noise.to(memory_format=torch.channels_last)


def gradient(net: nn.Module, batch: Tensor) -> Tensor:
    """The gradient of a loss to the images, by a forward and a backward pass."""
    batch = batch.detach().requires_grad_()
    return torch.autograd.grad(net(batch).logsumexp(1).sum(), batch)[0]


def time_passes(net: nn.Module, passes: int) -> dict[str, Any]:
    """Seconds of a pass, forward and back to the images."""
    batch = images()
    begin = time.perf_counter()
    for _ in range(passes):
        gradient(net, batch)
    return {"seconds": round((time.perf_counter() - begin) / passes, 6)}


def main(settings: Settings) -> None:
    """Take the missing measurements and write the table."""
    prepare(settings.threads)
    records = Records(settings.out / "measurements.jsonl")
    records.begin({"machine": machine(settings.threads)})
    for net in NETS:
        for precision in (name for name in TYPES if not supported_compute(Compute(precision=name), "cpu")[1]):
            ways: dict[str, Callable[[], dict[str, Any]]] = {
                name: partial(time_passes, module, settings.passes)
                for name, module in networks(net, precision).items()
            }
            alternate(records, ways, settings.repeats, net=net, precision=precision)
    write_text(settings.out / "fused.md", table(records))
    print(settings.out / "fused.md")


def table(records: Records) -> str:
    """Seconds of a pass by network and precision, and how many times as fast the other ways are."""
    about, *rows = records.all()
    lines = [
        "| network | precision | ours, ms | way | ms | times as fast as ours (spread) |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for net, precision, way in dict.fromkeys((r["net"], r["precision"], r["library"]) for r in rows):
        if way == OURS:
            continue
        group = [record for record in rows if (record["net"], record["precision"]) == (net, precision)]
        ours, own = ([record for record in group if record["library"] == name] for name in (OURS, way))
        ratios = paired_ratios(ours, own, "seconds")
        milliseconds = [f"{1000 * median_of(each, 'seconds'):.1f}" for each in (ours, own)]
        low, middle, high = ratios[0], ratios[len(ratios) // 2], ratios[-1]
        cells = [
            net,
            precision,
            milliseconds[0],
            way,
            milliseconds[1],
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"A pass forward and back to a batch of {BATCH} images (medians; ratios by pair), channels last. "
            f"Machine: {about['machine']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
