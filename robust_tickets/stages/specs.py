"""What data and networks a recipe means: shapes, classes, threat model, images."""

from functools import lru_cache

from robust_tickets.attacks import ThreatModel
from robust_tickets.base.progress import Progress
from robust_tickets.data import dataset as dataset_module
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import Recipe


def model_spec(recipe: Recipe, spec: Spec) -> ModelSpec:
    """Everything that the recipe's network is built from, on images of that spec."""
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


def data_spec(data: Data, progress: Progress) -> Spec:
    """Shape, classes and counts of a data set; to know those of a folder, its images are read."""
    return dataset_module.SPECS.get(data.name) or read_images(data, progress).spec


@lru_cache(maxsize=1)
def read_images(data: Data, progress: Progress) -> Dataset:
    """The data set in host memory; read once for all stages of a process."""
    return loading.load(data, progress.log)


@lru_cache(maxsize=1)
def images_on(data: Data, device: str, progress: Progress) -> Dataset:
    """The data set in the device's memory."""
    return read_images(data, progress).to(device)
