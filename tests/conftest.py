"""Fixtures of many tests: a tiny recipe, its images, quick comparisons, a machine without progress output.

Tests marked `@pytest.mark.slow` are left out by `make test` only; pytest itself runs all (see the Makefile).
"""

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from quick_comparison import quick_comparisons

from robust_tickets.attacks import ThreatModel
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.base.random_streams import use_seed
from robust_tickets.comparison import compare as comparison
from robust_tickets.data import load
from robust_tickets.data.dataset import SPECS, Dataset
from robust_tickets.models.init import initialise
from robust_tickets.models.normalise import Normalise
from robust_tickets.models.resnet import CifarResNet
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Compute, Data, Evaluate, Model, Threat
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Search, Train, Training
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.methods.pgd import PGDSettings

DIGITS = SPECS["digits"]


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_the_disk() -> Iterator[None]:
    """Files of tests need not outlast a power cut: what is synced must be open, and nobody waits for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run on one thread, so that a busy machine does not slow them; recipes in tests say the same."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """All stages in seconds: a narrow fully connected net on few digits."""
    return Recipe(
        name="tiny",
        data=Data("digits", train_images=128, val_images=40),
        model=Model("lenet-300-100", width=0.2),
        threat=Threat(Eps("0.1")),
        search=Search(batch=32, lr=0.1, method="fgsm", epochs=2, rounds=2, ratio=0.5),
        train=Train(
            pgd=PGDSettings(steps=2, rel_step=0.5),
            epochs=3,
            ticket_epochs=2,
            batch=32,
            lr=0.1,
            warmup=0.2,
            warmup_lr=0.01,
        ),
        evaluate=Evaluate(images=50, batch=25, val_steps=2),
        compute=Compute(threads=1),
    )


@pytest.fixture(scope="session")
def tiny_data(tiny_recipe: Recipe) -> Dataset:
    """The tiny recipe's images."""
    return load.load(tiny_recipe.data)


@pytest.fixture
def conv_net() -> torch.nn.Module:
    """A narrow ResNet of two blocks for digits: convolutions, BatchNorm, shortcuts of both kinds."""
    with use_seed(0):
        net = CifarResNet(1, DIGITS.classes, 1, (8, 16), Normalise(DIGITS.mean, DIGITS.std))
        initialise(net, "default")
    return net


@pytest.fixture
def config(tiny_recipe: Recipe) -> TrainingConfig:
    """One short adversarial training, of two epochs."""
    training = Training(method="pgd", pgd=PGDSettings(steps=2, rel_step=0.5), epochs=2, batch=32, lr=0.05)
    return TrainingConfig(
        training, 8, ThreatModel("Linf", 0.1), tiny_recipe.evaluate, tiny_recipe.compute, seed=0
    )


@pytest.fixture
def machine() -> Machine:
    """This machine's CPU, watched by nobody."""
    return Machine("cpu", SilentProgress())


@pytest.fixture(scope="session")
def compare_quickly() -> Callable[..., RunDirectory]:
    """Runs a comparison without sanity checks, for tests that look at something else.

    report: whether its tables and plots are written.
    """

    def compare(*arguments, report: bool = False, **options) -> RunDirectory:
        with quick_comparisons(report=report):
            return comparison.compare(*arguments, **options)

    return compare


class Spoken(SilentProgress):
    """Progress that remembers its lines, but for what it says of a machine that is busy with other tests."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, text: str) -> None:
        if not text.startswith("other programs take cores"):
            super().warn(text)


@pytest.fixture
def spoken() -> Spoken:
    """Progress that remembers its lines."""
    return Spoken()
