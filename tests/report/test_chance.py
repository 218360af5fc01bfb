"""Laws on arms that are no more robust than a network that gives one class whatever the image."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Evaluate
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.report.boosting import boosting
from robust_tickets.report.candidates import Frontier
from robust_tickets.report.chance import chance_accuracy, chance_note, is_at_chance
from robust_tickets.report.frontier_answers import Question, answers
from robust_tickets.report.frontier_table import frontier_markdown, frontier_table
from robust_tickets.report.read import ArmResult
from robust_tickets.report.reuse import reuse_note
from robust_tickets.report.tables import timing
from robust_tickets.report.verdict import verdict
from robust_tickets.runs import files
from tests.report.frontier_case import candidate, frontier


def arm(name, robust, share=0.1, search=None):
    about = {"steps_per_epoch": 1, "test_images": 400, "most_common_class": share}
    ledger = {"charged_flops": 50, "charged_seconds": 5.0}
    before = {"charged_flops": search, "charged_seconds": 1.0} if search else None
    record = {"step": 1, "epoch": 1, "val_robust": robust, "flops": 50}
    return [ArmResult(name, 0, about, ledger, before, [record], {("last", "pgd-20"): robust})]


def of(*candidates: object) -> Frontier:
    """A frontier on which one class for all images may reach 12 %."""
    return replace(frontier(*candidates), chance=0.12)


def test_one_class_may_reach_two_standard_deviations_more_than_its_share():
    chance = chance_accuracy({"dense": arm("dense", 0.5)}, images=400)
    assert chance == pytest.approx(0.1 + 2 * 0.3 / 20)  # the deviation of a share of 0.1 of 400


def test_where_no_record_has_the_share_only_zero_is_at_chance():
    results = {"dense": arm("dense", 0.5, share=0)}
    chance = chance_accuracy(results, images=400)
    assert [is_at_chance([robust], chance) for robust in (0.0, 0.001)] == [True, False]


def test_an_arm_at_chance_is_on_no_front_however_cheap():
    table = frontier_table(of(candidate("random", 1, [0.12]), candidate("dense", 9, [0.4]))).set_index("arm")
    assert table.on_front_flops.to_dict() == {"random": False, "dense": True}
    assert table.seeds_on_front_flops.to_dict() == {"random": 0, "dense": 1}
    assert table.dominated_by_flops["random"] == ""


def test_the_cheapest_arm_near_another_is_none_at_chance():
    own = of(candidate("random", 1, [0.12]), candidate("dense", 9, [0.124]))
    front, within = answers(own, Question(within=0.5))
    assert front.startswith("On the front of FLOPs and PGD-20: `dense`")
    assert "random" not in front
    assert within == "No arm above chance is cheaper than `dense`."
    text = frontier_markdown(own, Question())
    assert "no: at chance" in text
    assert "one class for all images (at most 12.0 % of 1,000)" in text


def test_nothing_is_compared_with_an_arm_at_chance():
    front, within = answers(of(candidate("random", 1, [0.1]), candidate("dense", 9, [0.1])), Question())
    assert "No arm is on the front" in front
    assert within.startswith("`dense` is no more robust than one class for all images")


def test_the_note_names_arms_at_chance_alone():
    results = {"dense": arm("dense", 0.3), "ticket": arm("ticket", 0.1, search=9)}
    recipe = Recipe()
    assert chance_note({"dense": results["dense"]}, recipe) == ""
    assert chance_note(results, recipe) == (
        "**At chance under PGD-20.** `ticket` is no more robust than one class for all images (at most "
        "13.0 % of 400), so its cost cannot be compared: train longer, or at another learning rate."
    )


@pytest.mark.parametrize(("dense", "ticket"), [(0.3, 0.1), (0.1, 0.3), (0.1, 0.1)])
def test_no_verdict_rests_on_a_ticket_or_a_dense_at_chance(dense, ticket):
    results = {"dense": arm("dense", dense), "ticket": arm("ticket", ticket, search=9)}
    assert verdict(results, Recipe()) == ""


def test_a_target_that_one_class_reaches_is_refused():
    own = of(candidate("random", 1, [0.12]), candidate("dense", 9, [0.4]))
    with pytest.raises(InputError, match=r"--target 0\.12 is no more than one class for all images"):
        answers(own, Question(target=0.12))
    assert "`dense`" in answers(own, Question(target=0.121))[1]


def test_a_search_has_not_paid_for_a_ticket_at_chance():
    dense = {"dense": arm("dense", 0.3)}
    assert reuse_note({**dense, "ticket": arm("ticket", 0.1, search=9)}, Recipe()) == ""
    assert "paid for itself" in reuse_note({**dense, "ticket": arm("ticket", 0.2, search=9)}, Recipe())


def test_tables_leave_out_when_a_ticket_at_chance_has_paid(run):
    assert timing(run).break_even_flops.notna().tolist() == [False, True]  # dense has no search
    for seed in run.seeds():
        for name in ("dense", "ticket"):
            record = run.arm(seed, name).record
            files.write_json(record, files.read_json(record) | {"most_common_class": 0.5})
    assert timing(run).break_even_flops.isna().all()


def test_nothing_comes_near_an_accuracy_of_zero(run):
    for seed in run.seeds():
        for file in (run.arm(seed, "dense").metrics, run.arm(seed, "dense").early_metrics):
            records = [record | {"val_robust": 0.0} for record in files.read_jsonl(file)]
            files.write_jsonl(file, records)
    assert boosting(run).filter(regex="^(boosting|flops_to)").isna().all().all()
    assert timing(run).filter(like="_to_9").isna().all().all()


def test_the_search_of_a_natural_training_pays_in_another_coin():
    results = {"dense": arm("dense", 0.0), "ticket": arm("ticket", 0.0, search=9)}
    for seeds in results.values():
        seeds[0].history[0]["val_clean"] = 0.5
    natural = replace(Recipe(), evaluate=Evaluate(select_by="clean"))
    assert "paid for itself" in reuse_note(results, natural)
