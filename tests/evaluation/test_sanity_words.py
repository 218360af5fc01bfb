"""The words of the checks: the measured values in a line, and their meaning where they are bad."""

import re

import pytest
import torch

from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.result import RobustnessRow
from robust_tickets.evaluation.sanity_report import SanityCheck, SanityReport, order_of_attacks, order_of_eps


def row(name: str, right: int, n: int = 400) -> RobustnessRow:
    steps = re.search(r"pgd-(\d+)|steps=(\d+)", name)
    settings = f"steps={steps[1] or steps[2]} rel_step=0.25" if steps else ""
    return RobustnessRow(name, torch.arange(n) < right, 1.0, n, n, settings)


def test_fgsm_is_compared_with_the_strongest_pgd():
    rows = [row("clean", 360), row("fgsm", 240), row("pgd-20", 260), row("pgd(steps=100, loss='ce')", 220)]
    (check,) = order_of_attacks(rows)
    assert check.passed
    assert check.figure == "FGSM 60.0 %, PGD 55.0 %, of 400"


@pytest.mark.parametrize(("fgsm", "passed"), [(200, True), (198, True), (197, False), (0, False)])
def test_fgsm_may_be_stronger_than_pgd_by_a_sample_in_two_hundred(fgsm, passed):
    (check,) = order_of_attacks([row("clean", 360), row("fgsm", fgsm), row("pgd-20", 200)])
    assert check.passed is passed


@pytest.mark.parametrize(("fgsm", "passed"), [(8, True), (7, False)])
def test_of_few_samples_two_may_differ(fgsm, passed):
    (check,) = order_of_attacks([row("fgsm", fgsm, n=20), row("apgd(loss='dlr')", 10, n=20)])
    assert check.passed is passed
    (check,) = order_of_eps({"2/255": 0.4, "4/255": fgsm and 0.9 - fgsm * 0.05}, 20)
    assert check.passed is passed


@pytest.mark.parametrize("names", ["clean fgsm", "clean pgd-20", "fgsm pgd-1", "fgsm pgd-4", "fgsm square"])
def test_without_both_there_is_no_check(names):
    assert list(order_of_attacks([row(name, 100) for name in names.split()])) == []


@pytest.mark.parametrize(
    ("worst", "passed"),
    [
        ({"2/255": 0.8, "4/255": 0.6, "8/255": 0.6}, True),
        ({"2/255": 0.8, "4/255": 0.804, "8/255": 0.6}, True),
        ({"2/255": 0.8, "4/255": 0.81, "8/255": 0.6}, False),
        ({"2/255": 0.5, "4/255": 0.4, "8/255": 0.45}, False),
    ],
)
def test_robust_accuracy_must_fall_as_eps_grows(worst, passed):
    (check,) = order_of_eps(worst, 1000)
    assert check.passed is passed
    assert check.name == "robust accuracy falls as eps grows"
    assert check.figure.startswith(f"{100 * worst['2/255']:.1f} % at 2/255, ")
    assert list(order_of_eps({"8/255": 0.5}, 1000)) == []  # one eps alone is not compared


def test_a_warning_has_the_measured_values_and_their_meaning():
    good, bad = (
        SanityCheck("one", "1 of 2", True, "unused"),
        SanityCheck("two", "3 of 4", False, "believe nothing"),
    )
    sanity = SanityReport((good,), 4, Passes(1)).merge([bad])
    assert sanity.checks == (good, bad)
    assert (sanity.samples, sanity.passes) == (4, Passes(1))
    assert sanity.warnings == ["two: 3 of 4; believe nothing"]
    assert str(sanity) == "pass  one: 1 of 2\nWARN  two: 3 of 4\n      believe nothing"


def test_a_warning_says_what_was_found_and_not_the_rule():
    for name, words in {
        "the network is deterministic": "the network is not deterministic",
        "FGSM is no stronger than PGD at 4/255": "FGSM is stronger than PGD at 4/255",
        "almost no sample is robust at eps 64/255": "many samples are robust at eps 64/255",
    }.items():
        assert SanityCheck(name, "", False, "").finding == words
        assert SanityCheck(name, "", True, "").finding == name
