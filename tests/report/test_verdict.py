"""The text under the table, and claims: they say what the interval and its seeds support, and no more."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report import verdict as module
from robust_tickets.report.claims import Claim, Contrast, contrast
from robust_tickets.report.read import ArmResult

REWINDING = Recipe()
FINE_TUNING = replace(REWINDING, search=replace(REWINDING.search, after="lr-rewind"))


def verdict(results, recipe=REWINDING):
    return module.verdict(results, recipe)


def arm(name, epochs, robust, flops, search=None):
    """The results of an arm: robust accuracies, a fraction a seed, and FLOPs."""

    def ledger(f):
        return {"charged_flops": f, "charged_seconds": f / 2, "charged_passes": f}

    before, about = search and ledger(search), {"epochs": epochs, "test_images": 100}
    return [
        ArmResult(name, seed, about, ledger(flops), before, [], {("last", "pgd-20"): fraction})
        for seed, fraction in enumerate(robust)
    ]


def table(ticket, equal):
    n = len(ticket)
    return {
        "dense": arm("dense", 12, [0.25] * n, 120),
        "dense-short": arm("dense-short", 6, [0.22] * n, 60),
        "dense-equal-cost": arm("dense-equal-cost", 10, equal, 100),
        "ticket": arm("ticket", 6, ticket, 60, search=36),
    }


def test_figures_are_those_of_the_arms():
    text = verdict(table([0.23], [0.24]))
    assert "took 0.80 of the FLOPs and 0.80 of the seconds, search included, at 23.0 % robust" in text
    assert "accuracy (last epoch) under PGD-20 against 25.0 % (-2.0 points)" in text
    assert "`dense-short`, the same 6 epochs with no search, took 0.50 of the FLOPs at 22.0 %" in text


@pytest.mark.parametrize(("jobs", "machines", "marks"), [(1, 1, ""), (2, 1, "†"), (1, 2, "‡"), (2, 2, "†‡")])
def test_ratios_of_seconds_have_the_marks_of_the_table_and_flops_none(jobs, machines, marks):
    results = table([0.23], [0.24])
    results["dense"][0].ledger["jobs"] = jobs
    text = module.verdict(results, REWINDING, machines)
    assert f"took 0.80 of the FLOPs and 0.80{marks} of the seconds" in text


@pytest.mark.parametrize("ticket", [[0.24, 0.24], [0.25, 0.20], [0.1, 0.1]])
def test_not_better_at_equal_cost_is_no_saving(ticket):
    assert "no saving shown against dense at equal cost" in verdict(table(ticket, [0.24, 0.24]))


@pytest.mark.parametrize("n", [1, 2])
def test_few_seeds_cannot_tell_a_saving(n):
    text = verdict(table([0.30] * n, [0.24] * n))
    assert "saves against" not in text
    assert f"{n} seed" in text
    assert "cannot tell a saving from chance" in text


def beside_a_new_init(ticket, reinit, recipe=REWINDING):
    results = table(ticket, ticket)
    results["ticket-reinit"] = arm("ticket-reinit", 6, reinit, 60, search=36)
    return verdict(results, recipe)


@pytest.mark.parametrize(
    ("ticket", "reinit"), [([0.24], [0.24]), ([0.2, 0.2, 0.21], [0.24, 0.25, 0.24])], ids=["mean", "interval"]
)
def test_a_ticket_no_better_than_its_mask_with_a_new_init_is_no_winning_one(ticket, reinit):
    text = beside_a_new_init(ticket, reinit)
    assert "**no winning ticket at learning rate 0.1**. Try a warm-up (search.warmup) or rewinding" in text
    warm = replace(REWINDING, search=replace(REWINDING.search, warmup=0.1, rewind_epochs=1))
    assert "Try a lower learning rate." in beside_a_new_init(ticket, reinit, warm)
    assert "winning" not in beside_a_new_init(ticket, reinit, FINE_TUNING)


def test_a_winning_ticket_is_ahead_beyond_chance():
    text = beside_a_new_init([0.30, 0.31, 0.305], [0.24, 0.245, 0.24])
    assert "the ticket is +6.3 points" in text
    assert "winning" not in text
    for few in ([0.30], [0.30, 0.24, 0.25]):
        text = beside_a_new_init(few, [0.24, 0.245, 0.24][: len(few)])
        assert "whether it is a winning ticket is undecided" in text


def test_an_interval_that_excludes_zero_is_a_saving():
    assert "it saves against dense at equal cost" in verdict(table([0.30, 0.31, 0.305], [0.24, 0.245, 0.24]))


def test_an_interval_that_includes_zero_is_chance():
    text = verdict(table([0.30, 0.24, 0.245], [0.24, 0.25, 0.24]))
    assert "not beyond chance" in text
    assert "it saves" not in text


def test_without_the_control_nothing_is_claimed():
    results = table([0.30] * 3, [0.2] * 3)
    del results["dense-equal-cost"]
    assert "cannot be said" in verdict(results)
    del results["ticket"]
    assert verdict(results) == "No ticket was trained, so nothing can be said of one."


def test_dense_stopped_at_its_best_epoch_is_a_baseline_too():
    results = table([0.23], [0.24]) | {"dense-best": arm("dense-best", 8, [0.25], 80)}
    assert "(`dense-best`, 8 epochs) it took 1.20 of the FLOPs and 1.20 of the seconds." in verdict(results)


def test_a_fine_tuned_ticket_is_compared_with_the_whole_network_on_its_stages():
    results = table([0.30, 0.31, 0.305], [0.24, 0.245, 0.24])
    assert "without `dense-staged` it cannot be said" in verdict(results, FINE_TUNING)
    assert "dense-staged" not in verdict(results)
    staged = results | {"dense-staged": arm("dense-staged", 3.5, [0.30, 0.32, 0.31], 60, search=24)}
    text = verdict(staged, FINE_TUNING)
    assert (
        "of its seconds, 31.0 %) the ticket is -0.5 points, 95 % interval -1.7 to +0.7 over 3 seeds" in text
    )
    assert "no saving shown against a whole network on its stages" in text
    assert "it saves against dense at equal cost" in text


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
