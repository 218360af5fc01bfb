"""Run directories made up of files alone: two arms, two seeds."""

import json
from dataclasses import replace

import pandas as pd
import pytest

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
            fill(run, seed, arm, ROBUST[arm][seed], flops)
        ledger(run.search(seed), 30, 3.0)
    return run


def ledger(folder, flops, seconds):
    folder.path.mkdir(parents=True, exist_ok=True)
    account = {"charged_seconds": seconds, "charged_passes": flops * 2, "charged_flops": flops}
    folder.ledger.write_text(json.dumps(account))


def fill(run, seed, arm, robust, flops):
    folder = run.arm(seed, arm)
    ledger(folder, flops, flops / 10)
    about = {
        "data": "made up",
        "fingerprint": "f",
        "epochs": 3,
        "density": 1.0 if arm == "dense" else 0.2,
        "params": 100,
    }
    folder.record.write_text(json.dumps(about))
    record = {"epoch": 1, "val_clean": 0.5, "val_robust": robust, "passes": 1, "flops": flops}
    folder.metrics.write_text(json.dumps(record) + "\n")
    rows = [
        [name, "test", attack, "0.1", 50, accuracy, 1.0, 1, 1, 0.25, 0]
        for name, lost in (("best", 0), ("last", 0.05))
        for attack, accuracy in (("clean", robust + 0.3), ("fgsm", robust + 0.1), ("pgd-20", robust - lost))
    ]
    head = ["checkpoint", "split", "attack", "eps", "n", "accuracy", "seconds"]
    head += ["forwards", "backwards", "rel_step", "seed"]
    pd.DataFrame(rows, columns=head).to_csv(folder.robustness, index=False)
