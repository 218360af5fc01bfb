"""Parts of `benchmarks.gpu`: what the device is, and whether it gives what the CPU gives."""

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu_figures import SPEC, THREAT, Gpu, KeptState, Steps, noise, tf32
from robust_tickets.attacks import PGD
from robust_tickets.base.devices import describe_gpu
from robust_tickets.data.batches import batches
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compute

ATTACKS = ["clean", "fgsm", "pgd-20", "apgd(steps=20)"]


def about(gpu: Gpu) -> None:
    """Device and driver, its copies and its products of matrices."""
    for name, value in describe_gpu(gpu.device).items():
        gpu.add("about", name, value)
    numbers = 1 << (22 if gpu.tiny else 28)
    source = torch.empty(numbers, device=gpu.device)
    target = torch.empty_like(source)
    ms = gpu.milliseconds(lambda: target.copy_(source))
    gpu.add("about", "copy, GB/s read and written", round(2 * 4 * numbers / ms / 1e6))
    side = 256 if gpu.tiny else 8192
    matrix = torch.randn(side, side, device=gpu.device, dtype=torch.bfloat16)
    ms = gpu.milliseconds(lambda: matrix @ matrix)
    gpu.add("about", "bfloat16 product of matrices, TFLOP/s", round(2 * side**3 / ms / 1e9, 1))


def parity(gpu: Gpu) -> None:
    """The device beside the CPU: batches, starts, logits, an attack, training steps, verdicts."""
    data, device = noise(64), gpu.device
    here = next(batches(data, SPEC, 32, seed=3, epoch=2, channels_last=True))
    there = next(batches(data.to(device), SPEC, 32, seed=3, epoch=2, channels_last=True))
    alike = all(torch.equal(a, b.cpu()) for a, b in zip(here[:4], there[:4], strict=True))
    gpu.add("parity", "batches have the same bits", alike, holds=alike)
    start = THREAT.random_start(here.images, here.ids, seed=5)
    alike = torch.equal(start, THREAT.random_start(there.images, there.ids, seed=5).cpu())
    gpu.add("parity", "random starts have the same bits", alike, holds=alike)
    cpu_net, net = fold(gpu.on_cpu().net(), SPEC.shape), fold(gpu.net(), SPEC.shape)
    with torch.no_grad():
        logits = cpu_net(here.images)
        for on in (False, True):
            with tf32(on):
                apart = float((net(there.images).cpu() - logits).abs().max() / logits.abs().max())
            name = f"logits, largest difference over the largest, {'with' if on else 'without'} TF32"
            gpu.add("parity", name, f"{apart:.1e}", holds=None if on else apart < 1e-5)
    attack = PGD(THREAT, steps=10, rel_step=0.25)
    ours = attack.run(cpu_net, here.images, here.labels, sample_ids=here.ids, seed=0).images
    theirs = attack.run(net, there.images, there.labels, sample_ids=there.ids, seed=0).images.cpu()

    def loss(images: Tensor) -> float:
        with torch.no_grad():
            return float(F.cross_entropy(cpu_net(images), here.labels))

    gain = (loss(theirs) - loss(here.images)) / (loss(ours) - loss(here.images))
    pixels = float((ours == theirs).float().mean())
    gpu.add("parity", "PGD-10: share of pixels with the same bits", round(pixels, 4))
    gpu.add("parity", "PGD-10: loss gained, over the CPU's", round(gain, 4), holds=abs(gain - 1) < 0.02)
    for steps, limit in ((1, 1e-4), (10, 1e-1)):
        few = Steps(steps, 16, pgd=3, width=0.25)
        apart = _apart(few.run(gpu)[0].last, few.run(gpu.on_cpu())[0].last)
        name = f"{steps} training steps: largest relative difference of a tensor"
        gpu.add("parity", name, f"{apart:.1e}", holds=apart < limit)
    config = EvaluationConfig(THREAT, batch=40, channels_last=True)
    rows = [
        list(evaluate(n, split, ATTACKS, config)) for n, split in ((cpu_net, data), (net, data.to(device)))
    ]
    differ = [int((a.robust != b.robust.cpu()).sum()) for a, b in zip(*rows, strict=True)]
    gpu.add("parity", f"verdicts that differ, of {len(data)}: {', '.join(ATTACKS)}", differ)


def exact(gpu: Gpu) -> None:
    """A training twice, and one that was stopped and resumed: the same bits."""
    steps, batch = (4, 8) if gpu.tiny else (24, 64)
    for name, training in {
        "ResNet-18": Steps(steps, batch, pgd=3),
        "ResNet-18, masked": Steps(steps, batch, pgd=3, masked=True),
        "ResNet-18, bfloat16": Steps(steps, batch, pgd=3, compute=Compute(precision="bf16")),
        "VGG-16 x0.25": Steps(steps, batch, pgd=3, net="vgg16", width=0.25),
    }.items():
        state = KeptState(step=steps // 2)
        first = training.run(gpu, state)[0].last
        again, resumed = training.run(gpu)[0].last, training.run(gpu, saved=state.state)[0].last
        for what, other in (("twice", again), ("stopped and resumed", resumed)):
            alike = all(torch.equal(first[key], other[key]) for key in first)
            gpu.add("exact", f"{name}, {what}: the same bits", alike, holds=alike)


def _apart(weights: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """The largest difference of a tensor, as a share of its norm."""
    floats = [key for key, tensor in weights.items() if tensor.is_floating_point()]
    norms = [
        (weights[key].cpu().double() - others[key].double()).norm() / others[key].double().norm().clamp(1e-30)
        for key in floats
    ]
    return float(torch.stack(norms).max())
