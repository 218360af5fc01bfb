"""Claims are decided by the published interval alone, from three seeds on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robust_tickets.report.claims import Claim, Contrast, contrast

TICKET = (0.41, 0.44, 0.43, 0.46, 0.42)
DENSE = (0.40, 0.41, 0.42, 0.43, 0.37)


def test_the_interval_of_a_worked_example_is_scipys():
    expected = stats.ttest_rel(TICKET, DENSE).confidence_interval(0.95)
    between = contrast("ticket minus dense", TICKET, DENSE).interval
    assert between == pytest.approx((expected.low, expected.high), rel=1e-12)


@settings(deadline=None, derandomize=True, database=None)
@given(
    differences=st.lists(st.floats(-1, 1), min_size=2, max_size=12).filter(lambda d: np.std(d, ddof=1) > 1e-6)
)
def test_any_interval_is_scipys(differences):
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    between = Contrast("any", tuple(differences)).interval
    assert between == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


CLEAR, LESS = (0.10, 0.11, 0.12), (-0.10, -0.11, -0.12)
NOISE = (0.1, -0.1, 0.02)


@pytest.mark.parametrize(
    ("differences", "kind", "status"),
    [
        ((), "more", "undecided"),
        ((0.3,), "more", "undecided"),
        (CLEAR[:2], "more", "undecided"),  # two seeds have an interval and give no verdict
        (CLEAR, "more", "holds"),
        (LESS, "more", "does not hold"),
        (NOISE, "more", "undecided"),
        ((*NOISE, 0.0), "more", "undecided"),
        ((*NOISE, 0.0, 0.05), "more", "undecided"),  # however many seeds: zero is within the interval
        (NOISE * 4, "more", "undecided"),
        ((0.001, -0.002, 0.003), "same", "holds"),
        (CLEAR, "same", "does not hold"),
        (LESS, "same", "does not hold"),
        (NOISE, "same", "undecided"),
        ((0.02, 0.021, 0.004), "same", "undecided"),
        ((*NOISE, 0.0, 0.05), "same", "undecided"),  # noise shows no difference
        ((0.03, 0.05, 0.04), "same", "does not hold"),
    ],
)
def test_the_interval_decides(differences, kind, status):
    assert Contrast("a minus b", differences, kind).status == status


def test_a_claim_holds_with_all_its_contrasts_and_fails_with_one():
    holds, fails, undecided = (Contrast("", d) for d in (CLEAR, LESS, NOISE))
    assert Claim("", (holds, holds)).status == "holds"
    assert Claim("", (holds, undecided)).status == "undecided"
    assert Claim("", (undecided, fails)).status == "does not hold"
    assert Claim("", ()).status == "undecided"


def test_a_verdict_has_the_figures_that_decide_it():
    text = str(Claim("Tickets are faster", (contrast("ticket minus dense", TICKET, DENSE),)))
    assert text.startswith("**Tickets are faster: holds at 5 seeds.**")
    assert "ticket minus dense: +2.6 points (95 % interval +0.5 to +4.7)" in text
    assert "by seed +1.0, +3.0, +1.0, +3.0, +5.0: holds" in text


def test_one_seed_gives_no_interval():
    text = str(Claim("Tickets are faster", (Contrast("ticket minus dense", (0.1,)),)))
    assert "undecided at 1 seed.** One seed gives no interval: run more, at least --seeds 3." in text
    assert "+10.0 points; by seed +10.0: undecided" in text
    two = str(Claim("Tickets are faster", (Contrast("ticket minus dense", (0.1, 0.2)),)))
    assert "A verdict needs 3 seeds." in two
