"""The timing table from made-up run directories, against numpy."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robust_tickets.errors import InputError
from robust_tickets.report import csv, curves, markdown, timing
from robust_tickets.runs import RunDirectory
from robust_tickets.settings import Compare

ROBUST = {"dense": [0.30, 0.34], "ticket": [0.28, 0.31]}


@pytest.fixture
def run(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe, compare=Compare(("dense", "ticket")))
    run = RunDirectory.of(tmp_path, recipe)
    run.begin("cpu", {})
    for seed in (0, 1):
        for arm, flops in (("dense", 100), ("ticket", 50)):
            fill(run, seed, arm, ROBUST[arm][seed], flops)
        ledger(run.arm(seed, "search"), 30, 3.0)
    return run


def ledger(folder, flops, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    account = {"charged_seconds": seconds, "charged_passes": flops * 2, "charged_flops": flops}
    (folder / "ledger.json").write_text(json.dumps(account))


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
    (folder / "arm.json").write_text(json.dumps(about))
    record = {"epoch": 1, "val_clean": 0.5, "val_robust": robust, "passes": 1, "flops": flops}
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    rows = [
        [name, "test", attack, "0.1", 50, accuracy, 1.0, 1, 1, 0.25, 0]
        for name, lost in (("best", 0), ("last", 0.05))
        for attack, accuracy in (("clean", robust + 0.3), ("fgsm", robust + 0.1), ("pgd-20", robust - lost))
    ]
    head = ["checkpoint", "split", "attack", "eps", "n", "accuracy", "seconds"]
    head += ["forwards", "backwards", "rel_step", "seed"]
    pd.DataFrame(rows, columns=head).to_csv(folder / "robustness.csv", index=False)


def test_means_and_sample_deviations(run):
    table = timing(run).set_index("arm")
    for arm, robust in ROBUST.items():
        assert table.pgd20_mean[arm] == pytest.approx(np.mean(robust))
        assert table.pgd20_sd[arm] == pytest.approx(np.std(robust, ddof=1))
        assert table.pgd20_last_mean[arm] == pytest.approx(np.mean(robust) - 0.05)
    assert table.total_flops["ticket"] == 80
    assert table.flops_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.total_s["ticket"] == pytest.approx(3 + 5)
    assert table.seconds_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.pgd20_vs_dense["ticket"] == pytest.approx(
        np.mean(ROBUST["ticket"]) - np.mean(ROBUST["dense"])
    )


def test_one_seed_has_no_deviation(run):
    (run.arm(1, "ticket") / "ledger.json").unlink()
    table = timing(run)
    assert (table.seeds == 1).all(), "a seed that lacks an arm counts for none"
    assert table.pgd20_sd.isna().all()
    first = csv(run).splitlines()[1].split(",")
    assert first[6] == ""
    assert "no spread is known" in markdown(run)


def test_an_arm_evaluated_on_fewer_images_is_not_complete(run):
    for seed in (0, 1):
        file = run.arm(seed, "dense") / "robustness.csv"
        file.write_text(file.read_text().replace(",50,", ",30,"))
    with pytest.raises(InputError, match=r"no seed in .* has all of dense, ticket"):
        timing(run)


def test_damaged_files_are_named(run):
    (run.arm(0, "dense") / "metrics.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*metrics\.jsonl"):
        timing(run)
    (run.arm(0, "dense") / "robustness.csv").write_text("nonsense")
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv"):
        timing(run)


def test_records_that_lack_a_key_are_named(run):
    for name, key in (("arm.json", "fingerprint"), ("ledger.json", "charged_seconds")):
        file = run.arm(0, "dense") / name
        whole = file.read_text()
        file.write_text(json.dumps({k: v for k, v in json.loads(whole).items() if k != key}))
        with pytest.raises(InputError, match=f"{name} lacks '{key}'"):
            timing(run)
        file.write_text(whole)


def test_the_same_results_draw_the_same_bytes(run, tmp_path):
    curves(run, tmp_path / "a.svg")
    curves(run, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"ticket" in (tmp_path / "a.svg").read_bytes()


def test_no_run_directory_is_said_so(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        RunDirectory.open(tmp_path)
