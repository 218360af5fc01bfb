"""The answers of a frontier, against values computed by hand or by scipy."""

import re

import numpy as np
import pytest
from frontier_case import candidate, frontier
from scipy import stats

from robust_tickets.base.errors import InputError
from robust_tickets.report.frontier_answers import Question, answers

DENSE = candidate("dense", 100, [0.40, 0.41, 0.42])
# differences from dense: -0.3, -0.2 and -0.4 points
NEAR = candidate("ticket", 40, [0.397, 0.408, 0.416])
# -0.4, +2.0 and -3.0 points: the same mean of about -0.5 and a wide interval
WIDE = candidate("dense-short", 30, [0.396, 0.430, 0.390])
FAR = candidate("dense-equal-cost", 20, [0.30, 0.31, 0.32])


def within(*candidates, **question):
    return answers(frontier(*candidates), Question(**question))[-1]


def target(accuracy, *candidates, **question):
    return answers(frontier(*candidates), Question(target=accuracy, **question))[1]


def test_who_is_on_the_front_is_said_first():
    first, *_ = answers(frontier(DENSE, NEAR, FAR, candidate("dense-best", 50, [0.3, 0.3, 0.3])), Question())
    assert first == (
        "On the front of FLOPs and PGD-20: `dense-equal-cost` (0.20 of `dense`'s, 31.0 %), `ticket` (0.40 of "
        "`dense`'s, 40.7 %), `dense` (1.00 of `dense`'s, 41.0 %)."
    )


def test_the_cheapest_arm_within_some_points_and_its_interval():
    low, high = stats.t.interval(0.95, 2, loc=-0.3, scale=0.1 / 3**0.5)  # of -0.2, -0.3, -0.4
    assert within(DENSE, NEAR, FAR, within=0.6) == (
        "The cheapest arm within 0.6 points of `dense` is `ticket`, at 0.40 of `dense`'s FLOPs and 0.40 of "
        f"its seconds: -0.3 points (95 % interval {low:+.1f} to {high:+.1f} over 3 seeds). "
        "**It holds**: nothing in the interval is more than 0.6 points less."
    )


def test_an_interval_with_worse_in_it_is_undecided():
    text = within(DENSE, NEAR, FAR, within=0.5)  # the interval's low end is -0.548
    assert "is `ticket`, at 0.40" in text
    assert text.endswith("**Undecided**: the interval includes more than 0.5 points less.")


def test_the_cheapest_for_which_it_holds_is_named_beside_an_undecided_one():
    text = within(DENSE, NEAR, WIDE, FAR, within=0.6)
    assert "is `dense-short`, at 0.30 of" in text
    assert (
        "**Undecided**: the interval includes more than 0.6 points less. The cheapest for which it holds"
        in text
    )
    assert "holds is `ticket`, at 0.40 of `dense`'s FLOPs" in text


@pytest.mark.parametrize(("points", "arm"), [(1.0, "ticket"), (0.99, "dense-short")])
def test_exactly_as_many_points_are_within(points, arm):
    """0.40 - 0.39 is a little more than 0.01 in floats."""
    text = within(
        candidate("dense", 100, [0.40] * 3),
        candidate("ticket", 10, [0.39] * 3),
        candidate("dense-short", 20, [0.40] * 3),
        within=points,
    )
    assert f"is `{arm}`" in text
    assert "**It holds**" in text


@pytest.mark.parametrize("n", [1, 2])
def test_few_seeds_have_no_interval(n):
    equal = candidate("dense-best", 90, DENSE.robust)  # whose interval would be a point
    text = within(*(candidate(c.arm, c.flops[0], c.robust[:n]) for c in (DENSE, NEAR, equal)))
    assert "interval -" not in text
    assert text.endswith(
        f"points. **Undecided**: with {n} seed{'s' * (n > 1)} no interval is known (at least 3 are needed)."
    )


def test_the_nearest_is_named_where_none_is_within():
    assert within(DENSE, FAR).startswith(
        "No cheaper arm is within 0.5 points of `dense`: the nearest is `dense-equal-cost`, at 0.20 of "
        "`dense`'s FLOPs and 0.20 of its seconds: -10.0 points (95 % interval -10.0 to -10.0"
    )


