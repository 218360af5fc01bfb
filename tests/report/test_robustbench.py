"""The entry for RobustBench has the figures of the run's own robustness.csv, or is refused."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.evaluation.robustness_csv import COLUMNS
from robust_tickets.recipe.fields import Data, Model
from robust_tickets.report.robustbench import model_info
from robust_tickets.runs import files
from robust_tickets.runs.directory import RunDirectory

ROW = dict.fromkeys(COLUMNS, "") | {
    "checkpoint": "last",
    "split": "test",
    "attack": "autoattack",
    "eps": "8/255",
    "n": 1000,
    "accuracy": 0.3125,
    "seconds": 1.0,
    "forwards": 1,
    "backwards": 1,
    "rel_step": 0.25,
    "seed": 0,
    "norm": "Linf",
    "clean": 0.6,
    "low": 0.3,
    "high": 0.35,
    "outside": 0,
}


@pytest.fixture
def arm(tiny_recipe, tmp_path):
    """The folder of an arm trained on CIFAR-10; it has no evaluation yet."""
    recipe = replace(tiny_recipe, data=Data("cifar10"), model=Model("resnet18", 0.5))
    recipe = replace(recipe, threat=replace(recipe.threat, eps=type(recipe.threat.eps)("8/255")))
    run = RunDirectory.of(tmp_path, recipe)
    folder = run.arm(0, "dense")
    folder.path.mkdir(parents=True)
    run.write_recipe()
    folder.last.write_bytes(b"weights")
    files.write_json(folder.record, {"data": "CIFAR-10 (JPEG copy)", "density": 0.2})
    return folder


def write_rows(folder, *rows):
    files.write_text(
        folder.robustness, files.csv_text(pd.DataFrame([ROW | row for row in rows], columns=COLUMNS))
    )


def test_the_entry_has_the_figures_of_the_most_images(arm, capsys):
    write_rows(
        arm,
        {},
        {"n": 10_000, "accuracy": 0.30126, "clean": 0.6149},
        {"n": 10_000, "eps": "4/255", "accuracy": 0.5},
        {"checkpoint": "best", "n": 10_000, "accuracy": 0.4},
        {"attack": "aa-apgd", "n": 10_000, "accuracy": 0.4},
    )
    main(["export", str(arm.last), "--format", "robustbench"])
    printed = capsys.readouterr().out
    assert "clean 61.49 %, AutoAttack 30.13 %" in printed
    info = json.loads((arm.path / "last-robustbench.json").read_text(encoding="utf-8"))
    assert info == model_info(arm.last)
    # the fields of RobustBench's own entries
    assert set(info) == {
        "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
        "architecture", "eps", "clean_acc", "reported", "autoattack_acc", "footnote",
    }  # fmt: skip
    assert (info["architecture"], info["eps"], info["dataset"]) == ("resnet18 x0.5", "8/255", "cifar10")
    assert "10,000 test images of CIFAR-10 (JPEG copy), 20.0% of the weights kept" in info["footnote"]


@pytest.mark.parametrize("rows", [[], [{"attack": "aa-apgd"}], [{"source": "0123"}], [{"split": "val"}]])
def test_a_network_that_autoattack_did_not_judge_has_no_entry(rows, arm):
    write_rows(arm, *rows)
    with pytest.raises(InputError, match=r"not attacked by the whole of AutoAttack .*--attacks autoattack"):
        model_info(arm.last)
    assert not list(arm.path.glob("*.json.*"))


def test_files_outside_of_runs_and_other_data_are_refused(arm, tmp_path, tiny_recipe):
    with pytest.raises(InputError, match="not found"):
        model_info(arm.best)
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(b"weights")
    with pytest.raises(InputError, match="lies in no run directory"):
        model_info(alone)
    run = RunDirectory.of(tmp_path, tiny_recipe)
    digits = run.arm(0, "dense")
    digits.path.mkdir(parents=True)
    run.write_recipe()
    digits.last.write_bytes(b"weights")
    with pytest.raises(InputError, match=r"RobustBench has cifar10 and cifar100, and .* trained on digits"):
        model_info(digits.last)
