"""Claims stand or fall by the published interval and the seeds behind it."""

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
    found = contrast("ticket minus dense", TICKET, DENSE).between
    assert found == pytest.approx((expected.low, expected.high), rel=1e-12)


@settings(deadline=None, derandomize=True, database=None)
@given(
    differences=st.lists(st.floats(-1, 1), min_size=2, max_size=12).filter(lambda d: np.std(d, ddof=1) > 1e-6)
)
def test_so_is_that_of_any_other(differences):
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    found = Contrast("any", tuple(differences)).between
    assert found == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


CLEAR, LESS = (0.10, 0.11, 0.12), (-0.10, -0.11, -0.12)
NOISE = (0.1, -0.1, 0.02)


@pytest.mark.parametrize(
    ("differences", "claimed", "status"),
    [
        ((), "more", "undecided"),
        ((0.3,), "more", "undecided"),
        (CLEAR[:2], "more", "undecided"),  # two seeds have an interval and give no verdict
        (CLEAR, "more", "holds"),
        (LESS, "more", "does not hold"),
        (NOISE, "more", "undecided"),
        ((*NOISE, 0.0), "more", "undecided"),
        ((*NOISE, 0.0, 0.05), "more", "does not hold"),  # five are enough to say that it is not seen
        ((0.001, -0.002, 0.003), "same", "holds"),
        (CLEAR, "same", "does not hold"),
        (LESS, "same", "does not hold"),
        (NOISE, "same", "undecided"),
        ((0.02, 0.021, 0.004), "same", "undecided"),
        ((*NOISE, 0.0, 0.05), "same", "undecided"),  # noise shows no difference
        ((0.03, 0.05, 0.04), "same", "does not hold"),
    ],
)
def test_what_an_interval_and_its_seeds_say(differences, claimed, status):
    assert Contrast("a minus b", differences, claimed).status == status


def test_a_claim_holds_with_all_its_contrasts_and_falls_with_one():
    holds, falls, open_ = (Contrast("", d) for d in (CLEAR, LESS, NOISE))
    assert Claim("", (holds, holds)).status == "holds"
    assert Claim("", (holds, open_)).status == "undecided"
    assert Claim("", (open_, falls)).status == "does not hold"
    assert Claim("", ()).status == "undecided"


def test_what_is_said_has_the_figures_it_rests_on():
    said = str(Claim("Tickets are faster", (contrast("ticket minus dense", TICKET, DENSE),)))
    assert said.startswith("**Tickets are faster: holds at 5 seeds.**")
    assert "ticket minus dense: +2.6 points (95 % interval +0.5 to +4.7)" in said
    assert "by seed +1.0, +3.0, +1.0, +3.0, +5.0: holds" in said


def test_one_seed_says_that_it_cannot_give_an_interval():
    said = str(Claim("Tickets are faster", (Contrast("ticket minus dense", (0.1,)),)))
    assert "undecided at 1 seed.** One seed cannot give an interval: run more, --seeds 3 at least." in said
    assert "+10.0 points; by seed +10.0: undecided" in said
    two = str(Claim("Tickets are faster", (Contrast("ticket minus dense", (0.1, 0.2)),)))
    assert "A verdict needs 3 seeds and an interval that excludes zero, or 5." in two
