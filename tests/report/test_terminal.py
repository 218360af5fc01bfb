"""The end of a comparison in a terminal: the verdict first, in few lines of at most 100 columns."""

import json
from pathlib import Path

import pytest

from robust_tickets.report.tables import timing
from robust_tickets.report.terminal import WIDTH, summary
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, write_json

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"


def lines_of(run):
    return summary(run).splitlines()


def test_the_verdict_comes_before_the_table_which_has_the_figures(run):
    lines = lines_of(run)
    head = next(i for i, line in enumerate(lines) if line.startswith("arm "))
    assert any("Against dense (3 epochs), the ticket took 0.80" in line for line in lines[:head])
    for row, line in zip(timing(run).itertuples(), lines[head + 2 :], strict=False):
        cells = line.split()
        assert cells[0] == row.arm
        assert cells[4:] == [
            f"{100 * row.robust_mean:.1f}",
            f"{100 * row.robust_vs_dense:+.1f}",
            f"{row.flops_vs_dense:.2f}",
            f"{row.seconds_vs_dense:.2f}",
        ]
    assert str(run.page) in lines[-1]


def test_marks_of_seconds_are_explained(run):
    for seed in (0, 1):
        ledger = run.search(seed).ledger
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"jobs": 3}))
    own = read_json(run.machine_file)
    write_json(run.machine_file, {**own, "others": [{**own, "cpu": "an abacus"}]})
    text = summary(run)
    assert "0.80†‡" in text
    assert "\n† Taken while up to 3 jobs ran at a time.\n" in text
    assert "\n‡ Of several machines: " in text


@pytest.mark.parametrize("name", ["cifar10-cpu", "cifar10-cpu-fast", "rivals-cpu"])
def test_it_fits_a_terminal(name):
    run = RunDirectory.open(REFERENCE / name)
    lines = lines_of(run)
    assert max(map(len, lines)) <= WIDTH
    assert not any(mark in line for line in lines for mark in ("**", "`", "|"))
    if len(run.recipe.compare.trained) < 8:  # with a line each, the search, two warnings and the path
        assert len(lines) + len(run.recipe.compare.trained) + 5 <= 40
