"""The timing table from made-up run directories, against numpy."""

import json

import numpy as np
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.report.plots import curves
from robust_tickets.report.read import missing_part
from robust_tickets.report.tables import markdown, timing
from robust_tickets.report.write import csv
from robust_tickets.runs.directory import RunDirectory


def test_means_and_sample_deviations(run, robust):
    table = timing(run).set_index("arm")
    for arm, values in robust.items():
        assert table.pgd20_mean[arm] == pytest.approx(np.mean(values))
        assert table.pgd20_sd[arm] == pytest.approx(np.std(values, ddof=1))
        assert table.pgd20_last_mean[arm] == pytest.approx(np.mean(values) - 0.05)
    assert table.total_flops["ticket"] == 80
    assert table.flops_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.total_s["ticket"] == pytest.approx(3 + 5)
    assert table.seconds_vs_dense["ticket"] == pytest.approx(0.8)
    assert table.pgd20_vs_dense["ticket"] == pytest.approx(
        np.mean(robust["ticket"]) - np.mean(robust["dense"])
    )


def test_one_seed_has_no_deviation(run):
    run.arm(1, "ticket").ledger.unlink()
    table = timing(run)
    assert (table.seeds == 1).all(), "a seed that lacks an arm counts for none"
    assert table.pgd20_sd.isna().all()
    first = csv(run).splitlines()[1].split(",")
    assert first[6] == ""
    assert "no spread is known" in markdown(run)


def test_an_arm_evaluated_on_fewer_images_is_not_complete(run):
    for seed in (0, 1):
        file = run.arm(seed, "dense").robustness
        file.write_text(file.read_text().replace(",50,", ",30,"))
    with pytest.raises(InputError, match=r"no seed in .* has all of dense, ticket"):
        timing(run)


def test_damaged_files_are_named(run):
    run.arm(0, "dense").metrics.write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*metrics\.jsonl"):
        timing(run)
    run.arm(0, "dense").robustness.write_text("nonsense")
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv"):
        timing(run)


def test_records_that_lack_a_key_are_named(run):
    for name, key in (("arm.json", "fingerprint"), ("ledger.json", "charged_seconds")):
        file = run.arm(0, "dense").path / name
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


ODD = {
    "an accuracy above 1": (
        "dense/robustness.csv",
        ",0.6,",
        ",7.0,",
        "an accuracy of 7, which is no fraction",
    ),
    "an accuracy below 0": ("dense/robustness.csv", ",0.6,", ",-0.1,", "an accuracy of -0.1"),
    "seconds below 0": (
        "dense/ledger.json",
        '"charged_seconds": ',
        '"charged_seconds": -',
        "charged_seconds",
    ),
    "passes as text": (
        "dense/ledger.json",
        '"charged_passes": 200',
        '"charged_passes": "x"',
        "'x' for charged_p",
    ),
    "no number": (
        "ticket/ledger.json",
        '"charged_flops": 50',
        '"charged_flops": NaN',
        "nan for charged_flops",
    ),
    "another arm": ("dense/arm.json", "{", '{"arm": "ticket", ', "is of the arm ticket"),
    "no table": ("search/ledger.json", "{", "[1, 2] #{", "cannot read"),
}


@pytest.mark.parametrize("case", ODD)
def test_figures_that_nothing_can_have_given_make_no_table(case, run):
    name, old, new, said = ODD[case]
    file = run.arm(0, "dense").path.parent / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as caught:
        timing(run)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"cpu": "x"}'])
def test_an_odd_description_of_the_machine_is_named(content, run):
    (run.path / "env.json").write_text(content)
    with pytest.raises(InputError, match=r"env\.json .*remove that file and run compare again"):
        markdown(run)


@pytest.mark.parametrize("name", ["arm.json", "ledger.json", "metrics.jsonl", "robustness.csv"])
def test_what_an_arm_lacks_is_said(name, run):
    assert missing_part(run, 0, "ticket") == ""
    file = run.arm(0, "ticket").path / name
    file.unlink()
    assert missing_part(run, 0, "ticket") == f"there is no {file}"
