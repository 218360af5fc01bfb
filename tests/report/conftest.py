"""A made-up run directory: two arms, two seeds."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.evaluation.robustness_csv import COLUMNS
from robust_tickets.recipe.fields import Compare
from robust_tickets.runs.directory import RunDirectory

ROBUST = {"dense": [0.30, 0.34], "ticket": [0.28, 0.31]}


@pytest.fixture
def robust() -> dict[str, list[float]]:
    """Each arm's robust accuracy, a fraction a seed."""
    return ROBUST


@pytest.fixture
def run(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe, compare=Compare(("dense", "ticket")))
    run = RunDirectory.of(tmp_path, recipe)
    run.begin("cpu", {})
    for seed in (0, 1):
        for arm, flops in (("dense", 100), ("ticket", 50)):
            write_arm(run, seed, arm, ROBUST[arm][seed], flops)
        write_ledger(run.search(seed), 30, 3.0)
    return run


def write_ledger(folder, flops, seconds):
    folder.path.mkdir(parents=True, exist_ok=True)
    ledger = {"charged_seconds": seconds, "charged_passes": flops * 2, "charged_flops": flops, "warnings": []}
    folder.ledger.write_text(json.dumps(ledger))


def write_arm(run, seed, arm, robust, flops):
    folder = run.arm(seed, arm)
    write_ledger(folder, flops, flops / 10)
    record = {
        "arm": arm,
        "data": "made up",
        "fingerprint": "f",
        "test_images": 300,
        "epochs": 3,
        "steps_per_epoch": 4,
        "best_epoch": 1,
        "density": 1.0 if arm == "dense" else 0.2,
        "params": 100,
        "channels_removed": 0,
    }
    folder.record.write_text(json.dumps(record))
    epoch = {"epoch": 1, "step": 4, "val_clean": 0.5, "val_robust": robust, "val_loss": 1.0}
    epoch |= {"passes": flops * 2, "flops": flops}
    points = [epoch | {"step": step, "epoch": step / 4} for step in range(4)]
    folder.metrics.write_text(json.dumps(epoch) + "\n")
    folder.early_metrics.write_text("".join(json.dumps(point) + "\n" for point in points))
    about = {"split": "test", "eps": "0.1", "norm": "Linf", "n": 50, "seed": 0, "source": ""}
    rows = [
        about | {"checkpoint": name, "attack": attack, "accuracy": accuracy}
        for name, loss in (("best", 0), ("last", 0.05))
        for attack, accuracy in (("clean", robust + 0.3), ("fgsm", robust + 0.1), ("pgd-20", robust - loss))
    ]
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    numbers = ["seconds", "forwards", "backwards", "rel_step", "clean", "low", "high", "outside"]
    table.fillna(dict.fromkeys(numbers, 1)).to_csv(folder.robustness, index=False)


@pytest.fixture
def arm_writer():
    """Writes an arm into a run directory: run, seed, name, robust accuracy, FLOPs."""
    return write_arm
