"""Ways to take the steps of PGD adversarial training, on noise: what a user would write, ours, and the floor.

All begin from the same init and train on images in memory, in the format that the way needs.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measuring import peak_memory
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.memory import keep_freed_memory
from robust_tickets.data.batches import batches
from robust_tickets.data.dataset import SPECS, Dataset, Split
from robust_tickets.models.fold import fold
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.pruning.channel_criteria import channel_scores, prune_channels
from robust_tickets.pruning.channel_groups import channel_groups
from robust_tickets.pruning.compaction import all_channels, channel_mask
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Compute, Evaluate
from robust_tickets.recipe.training_fields import Train
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.precision import supported_compute

BATCH = 128
EPS = 8 / 255
REL_STEP = 0.25
LR = 0.01
SPEC = SPECS["cifar10"]

NETS = {
    "VGG-16 x0.5": ("vgg16", 0.5),
    "VGG-16 x0.25": ("vgg16", 0.25),
    "ResNet-20": ("resnet20", 1.0),
    "ResNet-18 x0.25": ("resnet18", 0.25),
}
"""The networks by their names in the table: name in the registry, and width."""

PLAIN, FLOOR, OURS, MASKED = "torchattacks", "floor", "ours", "ours, masked"
SMALL = {
    "ours, 3/4 of the channels": 0.25,
    "ours, 1/2 of the channels": 0.5,
    "ours, 1/4 of the channels": 0.75,
}
"""Compacted tickets by name, with the share of removed channels."""

ARITHMETIC: dict[str, dict[str, Any]] = {
    "ours, attack in bfloat16": {"precision": "bf16-attack"},
    "ours, all in bfloat16": {"precision": "bf16"},
    "ours, compiled": {"compile": True},
    "ours, channels first": {"channels_last": False},
}
"""Ours with other fields of the recipe's `compute`."""

LOADERS = {"DataLoader, in the process": 0, "DataLoader, 2 workers": 2}
"""DataLoaders by name, with their number of workers."""

MAIN = (PLAIN, FLOOR, OURS, MASKED)
WAYS = (*MAIN, *SMALL, *ARITHMETIC)


@dataclass(frozen=True)
class Case:
    """A network, the steps of the attack, and the number of training steps of a measurement."""

    net: str
    attack_steps: int
    steps: int


def time_step(way: str, case: Case) -> dict[str, Any]:
    """Seconds of one training step."""
    return {"seconds": round(_time_steps(way, case) / case.steps, 4)}


def is_supported(way: str) -> bool:
    """Whether the machine can run a way."""
    return not supported_compute(Compute(**ARITHMETIC.get(way, {})), "cpu")[1]


def prepare(threads: int) -> None:
    """Set up a process in which ways are measured."""
    warnings.filterwarnings("ignore", module="torchattacks")
    torch.set_num_threads(threads)
    keep_freed_memory()


def peak(way: str, case: Case) -> float:
    """MiB at the peak of the steps, beyond network and images; for a fresh process."""
    small_net(case.net), noise_data(case.steps)
    return peak_memory(lambda: _time_steps(way, case))


def _time_steps(way: str, case: Case) -> float:
    """Seconds of all steps of a case."""
    if way == PLAIN:
        return _time_plain(case)
    if way == FLOOR:
        return _time_floor(case)
    net, mask = _our_net(way, case.net)
    compute = Compute(torch.get_num_threads(), **ARITHMETIC.get(way, {}))
    if compute.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _time_fit(net, mask, case, compute)


def _time_plain(case: Case) -> float:
    """A training step with torchattacks, as its documentation shows it: contiguous, eager."""
    import torchattacks

    net = small_net(case.net).train()
    attack = torchattacks.PGD(net, eps=EPS, alpha=REL_STEP * EPS, steps=case.attack_steps, random_start=True)
    optimiser = torch.optim.SGD(net.parameters(), LR, momentum=0.9, weight_decay=5e-4)
    batches = _batches(case.steps, torch.contiguous_format)
    begin = time.perf_counter()
    for images, labels in batches:
        adversarial = attack(images, labels)
        optimiser.zero_grad()
        F.cross_entropy(net(adversarial), labels).backward()
        optimiser.step()
    return time.perf_counter() - begin