def test_the_cheapest_arm_has_none_below_it():
    assert within(DENSE, NEAR, of="ticket") == "No arm is cheaper than `ticket`."


def test_the_cheapest_in_seconds_may_be_another_arm():
    slow = candidate("ticket", 40, NEAR.robust, seconds=(1100, 1200, 1300))
    fast = candidate("dense-best", 90, NEAR.robust, seconds=(500, 600, 700))
    assert "is `ticket`, at 0.40 of `dense`'s FLOPs and 1.20 (0.97 to 1.47) of its seconds" in within(
        DENSE, slow, fast
    )
    assert "is `dense-best`, at 0.60 (0.39 to 0.90) of `dense`'s seconds and 0.90 of its FLOPs" in within(
        DENSE, slow, fast, cost="seconds"
    )
    assert "reaches 40 % is `dense-best`, at 0.60" in target(0.4, DENSE, slow, fast, cost="seconds")


@pytest.mark.parametrize("seconds", [(100, 600, 2000), (1000, 1400, 1500)])
def test_the_interval_of_a_ratio_is_that_of_its_logarithm(seconds):
    """The interval of the first ratios themselves would begin below 0."""
    logs = np.log(np.array(seconds) / 1000)
    low, high = np.exp(stats.t.interval(0.95, 2, loc=np.mean(logs), scale=stats.sem(logs)))
    text = within(DENSE, candidate("ticket", 40, NEAR.robust, seconds=seconds))
    assert f"and {sum(seconds) / 3000:.2f} ({low:.2f} to {high:.2f}) of its seconds" in text
    assert low > 0


def test_seconds_have_their_marks():
    marked = candidate("ticket", 40, NEAR.robust, jobs=2, machines=2)
    assert "and 0.40†‡ of its seconds" in within(DENSE, marked)
    first, *_ = answers(frontier(DENSE, marked), Question(cost="seconds"))
    assert "`ticket` (0.40†‡ of `dense`'s, 40.7 %), `dense` (1.00 of `dense`'s" in first


def test_the_cheapest_arm_that_reaches_a_target():
    low, high = (100 * end for end in stats.t.interval(0.95, 2, loc=0.407, scale=stats.sem(NEAR.robust)))
    assert target(0.4, DENSE, NEAR, FAR) == (
        "The cheapest arm that reaches 40 % is `ticket`, at 0.40 of `dense`'s FLOPs and 0.40 of its seconds: "
        f"40.7 % (95 % interval {low:.1f} to {high:.1f} over 3 seeds); 2 of 3 seeds reach it. "
        "**Undecided**: the interval includes less than 40 %."
    )
    assert target(0.38, DENSE, NEAR, FAR).endswith("**It holds**: nothing in the interval is less than 38 %.")
    assert "with 1 seed no interval is known" in target(0.3, candidate("dense", 1, [0.4]))


def test_a_target_that_no_arm_reaches_is_answered_with_the_best():
    message = "no arm reaches 41.5 % under PGD-20: the best is dense with 41.0 %; give a --target up to 0.41"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        target(0.415, NEAR, DENSE)
    assert target(0.41, NEAR, DENSE)
    with pytest.raises(InputError, match=r"with 41\.1 %; give a --target up to 0\.41$"):
        target(0.5, candidate("dense", 1, [0.4106, 0.4107]))


def test_another_arm_than_those_there_is_refused_with_their_names():
    with pytest.raises(
        InputError, match="no arm 'dens' on this frontier: choose --of from 'dense', 'ticket'"
    ):
        within(DENSE, NEAR, of="dens")


def test_an_arm_without_seconds_is_in_no_answer_about_seconds():
    elsewhere = candidate("ticket", 40, NEAR.robust, seconds=(), no_seconds="elsewhere")
    assert "is `ticket`, at 0.40 of `dense`'s FLOPs: -0.3" in within(DENSE, elsewhere)
    assert within(DENSE, elsewhere, cost="seconds") == "No arm is cheaper than `dense`."
    with pytest.raises(
        InputError, match=r"^the seconds of ticket cannot .* taken elsewhere: choose --cost f"
    ):
        within(DENSE, elsewhere, cost="seconds", of="ticket")
