"""Work with mistakes in it, which the tests of both devices must notice."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from device_case import Part, train
from safetensors.torch import save_file
from torch import Tensor

from robust_tickets.base import random_streams
from robust_tickets.training.monitors import Monitor


def wrong_step(device: str, folder: Path, mistake: Callable[[Tensor], object]) -> None:
    """A training with a mistake in its steps."""
    observe = Monitor.observe

    def with_mistake(monitor: Monitor, step: int, loss: Tensor, images: Tensor) -> None:
        mistake(loss.detach())
        observe(monitor, step, loss, images)

    with patch.object(Monitor, "observe", with_mistake):
        train(device, folder, "natural")


def unseeded_device(device: str, folder: Path) -> None:
    """A training that seeds the host's generator alone."""
    with patch.object(random_streams, "device_in_use", lambda: None):
        train(device, folder, "natural")


def divide_by_host_number(device: str, folder: Path) -> None:
    """Pixels as a GPU computes them where they are divided by a number of the host."""
    pixels = torch.arange(256.0, device=device) / 255
    save_file({"pixels": pixels.cpu()}, folder / "pixels.safetensors")


MISTAKES: dict[str, Part] = {
    "a tensor made on the host": partial(wrong_step, mistake=lambda loss: loss + torch.zeros(1)),
    "a generator of the host": partial(
        wrong_step, mistake=lambda loss: torch.rand(1, generator=torch.Generator(), device=loss.device)
    ),
    "numpy of a tensor": partial(wrong_step, mistake=lambda loss: loss.numpy()),
    "item in a step": partial(wrong_step, mistake=lambda loss: loss.item()),
    "a mask as index": partial(wrong_step, mistake=lambda loss: loss[None][loss[None] > 0]),
    "copy to the host": partial(wrong_step, mistake=lambda loss: loss.cpu()),
    "a tensor from the host": partial(wrong_step, mistake=lambda loss: torch.zeros(1).to(loss.device)),
    "an unseeded device": unseeded_device,
    "a division by a number": divide_by_host_number,
}
