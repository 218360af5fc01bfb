"""When a search has paid for itself: by hand, and by trying one training after another."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.read import ArmResult, results
from robust_tickets.report.reuse import REUSE_COLUMNS, break_even, reuse_columns, reuse_note
from robust_tickets.report.tables import timing


def arm(training, search=None, seed=0, robust=(0.2, 0.3), name="ticket"):
    """An arm of one seed, of two epochs, whose seconds are a tenth of its FLOPs."""
    history = [
        {"epoch": n, "step": n, "val_robust": accuracy, "flops": training * n / 2}
        for n, accuracy in enumerate(robust, 1)
    ]
    ledger = {"charged_flops": training, "charged_seconds": training / 10}
    ledger["epoch_seconds"] = [training / 20, training / 10]
    before = None if search is None else {"charged_flops": search, "charged_seconds": search / 10}
    about = {"steps_per_epoch": 1, "test_images": 100}
    return ArmResult(name, seed, about, ledger, before, history, {("last", "pgd-20"): robust[-1]})


@given(st.integers(1, 300), st.integers(1, 50), st.integers(1, 60))
def test_it_is_the_first_number_of_trainings_that_cost_no_more(search, training, dense):
    number = break_even([arm(training, search)], [arm(dense)], "flops")
    tried = (n for n in itertools.count(1) if search + n * training <= n * dense)
    assert number == (math.inf if dense <= training else next(tried))


def test_by_hand():
    """A search of 100 that saves 20 of 50 a training, over two seeds whose means are these."""
    tickets = [arm(20, 110), arm(40, 90, seed=1)]
    dense = [arm(45, robust=(0.10, 0.40), name="dense"), arm(55, seed=1, robust=(0.20, 0.20), name="dense")]
    columns = dict(zip(REUSE_COLUMNS, reuse_columns(tickets, dense, "robust"), strict=True))
    assert columns["search_share"] == pytest.approx(100 / 130)
    assert columns["break_even_flops"] == columns["break_even_seconds"] == 5
    # 0.36 of seed 0 is never reached; at 90 % of 0.20 seed 1 is after its first epoch
    assert math.isnan(columns["flops_to_90"])
    alone = dict(zip(REUSE_COLUMNS, reuse_columns(tickets[1:], dense[1:], "robust"), strict=True))
    assert alone["flops_to_90"] == alone["flops_to_99"] == 90 + 20
    assert alone["seconds_to_95"] == pytest.approx(9 + 2)
    own = dict(zip(REUSE_COLUMNS, reuse_columns(dense, dense, "robust"), strict=True))
    assert own["search_share"] == 0
    assert math.isnan(own["break_even_flops"])
    assert own["flops_to_99"] == pytest.approx((45 + 55 / 2) / 2)


def test_the_text_names_each_baseline():
    results = {
        "dense": [arm(50, name="dense")],
        "dense-short": [arm(30, name="dense-short")],
        "dense+liet": [arm(35, name="dense+liet")],
        "ticket": [arm(30, 100)],
        "ticket+liet": [arm(25, 100, name="ticket+liet")],
        "ticket-reinit": [arm(30, 100, name="ticket-reinit")],
    }
    text = reuse_note(results, Recipe())
    assert text == (
        "The search of `ticket` is 77 % of its FLOPs. Reused, it has paid for itself after 5 trainings "
        "against `dense` (+0.0 points), and never against `dense-short` (+0.0 points). Never: that arm costs "
        "no more than a training from the ticket. The search of `ticket+liet` is 80 % of its FLOPs. Reused, "
        "it has paid for itself after 4 trainings against `dense` (+0.0 points), and after 20 trainings "
        "against `dense-short` (+0.0 points), and after 10 trainings against `dense+liet` (+0.0 points)."
    )
    assert reuse_note({name: results[name] for name in ("dense", "dense-short")}, Recipe()) == ""


def test_the_table_has_the_columns(run):
    table = timing(run).set_index("arm")
    assert table.break_even_flops["ticket"] == break_even(
        results(run)["ticket"], results(run)["dense"], "flops"
    )
    assert table.break_even_flops["ticket"] == 1  # 30 + 50 <= 100
    assert table.search_share["ticket"] == pytest.approx(30 / 80)
    assert table.flops_to_90["dense"] == 100
    assert set(REUSE_COLUMNS) <= set(table.columns)
