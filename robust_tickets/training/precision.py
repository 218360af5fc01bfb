"""How the passes of a training are computed: in float32, TF32 or bfloat16, eager or compiled."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.attacks.network import eval_mode
from robust_tickets.base.device_errors import is_device_error
from robust_tickets.base.devices import device_name, has_bfloat16, has_tf32, tf32
from robust_tickets.base.process_group import ALONE, ProcessGroup
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.fold import FoldedNet
from robust_tickets.models.modes import restored_net, train_mode
from robust_tickets.pruning.masking import Masking
from robust_tickets.recipe.fields import Compute
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.shared_update import SharedUpdate

_BFLOAT16_ERROR = 0.01  # it keeps 8 bits: numbers are rounded by 0.002 of themselves at most


class Bfloat16(nn.Module):
    """A network whose passes are computed in bfloat16 (autocast); its weights and logits stay float32.

    A folded network's weights are rounded once a `refresh`, and not again in each pass.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._weights: Callable[[], AbstractContextManager[None]] = nullcontext
        if isinstance(net, FoldedNet):
            net.keep_bfloat16()
            self._weights = net.bfloat16_weights

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) float32; what their gradients go back through is bfloat16."""
        with self._weights(), torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.net(images)
        return logits.float()


def training_networks(
    net: nn.Module,
    folded: FoldedNet,
    compute: Compute,
    images: Tensor,
    masking: Masking | None = None,
    group: ProcessGroup = ALONE,
) -> tuple[Networks, list[str]]:
    """The forms of a network that its method calls, and a warning for each setting the machine cannot do.

    net: the network; folded: its view for attacks; images: (N, C, H, W), like those to come; masking: its
    mask; group: of the processes that share the training.

    They share memory with both. Code is compiled now, and the network, its modes and the generators are
    afterwards as they were. Validation and evaluation use `folded` itself, in float32 and eager.
    """
    compute, warnings = group.share(supported_compute(compute, images.device.type))
    if compute.compile and group.size > 1:
        warnings.append("compute.compile is for one device: training without it")
        compute = replace(compute, compile=False)
    if compute.compile:
        torch._dynamo.reset()  # each training pays for its own code, whatever else the process has trained
        nets = _networks(net, folded, compute, masking)
        try:
            with use_seed(0), step_precision(compute, images.device.type)():
                _warm_up(nets, net, images)
        except Exception as error:  # whatever the network's code or the machine's compiler leads to
            if is_device_error(error):
                raise
            warnings.append(_without_compile(error))
            compute = replace(compute, compile=False)
    shared = None if group.size == 1 else SharedUpdate(net, group, images)
    return _networks(net, folded, compute, masking, shared), warnings


def _networks(
    net: nn.Module,
    folded: FoldedNet,
    compute: Compute,
    masking: Masking | None,
    shared: SharedUpdate | None = None,
) -> Networks:
    update, attack = shared or net, cast(nn.Module, folded)
    if compute.compile:
        # a training's batches all have one shape, so code for any shape has nothing to gain
        update, attack = (cast(nn.Module, torch.compile(module, dynamic=False)) for module in (net, folded))
    if compute.precision in ("bf16-attack", "bf16"):
        attack = Bfloat16(attack)
    if compute.precision == "bf16":
        update = Bfloat16(update)
    if shared is None:
        return Networks(update, folded, attack, net, masking)
    return Networks(update, folded, attack, net, masking, shared.group, shared.wrapped.no_sync)


def _warm_up(nets: Networks, net: nn.Module, images: Tensor) -> None:
    """Take a step's passes, and leave the network as it was."""
    with restored_net(net):
        train_mode(net)
        attack = nets.attack
        with eval_mode(attack):
            point = images.detach().requires_grad_()
            torch.autograd.grad(attack(point).sum(), point)
        nets.update(images).sum().backward()  # type: ignore[no-untyped-call]


def supported_compute(compute: Compute, device: str) -> tuple[Compute, list[str]]:
    """The recipe's arithmetic as far as the machine can do it, and a warning for each part that it cannot."""
    warnings = []
    if compute.precision == "auto":
        is_native = has_bfloat16(device) and bfloat16_holds(device)
        compute = replace(compute, precision="bf16" if is_native else "float32")
    short, has = ("bfloat16", has_bfloat16)
    if compute.precision == "tf32":
        short, has = ("TF32, which GPUs of NVIDIA have from Ampere on", has_tf32)
    if compute.precision != "float32" and not has(device):
        warnings.append(
            f"compute.precision {compute.precision}: {device_name(device)} has no instructions for "
            f"{short}: using float32"
        )
        compute = replace(compute, precision="float32")
    error = _compile_error(device) if compute.compile else None
    if error is not None:
        warnings.append(_without_compile(error))
        compute = replace(compute, compile=False)
    return compute, warnings


def step_precision(compute: Compute, device: str) -> Callable[[], AbstractContextManager[None]]:
    """Gives the context of a step's passes, forward and backward, for what torch sets for a whole process."""
    return tf32 if supported_compute(compute, device)[0].precision == "tf32" else nullcontext


@lru_cache
def bfloat16_holds(device: str) -> bool:
    """Whether a fixed convolution and its gradients in bfloat16 are those of float32, rounded.

    It does not look at the network, so that a training that resumes goes on in the same precision.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 16, 8, 8, generator=generator).to(device, memory_format=torch.channels_last)
    weight = (torch.randn(16, 16, 3, 3, generator=generator) / 12).to(device)

    def passes(precision: torch.dtype) -> list[Tensor]:
        x, w = (tensor.to(precision).requires_grad_() for tensor in (images, weight))
        output = F.conv2d(x, w, padding=1)
        return [output, *torch.autograd.grad(output, (x, w), images.to(precision))]

    pairs = zip(passes(torch.bfloat16), passes(torch.float32), strict=True)
    return all(bool((low.float() - full).norm() <= _BFLOAT16_ERROR * full.norm()) for low, full in pairs)


def _without_compile(error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"compute.compile: torch.compile does not work here ({reason:.200}): training without it; on a CPU "
        "it needs a C++ compiler, such as g++"
    )


@lru_cache
def _compile_error(device: str) -> Exception | None:
    """The error of torch.compile, tried on a tiny function; None where it works."""

    @torch.compile(dynamic=False)
    def square(numbers: Tensor) -> Tensor:
        return numbers * numbers + 1

    try:
        square(torch.ones(8, device=device, requires_grad=True)).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever the machine's compiler, or its absence, makes torch raise
        if is_device_error(error):
            raise
        return error
    return None
