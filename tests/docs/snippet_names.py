"""The names that snippets of Python in the documentation take for granted: networks, images, batches."""

import sys
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from robust_tickets.data import load
from robust_tickets.models import registry
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe.fields import Data
from robust_tickets.training.methods.base import Method, NoSettings

SPEC = ModelSpec("lenet-300-100", 0.2, (1, 8, 8), 10, (0.3,), (0.4,))


def build_net() -> torch.nn.Module:
    """The network of the recipe in the workspace, as a user's function would build it."""
    return registry.build(SPEC, seed=0)


def names_of_snippets() -> dict[str, Any]:
    """Names of one page: the digits, a network, a few batches; and wandb, which only records."""
    data = load.load(Data("digits", val_images=40))
    x, y = data.train.images[:450] / 255.0, data.train.labels[:450]
    run = SimpleNamespace(log=lambda record: None)
    sys.modules["wandb"] = SimpleNamespace(init=lambda **settings: run)  # type: ignore[arg-type]
    return {
        "__name__": "snippet",
        "torch": torch,
        "F": F,
        "Method": Method,
        "NoiseSettings": NoSettings,
        "build_net": build_net,
        "net": build_net(),
        "x_train": x[:350],
        "y_train": y[:350],
        "x_test": x[350:],
        "y_test": y[350:],
        "images": x[:20],
        "labels": y[:20],
        "loader": [(x[:20], y[:20]), (x[20:40], y[20:40])],
    }
