"""Parts of `benchmarks.gpu`: what a step takes, beside the convolutions' own limit and torchattacks."""

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu_figures import SPEC, THREAT, Gpu, Steps, noise, tf32
from robust_tickets.attacks import PGD, RunOptions
from robust_tickets.data.batches import to_float
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compute

BATCHES = (128, 512, 256)
OURS = {
    "ours": Compute(),
    "ours, bfloat16": Compute(precision="bf16"),
    "ours, bfloat16, masked": Compute(precision="bf16"),
    "ours, bfloat16, compiled": Compute(precision="bf16", compile=True),
}
SECONDS = {"ours, bfloat16, compiled": 90.0}
"""How much time must be left to begin a way; 20 for others."""


def waits(gpu: Gpu) -> None:
    """Whether a step waits for the device, and what sending it takes beside doing it."""
    batch = 8 if gpu.tiny else 128
    step = _bare_step(gpu, batch)
    step()
    gpu.wait()
    if gpu.kind == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
            gpu.add("waits", "attack and update wait for nothing", True, holds=True)
        except RuntimeError as error:
            gpu.add("waits", "attack and update wait for nothing", f"{error!s:.150}", holds=False)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for _ in range(3):
        step()
    gpu.wait()
    begin = time.perf_counter()
    step()
    sent = time.perf_counter() - begin
    gpu.wait()
    done = time.perf_counter() - begin
    values = [round(1000 * sent, 2), round(1000 * done, 2)]
    gpu.add("waits", f"batch {batch}: milliseconds to send a step, and until it is done", values)
    begin = time.perf_counter()
    _, ledger = Steps(4 if gpu.tiny else 40, batch, gpu.pgd_steps).run(gpu)
    share = sum(ledger.seconds.values()) / (time.perf_counter() - begin)
    gpu.add("waits", "seconds of the ledger's phases over the clock's", round(share, 3), holds=share <= 1.01)
    if gpu.kind == "cuda":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(3):
                step()
            gpu.wait()
        kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
        total = sum(kernel.device_time for kernel in kernels) / 3e3
        gpu.add("waits", "kernels of a step, and their milliseconds", [len(kernels) // 3, round(total, 2)])


def _bare_step(gpu: Gpu, batch: int) -> Callable[[], None]:
    """A step's attack and update without the loop around them."""
    net, images = gpu.net(), noise(batch).to(gpu.device)
    folded = fold(net, SPEC.shape)
    net.train()
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4, foreach=True)
    x, attack = to_float(images.images, True), PGD(THREAT, steps=gpu.pgd_steps, rel_step=0.25)
    options = RunOptions(verdict=False, check=False)

    def step() -> None:
        folded.refresh()
        run = attack.run(folded, x, images.labels, sample_ids=images.ids, seed=1, options=options)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(net(run.images), images.labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def ceilings(gpu: Gpu) -> None:
    """What the library of convolutions reaches on those of ResNet-18 alone."""
    net = gpu.net()
    layers = _convolutions(net, gpu.device)
    for batch in (8,) if gpu.tiny else (128, 512):
        for name, dtype, short in (
            ("bfloat16", torch.bfloat16, True),
            ("TF32", torch.float32, True),
            ("float32", torch.float32, False),
        ):
            with tf32(short):
                times, flops = _times(gpu, layers, batch, dtype)
            forward, to_input, to_weight = times
            rates = [round(flops / ms / 1e9, 1) for ms in times]
            gpu.add("ceilings", f"{name}, batch {batch}: TFLOP/s forward, to input, to weight", rates)
            step = (gpu.pgd_steps + 1) * forward + (gpu.pgd_steps + 1) * to_input + to_weight
            name = f"{name}, batch {batch}: milliseconds of a PGD-{gpu.pgd_steps} step's convolutions"
            gpu.add("ceilings", name, round(step, 3))


def _convolutions(net: nn.Module, device: str) -> list[tuple[nn.Conv2d, tuple[int, ...]]]:
    """The convolutions in their order, with the shape of the image that each gets."""
    layers: list[tuple[nn.Conv2d, tuple[int, ...]]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        layers.append((layer, tuple(inputs[0].shape[1:])))

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        net.eval()(torch.zeros(1, *SPEC.shape, device=device))
    for hook in hooks:
        hook.remove()
    return layers


def _times(
    gpu: Gpu, layers: list[tuple[nn.Conv2d, tuple[int, ...]]], batch: int, dtype: torch.dtype
) -> tuple[list[float], int]:
    """Milliseconds of all layers forward, back to their inputs, back to their weights; FLOPs of each."""
    times, flops = [0.0, 0.0, 0.0], 0
    for layer, shape in layers:
        images = torch.randn(batch, *shape, device=gpu.device, dtype=dtype)
        x, weight = images.contiguous(memory_format=torch.channels_last), layer.weight.detach().to(dtype)
        stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)

        def forward(x: Tensor = x, weight: Tensor = weight, layer: nn.Conv2d = layer) -> Tensor:
            return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)

        y = forward()
        gradient = torch.randn_like(y)
        arguments = (gradient, x, weight, None, stride, padding, dilation, False, [0, 0], layer.groups)

        def backward(which: list[bool], arguments: tuple[object, ...] = arguments) -> object:
            return torch.ops.aten.convolution_backward(*arguments, which)

        times[0] += gpu.milliseconds(forward, 5)
        times[1] += gpu.milliseconds(lambda: backward([True, False, False]), 5)
        times[2] += gpu.milliseconds(lambda: backward([False, True, False]), 5)
        flops += 2 * y.numel() * weight[0].numel()
    return times, flops


def steps(gpu: Gpu) -> None:
    """A PGD-10 step of ResNet-18: torchattacks and a plain update, the bare passes, and ours."""
    flops = forward_flops(gpu.net(), SPEC.shape)
    passes = 2 * gpu.pgd_steps + 3  # in forward passes: to the weights it is two, and one forward
    for batch in (8,) if gpu.tiny else BATCHES:
        ways: dict[str, Callable[[], float]] = {
            "torchattacks, as documented": lambda batch=batch: _plain(gpu, batch, False),  # type: ignore[misc]
            "torchattacks, bfloat16, channels last": lambda batch=batch: _plain(gpu, batch, True),  # type: ignore[misc]
            "bare passes": lambda batch=batch: _floor(gpu, batch, False),  # type: ignore[misc]
            "bare passes, bfloat16": lambda batch=batch: _floor(gpu, batch, True),  # type: ignore[misc]
        }
        for name in OURS:
            ways[name] = lambda name=name, batch=batch: _ours(gpu, batch, name)  # type: ignore[misc]
        for name, way in ways.items():
            title = f"batch {batch}: {name}"
            if gpu.has("steps", title) or (batch == 256 and "compiled" in name):
                continue
            if not gpu.tiny and gpu.seconds_left < SECONDS.get(name, 20.0):
                print(f"no time is left for {title}")
                continue
            if gpu.kind == "cuda":
                torch.cuda.reset_peak_memory_stats()
            ms = way()
            value = {"ms": round(ms, 2), "TFLOP/s": round(passes * flops * batch / ms / 1e9, 1)}
            if gpu.kind == "cuda":
                value["MiB"] = torch.cuda.max_memory_allocated() >> 20
            gpu.add("steps", title, value)


def _ours(gpu: Gpu, batch: int, name: str) -> float:
    """Milliseconds of a step of the training loop, by its ledger, without compiling."""
    number, masked = 3 if gpu.tiny else 25, "masked" in name
    training = Steps(number, batch, gpu.pgd_steps, masked=masked, compute=OURS[name])
    if not OURS[name].compile:
        Steps(3, batch, gpu.pgd_steps, masked=masked, compute=OURS[name]).run(gpu)
    _, ledger = training.run(gpu)
    return 1000 * ledger.step_seconds / number


class _Autocast(nn.Module):
    """A network, in bfloat16 where that is wanted."""

    def __init__(self, net: nn.Module, kind: str, bfloat16: bool) -> None:
        super().__init__()
        self.net, self._kind, self._bfloat16 = net, kind, bfloat16

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self._kind, torch.bfloat16, enabled=self._bfloat16):
            logits: Tensor = self.net(images)
        return logits.float()


