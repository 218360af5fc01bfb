"""The files of an evaluation: kept, added to, and apart where anything that verdicts depend on differs."""

from dataclasses import replace

import pandas as pd
import pytest
from evaluation_case import FGSM, SANITY, SILENT, evaluate, verdicts

import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.recipe.eps import Eps
from robust_tickets.stages.evaluate import evaluate_file

pytestmark = pytest.mark.usefixtures("no_sanity")


def test_more_attacks_later_leave_the_earlier_rows(new_copy):
    file, at_once = new_copy("later"), new_copy("at-once")
    evaluate(file, replace(FGSM, attacks=("pgd-3",)))
    seconds = pd.read_csv(file.with_name("robustness.csv")).seconds.tolist()
    for each in (file, at_once):
        evaluate(each, replace(FGSM, attacks=("pgd-3", "fgsm")))
    rows = pd.read_csv(file.with_name("robustness.csv"))
    assert rows.seconds[rows.attack.isin(["clean", "pgd-3"])].tolist() == seconds[:2]
    assert (rows.attack == "worst-case(clean pgd-3)").sum() == 1
    assert verdicts(file.parent, 2).tolist() == verdicts(at_once.parent, 2).tolist()


@pytest.mark.parametrize(
    "other", [{"limit": 30}, {"seed": 1}, {"split": "val"}, {"norm": "L2"}, {"attacks": ("clean",)}], ids=str
)
def test_other_images_seeds_and_balls_have_matrices_of_their_own(new_copy, other):
    file = new_copy("others")
    evaluate(file, FGSM)
    (first,) = file.parent.glob("verdicts-*.npz")
    before = first.read_bytes()
    evaluate(file, replace(FGSM, **other))
    expected = 1 if "attacks" in other else 2
    assert len(list(file.parent.glob("verdicts-*.npz"))) == expected
    assert first.read_bytes() == before


def test_a_damaged_sanity_report_is_refused_before_any_attack(new_copy, monkeypatch):
    file = new_copy("damaged")
    evaluate(file, FGSM)
    (kept,) = file.parent.glob("sanity-*")
    kept.write_text("{}", encoding="utf-8")
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.evaluate", None)
    with pytest.raises(InputError, match="remove it and evaluate again"):
        evaluate(file, FGSM)


def test_the_rows_are_shown_before_the_sanity_checks(new_copy, monkeypatch):
    shown = []

    def checks(*arguments):
        assert list(shown[0].attack) == ["clean", "fgsm", "worst-case(clean fgsm)"]
        return SanityReport((), 40, Passes())

    monkeypatch.setattr(SANITY, checks)
    evaluate_file(new_copy("shown"), SILENT, FGSM, on_rows=shown.append)
    assert len(shown) == 1


def test_another_spelling_of_the_eps_of_training_is_the_same(new_copy, tiny_recipe, monkeypatch):
    assert str(tiny_recipe.threat.eps) == "0.1"
    file = new_copy("written")
    evaluate(file, replace(FGSM, eps=()))
    before = (file.parent / "robustness.csv").read_bytes()
    monkeypatch.setattr(attacks.FGSM, "run", None)
    output = evaluate(file, replace(FGSM, eps=(Eps("1/10"),)))
    assert set(output.rows.eps) == {"0.1"}
    assert (file.parent / "robustness.csv").read_bytes() == before
