"""An arm whose weights were averaged has a third checkpoint, whose accuracies are read with the others."""

import json

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.report.read import arm_result, missing_part
from robust_tickets.stages.reuse import check_finished


@pytest.fixture
def averaged(run):
    """The folder of an arm whose record says that it has an average; it has rows for it, but no weights."""
    folder = run.arm(0, "dense")
    record = json.loads(folder.record.read_text())
    folder.record.write_text(json.dumps({**record, "best_is_average": True}))
    rows = pd.read_csv(folder.robustness, keep_default_na=False)
    extra = rows[rows.checkpoint == "last"].assign(checkpoint="average", accuracy=0.25)
    pd.concat([rows, extra]).to_csv(folder.robustness, index=False)
    return folder


def test_its_accuracy_is_read(averaged, run):
    assert missing_part(run, 0, "dense") == ""
    assert arm_result(run, 0, "dense").accuracy["average", "pgd-20"] == 0.25
    assert ("average", "pgd-20") not in arm_result(run, 0, "ticket").accuracy


def test_a_missing_row_of_it_is_named(averaged, run):
    rows = pd.read_csv(averaged.robustness, keep_default_na=False)
    gone = (rows.checkpoint == "average") & (rows.attack == "fgsm")
    rows[~gone].to_csv(averaged.robustness, index=False)
    assert missing_part(run, 0, "dense") == f"{averaged.robustness} has no row of average under fgsm"


def test_missing_weights_are_named(averaged, monkeypatch):
    monkeypatch.setattr("robust_tickets.runs.tensor_file.is_ours", lambda file: file != averaged.average)
    with pytest.raises(InputError, match=r"average\.safetensors is gone"):
        check_finished(averaged, ())


def test_checkpoints_are_those_that_exist(averaged):
    assert averaged.checkpoints == (averaged.best, averaged.last)
    averaged.average.touch()
    assert averaged.checkpoints == (averaged.best, averaged.last, averaged.average)
