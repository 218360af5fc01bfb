"""One record and one line make a study: no other file of the package is touched."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from robust_tickets.recipe.studies import STUDIES, load_study
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.studies.base import Study
from robust_tickets.tickets.ticket import Ticket

HERE = Path(__file__).parent


def run(*words):
    path = os.pathsep.join([str(HERE), *sys.path])
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made-up")


@pytest.fixture(scope="module")
def used(folder):
    process = run(str(HERE / "use_made_up_study.py"), str(folder))
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def rows(used):
    return pd.read_csv(io.StringIO(used["files"]["search-batch.csv"]))


def test_its_settings_are_flags_with_help(used):
    text = " ".join(used["help"].split())
    flag = "--study.search-batch N... study search-batch: images in a batch of the search (default: 16 32)"
    assert flag in text
    assert "search-batch: does the batch of the search matter?" in text
    assert used["heavy"] == []


def test_it_has_a_table_a_figure_and_a_verdict(used, rows):
    assert sorted(used["files"]) == [
        ".lock", "search-batch.csv", "search-batch.md", "search-batch.svg", "study.toml"
    ]  # fmt: skip
    assert not rows.duplicated(["setting", "seed", "arm"]).any()
    arms = {"dense", "ticket", "ticket-from"}
    assert {(row.setting, row.seed, row.arm) for row in rows.itertuples()} == {
        (setting, seed, arm) for setting in (32, 64) for seed in (0, 1) for arm in arms
    }
    verdict = used["files"]["search-batch.md"]
    assert "**Adversarial searches find tickets that converge faster: undecided at 2 seeds.**" in verdict
    assert ">batch of the search<" in used["files"]["search-batch.svg"]


def test_its_table_and_verdict_are_made_again_from_its_files(used):
    assert used["table"] == {
        "csv": used["files"]["search-batch.csv"], "markdown": used["files"]["search-batch.md"]
    }  # fmt: skip


def test_figures_are_those_of_the_run_directories(rows, folder):
    for row in rows[rows.arm != "ticket-from"].itertuples():
        directory = RunDirectory.open(folder / row.run)
        result = arm_result(directory, row.seed, row.arm)
        assert directory.recipe.search.batch == row.setting
        assert row.flops == result.ledger["charged_flops"]
        assert row.test_pgd20 == pytest.approx(result.accuracy["best", "pgd-20"], abs=1e-6)
        assert row.test_pgd20_last == pytest.approx(result.accuracy["last", "pgd-20"], abs=1e-6)


def test_the_ticket_of_another_recipe_is_charged_its_own_search(rows):
    """A natural search takes fewer passes than one with an attack."""
    search = rows.set_index(["setting", "seed", "arm"]).search_flops.unstack()
    assert (search["ticket-from"] > 0).all()
    assert (search["ticket-from"] < search.ticket).all()


def test_cells_share_their_dense_arms_and_finished_cells_are_not_run_again(used):
    seed_0, seed_1 = used["log"].split("study search-batch, seed 1, setting 32")
    assert "epoch" not in seed_0
    assert seed_1.count("copied from") == 1  # dense of setting 64
    verdict, log = used["again"]
    assert used["files"]["search-batch.md"] in verdict
    assert "epoch" not in log
    assert "copied from" not in log


def test_the_estimate_counts_what_is_trained_and_once(used, folder):
    arms = {
        read_json(file)["key"]: read_json(file.parent / "ledger.json")
        for file in folder.glob("*/seed-0/*/arm.json")
    }
    searches = {
        Ticket.load(file).hash: read_json(file.parent / "ledger.json")
        for file in folder.glob("*/seed-0/search/ticket.safetensors")
    }
    planned = re.findall(r"^ *(search|dense|ticket).* (\d+) +[\d.]+ [GT]", used["estimate"], re.MULTILINE)
    for ledgers, is_search in ((searches, True), (arms, False)):
        passes = [int(number) for name, number in planned if (name == "search") == is_search]
        assert len(passes) == len(ledgers)
        assert sum(passes) == sum(ledger["charged_passes"] for ledger in ledgers.values())


COMPLETE = ("name", "question", "help", "setting_type", "defaults", "cells", "hypotheses", "figure", "axis")


@pytest.mark.parametrize("field", COMPLETE)
def test_a_record_that_lacks_a_field_is_refused_when_it_is_made(field, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import made_up_study

    assert tuple(made_up_study.COMPLETE) == COMPLETE
    with pytest.raises(TypeError, match=field):
        Study(**{name: value for name, value in made_up_study.COMPLETE.items() if name != field})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "Search Batch", "name it in small letters"),
        ("question", "the batch matters", "give it a question that ends with '?'"),
        ("help", " ", "give it a help text"),
        ("defaults", (), "give it at least 1 defaults"),
        ("cells", None, "give it cells"),
        ("hypotheses", None, "give it hypotheses"),
        ("figure", "late", "let its figure be early or end"),
        ("axis", "", "give it a label of its axis"),
    ],
)
def test_a_record_that_cannot_be_run_is_refused_when_it_is_made(field, value, message, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    import made_up_study

    with pytest.raises(ValueError, match=message):
        Study(**{**made_up_study.COMPLETE, field: value})


def test_a_line_that_names_another_record_is_refused(monkeypatch):
    monkeypatch.setitem(STUDIES, "odd", "robust_tickets.studies.lr:STUDY")
    with pytest.raises(TypeError, match=r"the study odd .* is no Study of that name"):
        load_study("odd")


def test_it_is_refused_when_the_recipe_is_imported_and_not_after_training():
    line = "from robust_tickets.recipe.studies import STUDIES; STUDIES['odd'] = 'made_up_study:STUDY'"
    process = run("-c", f"{line}\nimport robust_tickets.recipe.fields")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("TypeError: the study odd (made_up_study:STUDY)")
