"""A study's table and verdict are made again from its files; a damaged table is refused in words."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.recipe.fields import StudySettings
from robust_tickets.recipe.studies import load_study
from robust_tickets.report.boosting import FIGURES
from robust_tickets.studies.study_files import StudyFolder, read_study, rounded

LR = load_study("lr")


@pytest.fixture
def base(tiny_recipe):
    return replace(tiny_recipe, study=StudySettings(lr=(0.02, 0.1)))


@pytest.fixture
def folder(base, tmp_path):
    """A study whose figures are made up: each is a third of its seed and setting."""
    folder = StudyFolder.of(tmp_path, LR, base)
    folder.write_recipe()
    folder.write(made_up_rows())
    return folder


def made_up_rows(settings=("0.02", "0.1")):
    rows = [
        {
            "setting": setting,
            "seed": seed,
            "arm": arm,
            **dict.fromkeys(FIGURES, (seed + float(setting)) / 3),
            "one_class": 0.12,
            "data": "made up",
            "run": "tiny-1",
        }
        for setting in settings
        for seed in (0, 1, 2)
        for arm in ("dense", "dense-short", "ticket", "ticket-reinit")
    ]
    return rounded(pd.DataFrame(rows))


def test_table_and_verdict_are_made_again_from_the_files(folder):
    assert read_study(folder.path) == (folder.table_file.read_text(), folder.verdict_file.read_text())
    assert "does not hold at 3 seeds" in folder.verdict_file.read_text()
    pd.testing.assert_frame_equal(StudyFolder.open(folder.path).read_rows(), made_up_rows())


def test_the_same_rows_give_the_same_bytes(folder):
    before = {file.name: file.read_bytes() for file in folder.path.iterdir()}
    folder.write(folder.read_rows())
    assert {file.name: file.read_bytes() for file in folder.path.iterdir()} == before
    assert sorted(before) == ["lr.csv", "lr.md", "lr.svg", "study.toml"]


def test_there_is_no_verdict_before_all_settings_have_rows(folder):
    folder.write(made_up_rows(settings=("0.1",)))
    assert "Not all settings are done yet: no verdict." in folder.verdict_file.read_text()


def test_other_settings_are_another_study(base, tmp_path):
    others = replace(base, study=StudySettings(lr=(0.02, 0.2)))
    elsewhere = replace(base, study=replace(base.study, ratio=(0.3, 0.4)))
    path = StudyFolder.of(tmp_path, LR, base).path
    assert StudyFolder.of(tmp_path, LR, others).path != path
    assert StudyFolder.of(tmp_path, LR, elsewhere).path == path


def damaged(rows, damage):
    """The text of a study's table with a fault."""
    text = rows.to_csv(index=False)
    lines = text.splitlines()
    if damage == "columns":
        return rows.iloc[:, :7].to_csv(index=False)
    if damage == "word":
        return rows.assign(early_robust=["x", *rows.early_robust[1:]]).to_csv(index=False)
    if damage == "twice":
        return "\n".join([*lines, lines[-1]]) + "\n"
    if damage == "cut":
        return "\n".join([*lines[:-1], ",".join(lines[-1].split(",")[:4])]) + "\n"
    if damage == "renamed":
        return rows.assign(setting="7").to_csv(index=False)
    if damage == "arm":
        return rows.replace("ticket", "tickets").to_csv(index=False)
    if damage == "no arm":
        return rows.drop(index=1).to_csv(index=False)
    if damage == "more columns":
        return rows.assign(luck=1).to_csv(index=False)
    return lines[0] + "\n" if damage == "nothing" else "\0"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("columns", "it has no column "),
        ("word", "its column early_robust has something that is no number"),
        ("arm", "it has an arm tickets, which the study has not at 0.02"),
        ("no arm", "it has no row of dense-short at 0.02, seed 0"),
        ("more columns", "it has a column luck, which no study has"),
        ("twice", "it has a row twice: 0.1, ticket-reinit, 2"),
        ("cut", "its row 24 is cut short"),
        ("renamed", "it has a setting 7, which the study has not"),
        ("nothing", "it has no rows"),
        ("noise", "cannot read"),
    ],
)
def test_a_damaged_table_is_refused_in_words(damage, message, folder):
    folder.table_file.write_text(damaged(made_up_rows(), damage))
    with pytest.raises(InputError, match=rf"{message}.*remove it and run the study again"):
        read_study(folder.path)


def test_a_folder_without_its_table_is_named(folder):
    folder.table_file.unlink()
    with pytest.raises(InputError, match="has no table of a study: run the study again"):
        read_study(folder.path)


REFERENCE = Path(__file__).parents[2] / "runs" / "reference" / "studies"


@pytest.mark.parametrize("file", sorted(REFERENCE.glob("*/study.toml")), ids=lambda file: file.parent.name)
def test_the_published_verdicts_are_those_of_their_figures(file, capsys):
    (verdict,) = file.parent.glob("*.md")
    main(["table", str(file.parent)])
    assert capsys.readouterr().out == verdict.read_text(encoding="utf-8")