def _plain(gpu: Gpu, batch: int, bfloat16: bool) -> float:
    """What a user would write: torchattacks.PGD and a training step; TF32 as PyTorch has it."""
    warnings.filterwarnings("ignore", module="torchattacks")
    import torchattacks

    layout = torch.channels_last if bfloat16 else torch.contiguous_format
    net = _Autocast(gpu.net().train().to(memory_format=layout), gpu.kind, bfloat16)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    attack = torchattacks.PGD(net, eps=8 / 255, alpha=2 / 255, steps=gpu.pgd_steps)
    data = noise(batch).to(gpu.device)
    images = to_float(data.images, bfloat16)

    def step() -> None:
        adversarial = attack(images, data.labels)
        optimiser.zero_grad()
        F.cross_entropy(net(adversarial), data.labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    with tf32(True):
        return gpu.milliseconds(step, 6)


def _floor(gpu: Gpu, batch: int, bfloat16: bool) -> float:
    """The passes alone, of the folded network and the network: no perturbation, no update."""
    net = gpu.net()
    folded = _Autocast(fold(net, SPEC.shape), gpu.kind, bfloat16)
    update = _Autocast(net.train(), gpu.kind, bfloat16)
    images = to_float(noise(batch).to(gpu.device).images, True).requires_grad_()
    upstream = torch.full((batch, SPEC.classes), 1e-3, device=gpu.device)

    def step() -> None:
        for _ in range(gpu.pgd_steps):
            torch.autograd.grad(folded(images), images, upstream)
        update(images.detach()).backward(upstream)
        net.zero_grad(set_to_none=True)

    return gpu.milliseconds(step, 6)
