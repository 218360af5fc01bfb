"""robustness.csv: rows are merged by what they measure, and a damaged file is refused and left alone."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation import robustness_csv
from robust_tickets.evaluation.result import RobustnessRow, worst_case
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Threat

REFERENCE = Path(__file__).parents[2] / "runs" / "reference"
LABELS = torch.tensor([0, 1, 0, 1])
CLEAN = RobustnessRow("clean", torch.tensor([True, True, True, False]), 0.1, 4, 0)
FGSM = RobustnessRow("fgsm", torch.tensor([True, False, True, False]), 0.2, 7, 3, "steps=1", {"a": 1}, 2)


def table(*rows, eps="8/255", norm="Linf", **where) -> pd.DataFrame:
    """The table of a network with four samples; by default of clean, fgsm, and their worst case."""
    rows = list(rows) or [CLEAN, FGSM, worst_case([CLEAN, FGSM])]
    where = {"checkpoint": "best", "split": "test", "rel_step": 0.25, "seed": 0, "source": ""} | where
    return robustness_csv.result_table(rows, LABELS, 3, Threat(Eps(eps), norm), where)


@pytest.fixture
def file(tmp_path) -> Path:
    robustness_csv.merge_rows(tmp_path / "robustness.csv", table())
    return tmp_path / "robustness.csv"


def test_rows_come_back_as_they_were_written(file):
    rows = robustness_csv.read_rows(file)
    assert list(rows.columns) == robustness_csv.COLUMNS
    assert rows.to_dict("records") == table().to_dict("records")
    assert rows.by_class[1] == "[1.0, 0.0, null]"
    assert rows.broken_by.tolist() == ["", '{"a": 1}', ""]


def test_a_new_row_replaces_that_of_its_attack_alone(file):
    robustness_csv.merge_rows(file, table(CLEAN, RobustnessRow("fgsm", FGSM.robust, 9.0, 7, 3)))
    rows = robustness_csv.read_rows(file)
    assert list(rows.attack) == ["worst-case(clean fgsm)", "clean", "fgsm"]
    assert list(rows.seconds) == [0.3, 0.1, 9.0]


@pytest.mark.parametrize(
    "other",
    [
        {"eps": "16/255"},
        {"eps": "0.5", "norm": "L2"},
        {"source": "0123456789abcdef"},
        {"seed": 1},
        {"split": "val"},
        {"checkpoint": "NA"},
    ],
    ids=str,
)
def test_another_measurement_is_another_row(other, file):
    robustness_csv.merge_rows(file, table(**other))
    assert len(robustness_csv.read_rows(file)) == 6
    content = file.read_bytes()
    robustness_csv.merge_rows(file, table(**other))
    assert file.read_bytes() == content, "the same rows again change nothing"


def test_the_files_of_the_reference_runs_are_read_and_stay(tmp_path):
    files = sorted(REFERENCE.glob("*/seed-*/*/robustness.csv"))
    assert files
    for number, original in enumerate(files):
        copy = tmp_path / f"{number}.csv"
        copy.write_bytes(original.read_bytes())
        before = robustness_csv.read_rows(copy)
        robustness_csv.merge_rows(copy, table())
        after = robustness_csv.read_rows(copy)
        assert len(after) == len(before) + 3
        assert after.iloc[: len(before)].equals(before.astype(after.dtypes))


DAMAGE = {
    "another table": lambda text: "a,b\n1,2\n",
    "a column mistyped": lambda text: text.replace("accuracy", "acuracy"),
    "a column missing": lambda text: "\n".join(line.rpartition(",")[0] for line in text.splitlines()),
    "too many fields": lambda text: text + "x," * 40 + "\n",
    "cut": lambda text: text[:-45],
    "words": lambda text: text.replace("0.75", "three", 1),
    "open quote": lambda text: '"unfinished',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_left_alone(damage, file):
    text = DAMAGE[damage](file.read_text())
    file.write_text(text)
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv.*remove it and evaluate again"):
        robustness_csv.merge_rows(file, table())
    assert file.read_text() == text


@pytest.mark.parametrize("content", [b"", bytes(range(128, 256))])
def test_a_file_that_is_empty_or_no_text_is_named(content, tmp_path):
    file = tmp_path / "robustness.csv"
    assert list(robustness_csv.read_rows(file).columns) == robustness_csv.COLUMNS  # no file, no rows
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv"):
        robustness_csv.read_rows(file)


def test_rows_for_people_stand_in_columns():
    *lines, note = robustness_csv.format_rows(table()).splitlines()
    assert note.startswith("outside: images that a third-party attack left outside")
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "attack norm eps n accuracy 95 % interval seconds passes outside"
    assert words[1] == "clean Linf 8/255 4 75.00 % 30.1 to 95.4 0.1 4 0"
    assert words[2] == "fgsm Linf 8/255 4 50.00 % 15.0 to 85.0 0.2 10 2"
    assert words[3].startswith("worst case Linf 8/255 4 50.00 %")
    assert len(set(map(len, lines))) == 1
    assert "outside" not in robustness_csv.format_rows(table().assign(outside=0))
