"""What is run: a recipe, and what the user hands over beside it."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import nn

from attacks import ThreatModel
from robust_tickets import artefact, data, models
from robust_tickets.data import Dataset, Spec
from robust_tickets.models import Make, ModelSpec
from robust_tickets.recipe import Recipe
from robust_tickets.settings import Data, Training
from robust_tickets.stages.place import Machine, placed
from robust_tickets.training import Fit


@dataclass(frozen=True)
class Experiment:
    """A recipe, with the user's own net and images where they were handed over in Python.

    `net` makes a fresh net without normalisation or seed of ours; `images` stand in for the recipe's data.
    """

    recipe: Recipe
    net: Make | None = None
    images: Dataset | None = None

    def spec(self, machine: Machine) -> Spec:
        """What is known of the images before training."""
        return self.images.spec if self.images else data.spec_of(self.recipe.data, machine.progress.say)

    def load(self, machine: Machine) -> Dataset:
        """The images, in the memory of the machine's device."""
        return _placed_data(self.images, machine) if self.images else _load(self.recipe.data, machine)

    def model_spec(self, machine: Machine) -> ModelSpec:
        """All that is needed to build the net again, given the images."""
        return model_spec(self.recipe, self.spec(machine))

    @property
    def make(self) -> Make | None:
        """The function that makes the user's own net; None where the recipe names one of ours."""
        if self.net is None and ":" in self.recipe.model.name:
            return models.imported(self.recipe.model.name)
        return self.net

    def fresh_net(self, seed: int, machine: Machine) -> nn.Module:
        """The net, initialised by the seed, on the device and in the recipe's memory format."""
        return placed(self._built(seed, machine), self.recipe.compute, machine)

    def _built(self, seed: int, machine: Machine) -> nn.Module:
        spec, make = self.model_spec(machine), self.make
        return models.build(spec, seed=seed) if make is None else models.build_own(make, spec, seed=seed)

    @property
    def threat(self) -> ThreatModel:
        """The recipe's threat model."""
        return threat_model(self.recipe)

    def fit(self, training: Training, steps: int, seed: int) -> Fit:
        """What the loop needs, for one training of so many steps."""
        recipe = self.recipe
        return Fit(training, steps, self.threat, recipe.evaluate, recipe.compute, seed)

    def inputs(self, seed: int, machine: Machine) -> dict[str, str]:
        """Fingerprints of what the recipe does not define: the user's own images and net."""
        prints = {}
        if self.images:
            prints["images"] = self.images.fingerprint
        if self.make is not None:
            prints[f"net of seed {seed}"] = fingerprint(self._built(seed, machine))
        return prints


def fingerprint(net: nn.Module) -> str:
    """Sixteen hex digits of a net's layers and of its weights as they are."""
    layers = hashlib.sha256(repr(net).encode()).hexdigest()
    return artefact.content_hash({n: t.detach().cpu() for n, t in net.state_dict().items()}, {"net": layers})


def model_spec(recipe: Recipe, spec: Spec) -> ModelSpec:
    """What the recipe's net is on the images of `spec`."""
    model = recipe.model
    return ModelSpec(
        model.name,
        model.width,
        spec.shape,
        spec.classes,
        spec.mean,
        spec.std,
        init=model.init,
        dropout=model.dropout,
    )


def threat_model(recipe: Recipe) -> ThreatModel:
    """The recipe's threat model."""
    return ThreatModel(recipe.threat.norm, recipe.threat.eps.value)


@lru_cache(maxsize=1)
def _load(which: Data, machine: Machine) -> Dataset:
    """The data set on the machine's device; read once for all stages of a process."""
    return _placed_data(data.load(which, machine.progress.say), machine)


def _placed_data(dataset: Dataset, machine: Machine) -> Dataset:
    parts = {name: getattr(dataset, name).to(machine.device) for name in ("train", "val", "test")}
    return replace(dataset, **parts)
