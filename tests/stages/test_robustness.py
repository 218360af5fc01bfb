"""robustness.csv over releases: what older files hold is kept, and what is damaged is refused."""

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

FIRST = """checkpoint,split,attack,eps,n,accuracy,seconds,forwards,backwards,rel_step,seed
best,test,clean,8/255,4,0.75,0.585,4,0,0.25,0
best,test,fgsm,8/255,4,0.5,0.824,8,4,0.25,0
best,test,pgd-20,8/255,4,0.25,0.9,80,79,0.25,0
"""
SECOND = "".join(
    f"{line},{last}\n" for line, last in zip(FIRST.splitlines(), ["norm", *["Linf"] * 3], strict=True)
)
LABELS = torch.tensor([0, 1, 0, 1])


def rows(**options) -> pd.DataFrame:
    """Three new rows of a net with four samples: clean, fgsm, and their worst case."""
    clean = RobustnessRow("clean", torch.tensor([True, True, True, False]), 0.1, 4, 0)
    fgsm = RobustnessRow("fgsm", torch.tensor([True, False, True, False]), 0.2, 7, 3, "steps=1", {"a": 1}, 2)
    where = {"checkpoint": "best", "split": "test", "rel_step": 0.25, "seed": 0, "source": ""} | options
    threat = Threat(Eps(where.pop("eps", "8/255")), where.pop("norm", "Linf"))
    return robustness_csv.result_table(
        [clean, fgsm, worst_case([clean, fgsm])], LABELS, 3, threat=threat, **where
    )


@pytest.mark.parametrize("text", [FIRST, SECOND], ids=["without norm", "with norm"])
def test_files_of_older_releases_are_read(text, tmp_path):
    (tmp_path / "robustness.csv").write_text(text)
    found = robustness_csv.read_rows(tmp_path / "robustness.csv")
    assert list(found.columns) == robustness_csv.COLUMNS
    assert list(found.accuracy) == [0.75, 0.5, 0.25]
    assert set(found.norm) == {"Linf"}
    assert set(found.eps) == {"8/255"}
    assert set(found.source) == {""}


@pytest.mark.parametrize("text", [FIRST, SECOND], ids=["without norm", "with norm"])
def test_new_rows_stand_in_for_the_old_ones_of_their_attack_and_no_other(text, tmp_path):
    file = tmp_path / "robustness.csv"
    file.write_text(text)
    robustness_csv.merge_rows(file, rows())
    found = robustness_csv.read_rows(file)
    assert list(found.attack) == ["pgd-20", "clean", "fgsm", "worst-case(clean fgsm)"]
    assert list(found.seconds) == [0.9, 0.1, 0.2, 0.3]
    old = file.read_text().splitlines()[1]
    assert old == "best,test,pgd-20,8/255,4,0.25,0.9,80,79,0.25,0,Linf,,,,,,,0,"
    assert found.by_class[2] == "[1.0, 0.0, null]"
    assert found.broken_by[2] == '{"a": 1}'


@pytest.mark.parametrize(
    "other",
    [
        {"eps": "16/255"},
        {"eps": "0.5", "norm": "L2"},
        {"source": "0123456789abcdef"},
        {"seed": 1},
        {"split": "val"},
        {"checkpoint": "last"},
        {"checkpoint": "1"},
        {"checkpoint": "NA"},
    ],
    ids=str,
)
def test_what_was_measured_otherwise_is_another_row(other, tmp_path):
    file = tmp_path / "robustness.csv"
    robustness_csv.merge_rows(file, rows())
    robustness_csv.merge_rows(file, rows(**other))
    assert len(robustness_csv.read_rows(file)) == 6
    before = file.read_bytes()
    robustness_csv.merge_rows(file, rows(**other))
    assert file.read_bytes() == before, "the same rows again change nothing"


def test_the_files_of_the_reference_run_are_read_and_kept(tmp_path):
    files = sorted(REFERENCE.glob("*/seed-*/*/robustness.csv"))
    assert files
    for number, file in enumerate(files):
        copy = tmp_path / f"{number}.csv"
        copy.write_bytes(file.read_bytes())
        before = robustness_csv.read_rows(copy)
        robustness_csv.merge_rows(copy, rows())
        after = robustness_csv.read_rows(copy)
        assert len(after) == len(before) + 3
        assert (
            after.iloc[: len(before)][robustness_csv._FIRST]
            .astype(str)
            .equals(before[robustness_csv._FIRST].astype(str))
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        FIRST.replace("accuracy", "acuracy"),
        FIRST + "x," * 40 + "\n",
        FIRST[:-20],
        FIRST.replace("0.75", "three"),
        '"unfinished',
        "\x00\x01\x02",
    ],
    ids=["empty", "others", "a column mistyped", "too many fields", "cut", "words", "open quote", "binary"],
)
def test_a_damaged_file_is_named_and_left_alone(text, tmp_path):
    file = tmp_path / "robustness.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv.*remove it and evaluate again"):
        robustness_csv.merge_rows(file, rows())
    assert file.read_text() == text


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "robustness.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match=r"cannot read .*robustness\.csv"):
        robustness_csv.read_rows(tmp_path / "robustness.csv")


def test_no_file_is_no_rows(tmp_path):
    assert list(robustness_csv.read_rows(tmp_path / "robustness.csv").columns) == robustness_csv.COLUMNS
    robustness_csv.merge_rows(tmp_path / "robustness.csv", rows())
    assert len(robustness_csv.read_rows(tmp_path / "robustness.csv")) == 3


def test_rows_for_people_stand_in_columns():
    *lines, note = robustness_csv.format_rows(rows()).splitlines()
    assert note.startswith("outside: images that a foreign attack left outside")
    said = [" ".join(line.split()) for line in lines]
    assert said[0] == "attack norm eps n accuracy 95 % interval seconds passes outside"
    assert said[1] == "clean Linf 8/255 4 75.00 % 30.1 to 95.4 0.1 4 0"
    assert said[2] == "fgsm Linf 8/255 4 50.00 % 15.0 to 85.0 0.2 10 2"
    assert said[3].startswith("worst case Linf 8/255 4 50.00 %")
    assert len(set(map(len, lines))) == 1
    none_outside = rows().assign(outside=0)
    assert "outside" not in robustness_csv.format_rows(none_outside)