def _time_floor(case: Case) -> float:
    """The passes alone, of the folded network and the network: no loss, no perturbation, no update."""
    net = small_net(case.net).to(memory_format=torch.channels_last)
    folded = fold(net)
    net.train()
    upstream = torch.full((BATCH, SPEC.classes), 1e-3)
    batches = _batches(case.steps, torch.channels_last)
    begin = time.perf_counter()
    for images, _ in batches:
        images.requires_grad_()
        for _ in range(case.attack_steps):
            torch.autograd.grad(folded(images), images, upstream)
        images.requires_grad_(False)
        net(images).backward(upstream)
        for parameter in net.parameters():
            parameter.grad = None
    return time.perf_counter() - begin


def _time_fit(net: nn.Module, mask: Mask | None, case: Case, compute: Compute) -> float:
    """Our training: batches and augmentation, attack, update and mask, by its ledger."""
    pgd = PGDSettings(steps=case.attack_steps, rel_step=REL_STEP)
    settings = Train(pgd=pgd, epochs=1, batch=BATCH, lr=LR, schedule="constant")
    evaluate = Evaluate(val_steps=1, early_epochs=0)
    threat = ThreatModel("Linf", EPS)
    config = TrainingConfig(settings, case.steps, threat, evaluate, compute, seed=0)
    ledger = Ledger("train")
    with ledger.measure():
        fit(net, mask, noise_data(case.steps), config, Session(ledger))
    return ledger.step_seconds


def _our_net(way: str, name: str) -> tuple[nn.Module, Mask | None]:
    net = small_net(name)
    full = Mask.full(net)
    scores = SCORES["magnitude-over-layer-mean"](prunable_weights(net), full)
    mask = None
    if way == MASKED:
        mask = prune(scores, full, 0.8)
    elif way in SMALL:
        groups = channel_groups(net, SPEC.shape)
        live = prune_channels(channel_scores(groups, scores, full), all_channels(groups), SMALL[way])
        net = compact_net(net, channel_mask(groups, live, full), SPEC.shape).net
    return net, mask


def small_net(name: str) -> nn.Module:
    architecture, width = NETS[name]
    return build(ModelSpec(architecture, width, SPEC.shape, SPEC.classes, SPEC.mean, SPEC.std), seed=0)


@lru_cache(maxsize=2)
def noise_data(steps: int) -> Dataset:
    """Noise: the images of all steps, and one for validation."""
    generator = torch.Generator().manual_seed(0)

    def noise(n: int) -> Split:
        pixels = torch.randint(256, (n, *SPEC.shape), generator=generator, dtype=torch.uint8)
        return Split(pixels, torch.randint(SPEC.classes, (n,), generator=generator), torch.arange(n))

    return Dataset(SPEC, "noise", noise(steps * BATCH), noise(1), noise(1), "")


def _batches(steps: int, layout: torch.memory_format) -> list[tuple[Tensor, Tensor]]:
    """The same images as floats in [0, 1], in batches."""
    train = noise_data(steps).train
    images = train.images.float().div(255).contiguous(memory_format=layout)
    return list(zip(images.split(BATCH), train.labels.split(BATCH), strict=True))


def time_batches(way: str, images: int) -> dict[str, Any]:
    """Seconds of an epoch's augmented batches: ours, or a DataLoader with torchvision's transforms."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *SPEC.shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(SPEC.classes, (images,), generator=generator)
    stream: Any
    if way not in LOADERS:
        split = Split(pixels, labels, torch.arange(images))
        stream = batches(split, SPEC, BATCH, seed=0, epoch=1, channels_last=True)
    else:
        stream = torch.utils.data.DataLoader(
            _Images(pixels.permute(0, 2, 3, 1).numpy(), labels.tolist()),
            BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=LOADERS[way],
        )
    begin = time.perf_counter()
    for _ in stream:
        pass
    return {"seconds": round(time.perf_counter() - begin, 4)}


class _Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """As torchvision.datasets.CIFAR10: images that go through transforms one by one."""

    def __init__(self, pixels: Any, labels: list[int]) -> None:
        from torchvision import transforms

        self._pixels, self._labels = pixels, labels
        steps = [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
        self._transform: Callable[[Any], Tensor] = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self._transform(Image.fromarray(self._pixels[i])), self._labels[i]
