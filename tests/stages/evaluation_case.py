"""A small trained checkpoint, the request of its evaluation, and the files that an evaluation leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.data import load
from robust_tickets.models import registry
from robust_tickets.models.weights import copy_state
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import evaluate as evaluate_stage
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.specs import model_spec
from robust_tickets.training.checkpoint import Checkpoint

ATTACKS = ("pgd-3", "square(queries=8)", "torchattacks:CW(c=1, steps=2)")
SILENT = Machine("cpu", SilentProgress())
REQUEST = EvaluationRequest(ATTACKS, limit=40, eps=(Eps("0.05"), Eps("0.2")))
FGSM = EvaluationRequest(("fgsm",), limit=40, eps=(Eps("0.2"),))
SANITY = "robust_tickets.stages.evaluation_run.run_sanity_checks"


def save_checkpoint(recipe: Recipe, file: Path) -> None:
    """Train a network for a moment, and save it to be evaluated in batches of sixteen."""
    recipe = replace(recipe, evaluate=replace(recipe.evaluate, batch=16))
    images = load.load(recipe.data)
    net = registry.build(model_spec(recipe, images.spec), seed=0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(net(images.train.images / 255), images.train.labels).backward()
        optimiser.step()
    rest = (recipes.to_table(recipe), images.fingerprint, "dense", 0, 1, 0.1, 0.1)
    Checkpoint(copy_state(net), model_spec(recipe, images.spec), *rest).save(file)


def evaluate(file: Path, request: EvaluationRequest = REQUEST) -> evaluate_stage.EvaluationOutput:
    return evaluate_stage.evaluate_file(file, SILENT, request)


def results(folder: Path) -> dict[str, object]:
    """The files of an evaluation without seconds: arrays, rows, file names."""
    parts: dict[str, object] = {}
    for file in folder.glob("verdicts-*.npz"):
        with np.load(file) as arrays:
            parts[file.name] = {name: arrays[name].tolist() for name in arrays.files if name != "seconds"}
    rows = pd.read_csv(folder / "robustness.csv", dtype=str, keep_default_na=False)
    parts["rows"] = rows.drop(columns="seconds").to_dict("records")
    parts["names"] = sorted(path.name for path in folder.iterdir() if path.suffix != ".part")
    return parts


def verdicts(folder: Path, place: int) -> np.ndarray:
    """The verdicts of one attack."""
    (matrix,) = folder.glob("verdicts-*.npz")
    with np.load(matrix) as arrays:
        return arrays["verdicts"][:, place]
