"""Seconds of a busy machine are marked, and no sentence rests on them."""

import json

import pytest

from robust_tickets.base.machine_load import LEAST_SECONDS
from robust_tickets.report.conditions import SLOWER, conditions
from robust_tickets.report.frontier_answers import Question, answers
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_markdown
from robust_tickets.report.judge import front_checkpoints, judge
from robust_tickets.report.read import results
from robust_tickets.report.tables import timing
from robust_tickets.report.timing_text import markdown


def set_load(run, arm, seed=0, jobs=1, **load):
    """Record the machine's load in the ledger of an arm's own training."""
    figures = {"seconds": 100.0, "others": 0.0, "cores": 4, "threads": 2, "load_average": 0.0}
    file = run.arm(seed, arm).ledger
    ledger = json.loads(file.read_text()) | {"jobs": jobs}
    ledger["machine_load"] = figures | {"convolutions": [1.0, 1.0]} | load
    file.write_text(json.dumps(ledger))


def found(run, arm="ticket"):
    return conditions(results(run))[arm]


@pytest.mark.parametrize(
    ("load", "crowded"),
    [
        ({"others": 200.0}, False),  # both cores that its threads leave free
        ({"others": 219.0}, False),
        ({"others": 221.0}, True),  # and a tenth of a core a thread
        ({"others": 21.0, "threads": 4}, False),
        ({"others": 41.0, "threads": 4}, True),
        ({"others": 41.0, "threads": 9}, False),  # more threads than cores
        ({"others": 400.0, "seconds": LEAST_SECONDS - 0.1}, False),  # too short to be told
        ({"others": 0.0, "seconds": 0.0}, False),
        ({"others": 400.0, "jobs": 2}, False),  # its own jobs are among the others
    ],
)
def test_a_machine_is_crowded_where_others_take_cores_of_its_threads(run, load, crowded):
    set_load(run, "ticket", **load)
    assert found(run).crowded == crowded
    assert found(run, "dense") == conditions(results(run))["dense"]


@pytest.mark.parametrize("arm", ["ticket", "search"])
def test_one_stage_of_one_seed_is_enough(run, arm):
    set_load(run, arm, seed=1, others=300.0)
    assert found(run).disturbed
    assert not found(run, "dense").disturbed


@pytest.mark.parametrize(("last", "disturbed"), [(SLOWER - 0.01, False), (SLOWER + 0.01, True)])
def test_a_machine_that_became_slower_shows_in_the_convolution(run, last, disturbed):
    set_load(run, "dense")
    set_load(run, "ticket", convolutions=[1.1, last])
    assert found(run).disturbed == disturbed
    assert found(run).slowdown == last


def test_seconds_of_a_quiet_machine_and_of_an_older_ledger_have_no_mark(run):
    before = markdown(run)
    set_load(run, "ticket", others=199.0)
    assert markdown(run) == before
    assert "¶" not in before


def test_seconds_of_a_busy_machine_are_marked_and_no_sentence_rests_on_them(run):
    quiet = markdown(run)
    assert "0.80 of the FLOPs and 0.80 of the seconds" in quiet
    set_load(run, "ticket", others=250.0)
    text = markdown(run)
    row = next(line for line in text.splitlines() if line.startswith("| ticket "))
    assert row.count("¶") == 4  # search, training, total and the ratio
    assert "0.80 of the FLOPs, search included" in text
    assert "of the seconds" not in text.replace("0.80 of the FLOPs", "")
    assert "¶ Taken while other programs took up to 2.5 of 4 cores: these seconds are too high" in text
    assert list(timing(run).disturbed) == [False, True]


def test_a_ratio_to_a_dense_of_a_busy_machine_is_marked_too(run):
    set_load(run, "dense", others=250.0)
    row = next(line for line in markdown(run).splitlines() if line.startswith("| ticket "))
    assert row.count("¶") == 1


def test_the_frontier_leaves_out_such_seconds_and_says_why(run):
    set_load(run, "ticket", others=250.0)
    frontier = read_frontier([run])
    assert frontier["ticket"].seconds == ()
    assert frontier["dense"].seconds
    text = frontier_markdown(frontier, Question())
    assert "Seconds of `ticket` are left out: they were taken on a busy machine" in text
    assert answers(frontier, Question(cost="seconds"))[-1] == "No arm is cheaper than `dense`."
    by_arm = results(run)
    assert ("ticket", "last") in front_checkpoints(by_arm, judge(by_arm, run.recipe))  # by FLOPs


def test_what_is_slower_by_seconds_alone_counts_no_more_once_they_are_disturbed(run):
    by_arm = results(run)
    for seed in (0, 1):  # as many FLOPs as dense and less accurate, and yet faster
        file = run.arm(seed, "ticket").ledger
        file.write_text(json.dumps(json.loads(file.read_text()) | {"charged_flops": 170}))
    by_arm = results(run)
    assert len(front_checkpoints(by_arm, judge(by_arm, run.recipe))) == 2
    set_load(run, "ticket", others=250.0)
    by_arm = results(run)
    assert front_checkpoints(by_arm, judge(by_arm, run.recipe)) == [("dense", "last")]
